#include "vmm/engine/direct/test_guest.hh"

#include <sys/mman.h>
#include <sys/syscall.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "hpcvmm/base/layout.hh"
#include "vmm/mem/arena.hh"

namespace hpcvmm::engine::direct::test {
namespace {

constexpr std::uint64_t kFsArea = kData + 0x1000;
constexpr std::uint64_t kGsArea = kData + 0x2000;
thread_local Recorder t_recorder;

void* map_fixed(std::uint64_t at, std::size_t bytes, int prot) {
  void* p = mmap(reinterpret_cast<void*>(at), bytes, prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE,
                 -1, 0);
  if (p == MAP_FAILED) {
    std::perror("mmap of test memory");
    std::abort();
  }
  return p;
}

void map_guest() {
  char* code = static_cast<char*>(map_fixed(kCode, kStackTop - kCode, PROT_READ | PROT_WRITE | PROT_EXEC));
  std::memcpy(code, guest_code_begin, static_cast<std::size_t>(guest_code_end - guest_code_begin));
  map_fixed(kReadOnly, kPageSize, PROT_READ);
  for (std::uint64_t i = 0; i < 0x600; i += 8) data_word(0x200 + i) = 0x0123'4567'89ab'cdef * (i + 3);
  data_word(0x140) = 0x9fc0;  // MXCSR: flush-to-zero, denormals-are-zero, all exceptions masked
  data_word(0x1000) = kFsWord;
  data_word(0x2000) = kGsWord;
}

/// 32-bit writable data segment of one page.
constexpr std::uint64_t descriptor(std::uint64_t base) {
  return 0x0040'f200'0000'0fff | (base & 0xff'ffff) << 16 | (base >> 24) << 56;
}

}  // namespace

Engine& engine() {
  static std::unique_ptr<Engine> the_engine = [] {
    map_guest();
    auto made = make_direct_engine(
        {.alloc = [](std::size_t bytes, std::size_t align) { return mem::arena_map(bytes, align); },
         .ia32 = compat_values().size() > 1});
    if (!made) {
      std::fprintf(stderr, "make_direct_engine: %s: %s\n", made.error().op, std::strerror(made.error().code));
      std::abort();
    }
    return *std::move(made);
  }();
  return *the_engine;
}

const std::vector<bool>& compat_values() {
  static const std::vector<bool> kValues =
      supports_ia32() ? std::vector<bool>{false, true} : std::vector<bool>{false};
  return kValues;
}

void prepare(Vcpu& vcpu, const char* label, bool compat, std::uint64_t iterations) {
  GuestRegs& r = vcpu.regs();
  std::uint64_t* const order[] = {&r.rbx, &r.rcx, &r.rdx, &r.rsi, &r.rdi, &r.rbp, &r.r8,
                                  &r.r9,  &r.r10, &r.r11, &r.r12, &r.r13, &r.r14, &r.r15};
  std::uint64_t slot = 0;
  for (std::uint64_t* reg : order) {
    *reg = 0x9e37'79b9'7f4a'7c15 * (slot + 1);
    if (compat) *reg &= 0xffff'ffff;
    data_word(8 * slot) = *reg;
    ++slot;
  }
  data_word(0x100) = iterations;
  data_word(0x110) = static_cast<std::uint64_t>(host_call(SYS_getppid));
  r.rip = address_of(label);
  r.rsp = kStackTop - 256;
  r.rflags = 0x202;
  r.ss = kUserDs;
  if (compat) {
    r.cs = kUserCs32;
    r.ds = r.es = kUserDs;
    vcpu.set_tls(0, descriptor(kGsArea));
    vcpu.set_tls(1, descriptor(kFsArea));
    r.gs = 12 << 3 | 3;
    r.fs = 13 << 3 | 3;
  } else {
    r.cs = kUserCs64;
    r.ds = r.es = r.fs = r.gs = 0;
    r.fs_base = kFsArea;
    r.gs_base = kGsArea;
  }
}

Recorder& recorder() { return t_recorder; }

void record(int, siginfo_t* info, void* ucontext) {
  Recorder& rec = t_recorder;
  if (rec.full) ++rec.overruns;
  rec.full = true;
  rec.info = *info;
  ++rec.recorded;
  const KernelSigset all = ~KernelSigset{0};
  std::memcpy(static_cast<std::byte*>(ucontext) + HPCVMM_UC_SIGMASK, &all, sizeof all);
  if (rec.vcpu != nullptr) rec.vcpu->request_stop();
}

KernelSigset current_mask() {
  KernelSigset mask = 0;
  host_call(SYS_rt_sigprocmask, SIG_BLOCK, 0, word(&mask), sizeof mask);
  return mask;
}

unsigned consume(KernelSigset mask) {
  if (!recorder().full) return 0;
  recorder().full = false;
  host_call(SYS_rt_sigprocmask, SIG_SETMASK, word(&mask), 0, sizeof mask);
  return 1;
}

Outcome run_guest(Vcpu& vcpu, KernelSigset mask, void (*at_call)(std::uint64_t, Vcpu&)) {
  Outcome out;
  recorder().vcpu = &vcpu;
  for (;;) {
    while (consume(mask) != 0) ++out.consumed;
    out.exit = vcpu.run();
    GuestRegs& r = vcpu.regs();
    if (out.exit.kind == ExitKind::Interrupted) {
      ++out.interrupts;
      continue;
    }
    const bool call64 = out.exit.kind == ExitKind::Syscall64 && (r.rax == SYS_getppid || r.rax == SYS_getpid);
    const bool call32 = out.exit.kind == ExitKind::Syscall32 && (r.rax == 64 || r.rax == 20);
    if (!call64 && !call32) break;
    ++out.syscalls;
    if (at_call != nullptr) at_call(out.syscalls, vcpu);
    const bool parent = r.rax == (call64 ? std::uint64_t{SYS_getppid} : 64);
    r.rax = static_cast<std::uint64_t>(host_call(parent ? SYS_getppid : SYS_getpid));
  }
  while (consume(mask) != 0) ++out.consumed;
  return out;
}

bool is_done(const Outcome& outcome, Vcpu& vcpu) {
  return (outcome.exit.kind == ExitKind::Syscall64 || outcome.exit.kind == ExitKind::Syscall32) &&
         vcpu.regs().rax == kDone;
}

}  // namespace hpcvmm::engine::direct::test
