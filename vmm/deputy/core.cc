#include "vmm/deputy/core.hh"

#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include <cstring>

#include "hpcvmm/base/layout.hh"
#include "vmm/deputy/gate.hh"
#include "vmm/deputy/signals.hh"

extern "C" {
[[noreturn]] void hpcvmm_sigreturn(void* frame);
extern const char __executable_start[];  // NOLINT: linker symbols
extern const char _end[];                // NOLINT
}

namespace hpcvmm::deputy {
namespace {

// The kernel's rt_sigframe of x86-64 without the siginfo, which rt_sigreturn does not read.
struct Frame {
  std::uint64_t pretcode;
  std::uint64_t uc_flags, uc_link, stack_sp, stack_flags, stack_size;
  std::uint64_t r8, r9, r10, r11, r12, r13, r14, r15, rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp, rip, rflags;
  std::uint16_t cs, gs, fs, ss;
  std::uint64_t error, trapno, oldmask, cr2, fpstate, reserved[8];
  std::uint64_t mask;
};
constexpr std::uint64_t kStrictSs = 0x2 | 0x4;  // UC_SIGCONTEXT_SS | UC_STRICT_RESTORE_SS

struct KernelAction {
  std::uint64_t handler, flags, restorer, mask;
};

}  // namespace

void die_with_core(Task& t, const siginfo_t& info) {
  const int signo = info.si_signo;
  const std::uint64_t all = ~std::uint64_t{0};
  raw_call(SYS_rt_sigprocmask, SIG_SETMASK, word(&all), 0, 8);
  const KernelAction by_default{0, 0, 0, 0};
  raw_call(SYS_rt_sigaction, word(signo), word(&by_default), 0, 8);
  const auto pid = static_cast<std::uint64_t>(raw_call(SYS_getpid));
  const auto tid = static_cast<std::uint64_t>(raw_call(SYS_gettid));
  // Blocked, so it waits; forced codes may only be sent to oneself, which is what happens here.
  if (raw_call(SYS_rt_tgsigqueueinfo, pid, tid, word(signo), word(&info)) < 0)
    raw_call(SYS_tgkill, pid, tid, word(signo));
  // The image is file-backed: private pages of it (data) would be dumped.
  const std::uint64_t begin = page_down(word(&__executable_start[0]));
  raw_call(SYS_madvise, begin, page_up(word(&_end[0])) - begin, MADV_DONTDUMP);
  const GuestRegs& r = t.vcpu->regs();
  raw_call(SYS_arch_prctl, 0x1002, r.fs_base);  // libc is not used any more
  raw_call(SYS_arch_prctl, 0x1001, r.gs_base);
  alignas(64) Frame f;
  f = {};
  f.uc_flags = kStrictSs;
  f.stack_flags = 2;  // SS_DISABLE
  f.r8 = r.r8, f.r9 = r.r9, f.r10 = r.r10, f.r11 = r.r11, f.r12 = r.r12, f.r13 = r.r13, f.r14 = r.r14,
  f.r15 = r.r15;
  f.rdi = r.rdi, f.rsi = r.rsi, f.rbp = r.rbp, f.rbx = r.rbx, f.rdx = r.rdx, f.rax = r.rax, f.rcx = r.rcx;
  f.rsp = r.rsp, f.rip = r.rip, f.rflags = r.rflags & ~std::uint64_t{0x100};
  f.cs = r.cs, f.ss = r.ss;
  f.error = t.last_error, f.trapno = t.last_trap, f.cr2 = t.last_cr2;
  f.mask = ~bit(signo);
  hpcvmm_sigreturn(&f);
}

}  // namespace hpcvmm::deputy
