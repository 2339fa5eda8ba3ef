#include "vmm/engine/direct/vcpu.hh"

#include <linux/audit.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include <cstring>

#include "vmm/engine/direct/engine.hh"
#include "vmm/engine/direct/fp_area.hh"
#include "vmm/engine/direct/ia32.hh"

namespace hpcvmm::engine::direct {
namespace {

constexpr std::uint64_t kFlagsInit = 0x202;  // IF and the always-one bit

std::uint16_t read_ds() {
  std::uint16_t s;
  asm volatile("mov %%ds, %0" : "=r"(s));
  return s;
}
std::uint16_t read_es() {
  std::uint16_t s;
  asm volatile("mov %%es, %0" : "=r"(s));
  return s;
}
std::uint16_t read_gs() {
  std::uint16_t s;
  asm volatile("mov %%gs, %0" : "=r"(s));
  return s;
}

/// `selector` if a data register may be loaded with it, else 0, which is what Linux loads in its place.
std::uint16_t loadable(std::uint16_t selector) {
  if ((selector & ~3) == 0) return selector;
  std::uint32_t rights = 0;
  bool readable = false;
  bool known = false;
  asm("verr %1" : "=@ccz"(readable) : "r"(selector));
  asm("lar %2, %0" : "=r"(rights), "=@ccz"(known) : "r"(std::uint32_t{selector}));
  const bool present = (rights & 0x8000) != 0;
  return readable && known && present ? selector : std::uint16_t{0};
}

/// Loading a selector costs tens of cycles, and 64-bit guests leave all at null.
void load_ds_es(std::uint16_t ds, std::uint16_t es) {
  if (ds != read_ds()) asm volatile("mov %0, %%ds" : : "r"(loadable(ds)));
  if (es != read_es()) asm volatile("mov %0, %%es" : : "r"(loadable(es)));
}

/// GS is not used by the VMM, so it may be the guest's from here on.
void load_gs(const GuestRegs& r) {
  const bool from_descriptor = r.is_compat() && (r.gs & ~3) != 0;
  if (from_descriptor || r.gs != read_gs()) asm volatile("mov %0, %%gs" : : "r"(loadable(r.gs)));
  if (!from_descriptor) write_gs_base(r.gs_base);
}

}  // namespace

DirectVcpu::DirectVcpu(DirectEngine& engine, GuestFrame& frame) : engine_(engine), frame_(frame) { reset(); }

DirectVcpu::~DirectVcpu() { engine_.free_frame(frame_); }

void DirectVcpu::reset() {
  std::memset(&frame_, 0, offsetof(GuestFrame, fp));
  frame_.uc.flags = kUcSigcontextSs | kUcStrictRestoreSs | (process().fp.xsave ? kUcFpXstate : 0);
  frame_.uc.mc.fpstate = frame_.fp.data();
  fp_init(frame_.fp.data(), process().fp);
  regs_ = GuestRegs{};
  regs_.rflags = kFlagsInit;
  regs_.cs = kUserCs64;
  regs_.ss = kUserDs;
  tls_ = {};
  stop_ = 0;
}

void DirectVcpu::load(ThreadBlock& block) {
  const GuestRegs& r = regs_;
  KernelSigcontext& mc = frame_.uc.mc;
  mc.rax = r.rax, mc.rbx = r.rbx, mc.rcx = r.rcx, mc.rdx = r.rdx;
  mc.rsi = r.rsi, mc.rdi = r.rdi, mc.rbp = r.rbp, mc.rsp = r.rsp;
  mc.r8 = r.r8, mc.r9 = r.r9, mc.r10 = r.r10, mc.r11 = r.r11;
  mc.r12 = r.r12, mc.r13 = r.r13, mc.r14 = r.r14, mc.r15 = r.r15;
  mc.rip = r.rip, mc.rflags = r.rflags;
  mc.cs = r.cs, mc.ss = r.ss;
  // rt_sigreturn sets the alternate stack from the frame: name the one that is there.
  frame_.uc.stack.ss_sp = reinterpret_cast<std::byte*>(&block) - kAltStackBytes;
  frame_.uc.stack.ss_size = kAltStackBytes;
  frame_.uc.stack.ss_flags = 0;

  const bool compat = r.is_compat();
  block.guest_fs = r.fs_base;
  block.guest_fs_sel = loadable(r.fs);
  block.write_fs_base = compat && (r.fs & ~3) != 0 ? 0 : 1;
  block.sigsys_blocked = 0;
  load_ds_es(r.ds, r.es);
  load_gs(r);
}

void DirectVcpu::save(const ThreadBlock& block, const KernelUcontext& uc) {
  GuestRegs& r = regs_;
  const KernelSigcontext& mc = uc.mc;
  r.rax = mc.rax, r.rbx = mc.rbx, r.rcx = mc.rcx, r.rdx = mc.rdx;
  r.rsi = mc.rsi, r.rdi = mc.rdi, r.rbp = mc.rbp, r.rsp = mc.rsp;
  r.r8 = mc.r8, r.r9 = mc.r9, r.r10 = mc.r10, r.r11 = mc.r11;
  r.r12 = mc.r12, r.r13 = mc.r13, r.r14 = mc.r14, r.r15 = mc.r15;
  r.rip = mc.rip, r.rflags = mc.rflags;
  r.cs = mc.cs, r.ss = mc.ss;
  r.fs = static_cast<std::uint16_t>(block.guest_fs_sel);
  r.fs_base = block.guest_fs;
  r.ds = read_ds();
  r.es = read_es();
  r.gs = read_gs();
  r.gs_base = read_gs_base();
  if (r.is_compat()) {
    // The upper halves mean nothing in 32-bit code; readers of regs() expect none.
    for (std::uint64_t* word : {&r.rax, &r.rbx, &r.rcx, &r.rdx, &r.rsi, &r.rdi, &r.rbp, &r.rsp, &r.rip}) {
      *word &= 0xffff'ffff;
    }
  }
  fp_copy_frame(frame_.fp.data(), mc.fpstate, process().fp);
}

void DirectVcpu::on_syscall(std::uint32_t audit_arch) {
  exit_.kind = audit_arch == AUDIT_ARCH_I386 ? ExitKind::Syscall32 : ExitKind::Syscall64;
}

void DirectVcpu::on_exception(const siginfo_t& info, const KernelUcontext& uc) {
  exit_.kind = ExitKind::Exception;
  exit_.vector = static_cast<std::uint8_t>(uc.mc.trapno);
  exit_.error_code = static_cast<std::uint32_t>(uc.mc.err);
  exit_.fault_address = uc.mc.cr2;
  std::memcpy(&exit_.host_info, &info, sizeof exit_.host_info);
}

std::uint32_t DirectVcpu::swallowed_call(const KernelUcontext& uc) const {
  // Not a single instruction since the entry: then the call before RIP is the one that was executed already.
  constexpr std::size_t kRegisters = offsetof(KernelSigcontext, cs);
  if (std::memcmp(&uc.mc, &frame_.uc.mc, kRegisters) == 0) return 0;
  std::array<unsigned char, 2> code{};
  iovec to{code.data(), code.size()};
  iovec from{reinterpret_cast<void*>(uc.mc.rip - code.size()), code.size()};
  const auto self = static_cast<std::uint64_t>(host_call(SYS_getpid));
  if (host_call(SYS_process_vm_readv, self, word(&to), 1, word(&from), 1, 0) != 2) return 0;
  if (code[0] == 0xcd && code[1] == 0x80) return AUDIT_ARCH_I386;
  const bool as_the_cpu_leaves_them = uc.mc.rcx == uc.mc.rip && uc.mc.r11 == uc.mc.rflags;
  return code[0] == 0x0f && code[1] == 0x05 && as_the_cpu_leaves_them ? AUDIT_ARCH_X86_64 : 0;
}

void DirectVcpu::on_broken(const char* why) {
  exit_.kind = ExitKind::Broken;
  exit_.detail = why;
}

/// Brings this kernel thread's GDT in line with tls_.  Cheap when nothing changed; a 64-bit guest that never
/// set an entry pays nothing at all.
bool DirectVcpu::apply_tls(ThreadBlock& block) {
  if (block.tls_known && block.tls == tls_) return true;
  constexpr std::array<std::uint64_t, kTlsCount> kNone{};
  if (!block.tls_known && tls_ == kNone && !regs_.is_compat()) return true;
  for (unsigned i = 0; i < kTlsCount; ++i) {
    if (block.tls_known && block.tls[i] == tls_[i]) continue;
    if (!set_host_tls(i, tls_[i])) {
      block.tls_known = false;
      return false;
    }
    block.tls[i] = tls_[i];
  }
  block.tls_known = true;
  return true;
}

/// Sends the SIGSYS that waited for the guest to unblock it.  True: it has been handled, the guest must not
/// run.
bool DirectVcpu::release_held(ThreadBlock& block) {
  KernelSigset mask = 0;
  host_call(SYS_rt_sigprocmask, SIG_BLOCK, 0, word(&mask), sizeof mask);
  if ((mask & sig_bit(SIGSYS)) != 0) return false;
  block.held_valid = false;
  requeue(&block.held);  // delivered before the call returns
  return true;
}

Exit DirectVcpu::run() {
  exit_.host_info.si_signo = 0;
  exit_.detail = "";
  if (this_thread() == nullptr && !direct_thread_attach()) {
    on_broken("direct engine: no signal stack or no dispatch for this thread");
    return exit_;
  }
  ThreadBlock& block = *this_thread();
  if (!apply_tls(block)) {
    on_broken("direct engine: the kernel refused a TLS descriptor");
    return exit_;
  }
  if (block.held_valid && release_held(block)) {
    exit_.kind = ExitKind::Interrupted;
    stop_ = 0;
    return exit_;
  }
  load(block);
  block.vcpu = this;
  block.apply_mask = false;
  if (direct_enter(&block, &frame_.uc, &stop_) == 0) exit_.kind = ExitKind::Interrupted;
  // Only here, on the VMM stack and with the frame copied: what is unblocked now may strike at once, and its
  // frame then overwrites the one on the alternate stack, which nobody needs any more.
  if (block.apply_mask) set_mask(block.exit_mask);
  // A stop that came after the guest had left for another reason is kept for the next run().
  if (exit_.kind == ExitKind::Interrupted) stop_ = 0;
  return exit_;
}

void DirectVcpu::get_fp(FpState& out) { fp_export(out, frame_.fp.data(), process().fp); }

void DirectVcpu::set_fp(const FpState& in) { fp_import(frame_.fp.data(), in, process().fp); }

void DirectVcpu::set_tls(unsigned index, std::uint64_t descriptor) {
  if (index < kTlsCount) tls_[index] = descriptor;
}

std::uint64_t DirectVcpu::get_tls(unsigned index) const { return index < kTlsCount ? tls_[index] : 0; }

}  // namespace hpcvmm::engine::direct
