#include "vmm/engine/kvm/vcpu.hh"

#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <iterator>

#include "vmm/engine/kvm/decode.hh"
#include "vmm/engine/kvm/machine.hh"
#include "vmm/mem/arena.hh"

extern "C" {
extern const char hpcvmm_stub_begin[];   // NOLINT: linker symbols of guest-agent/stub/stub.S
extern const char hpcvmm_stub_sysret[];  // NOLINT
}

namespace hpcvmm::engine::kvm {
namespace {

constexpr std::uint64_t kSyncSet = KVM_SYNC_X86_REGS | KVM_SYNC_X86_SREGS | KVM_SYNC_X86_EVENTS;

/// What the host's KVM offers its guests; asked once a process, kept across fork.
CpuidTable g_cpuid;  // NOLINT: filled once under the mm lock

constexpr std::size_t cpuid_size(std::uint32_t entries) {
  return sizeof(kvm_cpuid2) + entries * sizeof(kvm_cpuid_entry2);
}

Status load_cpuid(int kvm_fd) {
  if (g_cpuid.head.nent != 0) return Unit{};
  g_cpuid.head.nent = 192;
  Status done = call(kvm_fd, KVM_GET_SUPPORTED_CPUID, &g_cpuid, "KVM_GET_SUPPORTED_CPUID");
  if (!done) g_cpuid.head.nent = 0;  // an empty table must not pass for an answer
  return done;
}

std::uint64_t stub_sysret_address() {
  return kStubCode + static_cast<std::uint64_t>(hpcvmm_stub_sysret - hpcvmm_stub_begin);
}

std::uint64_t read_xcr0() {
  std::uint32_t lo = 0;
  std::uint32_t hi = 0;
  asm volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
  return (std::uint64_t{hi} << 32) | lo;
}

kvm_segment code_segment(std::uint16_t selector, bool compat, unsigned dpl) {
  kvm_segment s{};
  s.limit = 0xffff'ffff;
  s.selector = selector;
  s.type = 11;
  s.present = 1;
  s.s = 1;
  s.g = 1;
  s.dpl = static_cast<std::uint8_t>(dpl);
  s.l = compat ? 0 : 1;
  s.db = compat ? 1 : 0;
  return s;
}

}  // namespace

std::string cpuid_bytes() {
  if (g_cpuid.head.nent == 0) return {};
  return {reinterpret_cast<const char*>(&g_cpuid), cpuid_size(g_cpuid.head.nent)};
}

void set_cpuid_bytes(const std::string& bytes) {
  kvm_cpuid2 head{};
  if (bytes.size() < sizeof head) return;
  std::memcpy(&head, bytes.data(), sizeof head);
  if (head.nent == 0 || head.nent > std::size(g_cpuid.entries) || bytes.size() < cpuid_size(head.nent))
    return;
  std::memcpy(&g_cpuid, bytes.data(), cpuid_size(head.nent));
}

KvmVcpu::~KvmVcpu() {
  if (run_ != nullptr) mem::arena_unmap(run_, engine_.run_bytes_);
  engine_.config_.close_fd(fd_);
}

Status KvmVcpu::create(unsigned id) {
  id_ = id;
  const auto make = [](void* self) {
    const auto* const v = static_cast<KvmVcpu*>(self);
    int fd = -1;
    do fd = ::ioctl(v->engine_.vm_fd_, KVM_CREATE_VCPU, static_cast<unsigned long>(v->id_));
    while (fd < 0 && errno == EINTR);
    return fd;
  };
  if (!engine_.config_.make_fd(make, this, &fd_)) return Error::last("KVM_CREATE_VCPU");
  run_ = static_cast<kvm_run*>(mem::arena_map_fd(fd_, engine_.run_bytes_));
  if (run_ == nullptr) return Error::last("mmap of kvm_run");
  if (page_ == nullptr) {
    HPCVMM_TRY(const PageTables::Page page, engine_.tables_.take_page());
    page_ = reinterpret_cast<char*>(page.host);
    page_va_ = kVcpuPages + id * kPageSize;
    HPCVMM_CHECK_OK(engine_.tables_.set_page(page_va_, page.gpa, kWritable | kNoExec));
  }
  HPCVMM_CHECK_OK(load_cpuid(*engine_.config_.kvm_fd));
  HPCVMM_CHECK_OK(call(fd_, KVM_SET_CPUID2, &g_cpuid, "KVM_SET_CPUID2"));
  HPCVMM_CHECK_OK(setup_registers());
  HPCVMM_CHECK_OK(setup_msrs());
  if (engine_.has_apic_ && id_ != 0) {
    // All but the first would wait for another processor's start-up interrupt.
    kvm_mp_state state{};
    state.mp_state = KVM_MP_STATE_RUNNABLE;
    HPCVMM_CHECK_OK(call(fd_, KVM_SET_MP_STATE, &state, "KVM_SET_MP_STATE"));
  }
  run_->kvm_valid_regs = kSyncSet;
  fresh_ = true;
  return Unit{};
}

Status KvmVcpu::setup_registers() {
  auto* gdt = reinterpret_cast<std::uint64_t*>(page_ + kGdtOffset);
  gdt[kKernelCs / 8] = 0x00af'9b00'0000'ffff;
  gdt[kKernelDs / 8] = 0x00cf'9300'0000'ffff;
  gdt[kUserCs32 / 8] = 0x00cf'fb00'0000'ffff;
  gdt[kUserDs / 8] = 0x00cf'f300'0000'ffff;
  gdt[kUserCs64 / 8] = 0x00af'fb00'0000'ffff;
  const std::uint64_t tss = page_va_ + kTssOffset;
  gdt[kTssSelector / 8] =
      kTssLimit | ((tss & 0xffffff) << 16) | (std::uint64_t{0x8b} << 40) | ((tss >> 24 & 0xff) << 56);
  gdt[kTssSelector / 8 + 1] = tss >> 32;
  char* const t = page_ + kTssOffset;
  const std::uint64_t stack = page_va_ + kStackTop;
  std::memcpy(t + 4, &stack, sizeof stack);  // RSP0
  const std::uint16_t bitmap = kIoBitmap;
  std::memcpy(t + 102, &bitmap, sizeof bitmap);
  // All ports denied but the system call's: on a PVM host the LSTAR entry runs at CPL 3.
  std::memset(t + kIoBitmap, 0xff, 0x13);
  t[kIoBitmap + kPortSyscall / 8] = static_cast<char>(0xfe);

  kvm_sregs s{};
  HPCVMM_CHECK_OK(call(fd_, KVM_GET_SREGS, &s, "KVM_GET_SREGS"));
  s.cr0 = 0x8005'0033;  // PG AM WP NE ET MP PE
  s.cr3 = engine_.tables_.root_gpa();
  s.cr4 = 0x20 | 0x200 | 0x400;                               // PAE OSFXSR OSXMMEXCPT
  if ((cpuid_bit(g_cpuid, 7, 0, 'b', 0))) s.cr4 |= 0x1'0000;  // FSGSBASE
  if (cpuid_has_leaf(g_cpuid, 0xd)) s.cr4 |= 0x4'0000;        // OSXSAVE
  s.efer = 0x1 | 0x100 | 0x400 | 0x800;                       // SCE LME LMA NXE
  s.gdt.base = page_va_ + kGdtOffset;
  s.gdt.limit = kGdtBytes - 1;
  s.idt.base = kIdt;
  s.idt.limit = 0xfff;
  s.tr = {};
  s.tr.base = tss;
  s.tr.limit = static_cast<std::uint32_t>(kTssLimit);
  s.tr.selector = kTssSelector;
  s.tr.type = 11;
  s.tr.present = 1;
  s.cs = code_segment(kUserCs64, false, 3);
  s.ss = s.ds = s.es = data_segment(kUserDs, 0);
  s.fs = s.gs = data_segment(0, 0);
  if (auto ok = call(fd_, KVM_SET_SREGS, &s, "KVM_SET_SREGS"); !ok) {
    // Hosts that hide FSGSBASE or XSAVE from guests refuse the CR4 bits; programs then see them absent in
    // HWCAP2/XCR0.
    s.cr4 &= ~std::uint64_t{0x1'0000};
    if (auto again = call(fd_, KVM_SET_SREGS, &s, "KVM_SET_SREGS"); !again) {
      s.cr4 &= ~std::uint64_t{0x4'0000};
      HPCVMM_CHECK_OK(call(fd_, KVM_SET_SREGS, &s, "KVM_SET_SREGS"));
    }
  }
  // The shared page is what later changes start from: KVM fills it only at an exit.
  run_->s.regs.sregs = s;
  if ((s.cr4 & 0x4'0000) != 0) {
    kvm_xcrs x{};
    x.nr_xcrs = 1;
    x.xcrs[0].value = read_xcr0() & kGuestXcr0;
    // A refusal leaves XCR0 at x87: AVX then is absent for the guest, which CPUID says too.
    static_cast<void>(call(fd_, KVM_SET_XCRS, &x, "KVM_SET_XCRS"));
  }
  return Unit{};
}

Status KvmVcpu::setup_msrs() {
  MsrTable<3> m{};
  m.head.nmsrs = 3;
  m.entries[0].index = 0xc000'0081;  // STAR
  m.entries[0].data = (std::uint64_t{kKernelCs} << 32) | (std::uint64_t{kUserCs32} << 48);
  m.entries[1].index = 0xc000'0082;  // LSTAR
  m.entries[1].data = kStubCode;
  m.entries[2].index = 0xc000'0084;  // SFMASK
  m.entries[2].data = 0x4'7700;
  HPCVMM_TRY(const int done, call_fd(fd_, KVM_SET_MSRS, &m, "KVM_SET_MSRS"));
  if (done != 3) return Error::of(EIO, "KVM_SET_MSRS: STAR, LSTAR or SFMASK refused");
  // The guest reads the host's vvar page, which is scaled to the host's TSC: offset 0.
  std::uint64_t offset = 0;
  kvm_device_attr attr{};
  attr.group = KVM_VCPU_TSC_CTRL;
  attr.attr = KVM_VCPU_TSC_OFFSET;
  attr.addr = reinterpret_cast<std::uint64_t>(&offset);
  // Hosts that never shift the TSC may have no such attribute, kernels before 5.16 no such call.
  auto set = call(fd_, KVM_SET_DEVICE_ATTR, &attr, "KVM_SET_DEVICE_ATTR TSC_OFFSET");
  if (!set && set.error().code != ENXIO && set.error().code != EINVAL && set.error().code != ENOTTY)
    return set;
  return Unit{};
}

void KvmVcpu::reset() {
  regs_ = {};
  auto* gdt = reinterpret_cast<std::uint64_t*>(page_ + kGdtOffset);
  for (unsigned i = 0; i < kTlsCount; ++i) gdt[kTlsFirst + i] = 0;
  fresh_ = true;
  FpState init;
  init_fp_area(init);
  set_fp(init);
  run_->immediate_exit = 0;
}

kvm_segment KvmVcpu::data_segment(std::uint16_t selector, std::uint64_t base) const {
  kvm_segment s{};
  s.limit = 0xffff'ffff;
  s.selector = selector;
  s.type = 3;
  s.present = 1;
  s.dpl = 3;
  s.db = 1;
  s.s = 1;
  s.g = 1;
  s.base = base;
  return s;
}

void KvmVcpu::write_back() {
  kvm_regs& r = run_->s.regs.regs;
  const GuestRegs& g = regs_;
  r = {g.rax, g.rbx, g.rcx, g.rdx, g.rsi, g.rdi, g.rsp, g.rbp, g.r8,
       g.r9,  g.r10, g.r11, g.r12, g.r13, g.r14, g.r15, g.rip, g.rflags | 0x202};
  std::uint64_t dirty = KVM_SYNC_X86_REGS;
  const bool segments = fresh_ || !at_user_ || g.cs != loaded_.cs || g.ss != loaded_.ss ||
                        g.ds != loaded_.ds || g.es != loaded_.es || g.fs != loaded_.fs ||
                        g.gs != loaded_.gs || g.fs_base != loaded_.fs_base || g.gs_base != loaded_.gs_base;
  if (segments) {
    kvm_sregs& s = run_->s.regs.sregs;
    s.cs = code_segment(g.cs, g.is_compat(), 3);
    s.ss = data_segment(g.ss, 0);
    s.ds = data_segment(g.ds, 0);
    s.es = data_segment(g.es, 0);
    s.fs = data_segment(g.fs, g.fs_base);
    s.gs = data_segment(g.gs, g.gs_base);
    dirty |= KVM_SYNC_X86_SREGS;
  }
  if (fresh_) {
    // An exception left queued by the thread that had this vCPU before would strike the new one.
    run_->s.regs.events = {};
    dirty |= KVM_SYNC_X86_EVENTS;
  }
  run_->kvm_dirty_regs = dirty;
  fresh_ = false;
}

void KvmVcpu::read_back() {
  const kvm_regs& r = run_->s.regs.regs;
  const kvm_sregs& s = run_->s.regs.sregs;
  regs_ = {r.rax,         r.rbx,         r.rcx,         r.rdx,         r.rsi,        r.rdi,     r.rbp,
           r.rsp,         r.r8,          r.r9,          r.r10,         r.r11,        r.r12,     r.r13,
           r.r14,         r.r15,         r.rip,         r.rflags,      s.fs.base,    s.gs.base, s.cs.selector,
           s.ss.selector, s.ds.selector, s.es.selector, s.fs.selector, s.gs.selector};
  loaded_ = regs_;
  at_user_ = s.cs.dpl == 3 && (s.cs.selector & 3) == 3;
}

bool KvmVcpu::in_transit() const {
  const kvm_vcpu_events& e = run_->s.regs.events;
  if (e.exception.injected != 0 || e.exception.pending != 0) return true;
  const std::uint64_t rip = run_->s.regs.regs.rip;
  return rip >= kStubExceptions && rip < kStubExceptions + kPageSize;
}

Exit KvmVcpu::run() {
  write_back();
  for (;;) {
    const int rc = ::ioctl(fd_, KVM_RUN, 0);
    const int error = errno;
    read_back();
    if (rc < 0 && (error == EINTR || error == EAGAIN)) {
      run_->immediate_exit = 0;
      // The state is not the guest's own yet: on the way through the stub, or an exception is queued that
      // would strike whatever registers are loaded next.  Go on until the stub's `out`; its exit is then the
      // result.
      if (in_transit()) continue;
      return interrupted_at(regs_, stub_sysret_address());
    }
    if (rc < 0) {
      if (error == EFAULT) return {.kind = ExitKind::HostFault};
      return {.kind = ExitKind::Broken,
              .error_code = static_cast<std::uint32_t>(error),
              .detail = "KVM_RUN failed"};
    }
    switch (run_->exit_reason) {
      case KVM_EXIT_IO: return decode_io();
      case KVM_EXIT_INTR: continue;
      case KVM_EXIT_MMIO:
      case KVM_EXIT_MEMORY_FAULT: return {.kind = ExitKind::HostFault};
      case KVM_EXIT_SHUTDOWN: return {.kind = ExitKind::Broken, .detail = "triple fault"};
      case KVM_EXIT_INTERNAL_ERROR:
        // An instruction that the emulator does not know (32-bit code on a PVM host): #UD is the honest
        // answer.
        if (at_user_) return {.kind = ExitKind::Exception, .vector = 6};
        return {
            .kind = ExitKind::Broken, .error_code = run_->internal.suberror, .detail = "KVM internal error"};
      default:
        return {.kind = ExitKind::Broken, .error_code = run_->exit_reason, .detail = "unexpected KVM exit"};
    }
  }
}

Exit KvmVcpu::decode_io() {
  return engine::kvm::decode_io({.port = run_->io.port,
                                 .at_user = at_user_,
                                 .page = page_,
                                 .page_va = page_va_,
                                 .cr2 = run_->s.regs.sregs.cr2,
                                 .copy_in = engine_.config_.copy_in},
                                regs_);
}

void KvmVcpu::request_stop() {
  if (run_ != nullptr) run_->immediate_exit = 1;
}

void KvmVcpu::get_fp(FpState& out) {
  init_fp_area(out);
  kvm_xsave x{};
  static_assert(sizeof(x.region) == FpState::kMaxBytes);
  if (::ioctl(fd_, KVM_GET_XSAVE, &x) == 0) std::memcpy(out.area.data(), x.region, sizeof x.region);
}

void KvmVcpu::set_fp(const FpState& in) {
  kvm_xsave x{};
  std::memcpy(x.region, in.area.data(), sizeof x.region);
  static_cast<void>(call(fd_, KVM_SET_XSAVE, &x, "KVM_SET_XSAVE"));
}

void KvmVcpu::set_tls(unsigned index, std::uint64_t descriptor) {
  auto* gdt = reinterpret_cast<std::uint64_t*>(page_ + kGdtOffset);
  gdt[kTlsFirst + index] = descriptor;
}

std::uint64_t KvmVcpu::get_tls(unsigned index) const {
  return reinterpret_cast<const std::uint64_t*>(page_ + kGdtOffset)[kTlsFirst + index];
}

void KvmVcpu::abandon() {
  if (run_ != nullptr) mem::arena_unmap(run_, engine_.run_bytes_);
  engine_.config_.close_fd(fd_);
  run_ = nullptr;
  fd_ = -1;
}

}  // namespace hpcvmm::engine::kvm
