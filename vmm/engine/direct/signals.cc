// Every signal of the process comes through here: decides whether it ends run() and with what.
#include <sys/syscall.h>

#include <array>
#include <cstring>

#include "vmm/engine/direct/thread.hh"
#include "vmm/engine/direct/vcpu.hh"

#ifndef SYS_USER_DISPATCH
#define SYS_USER_DISPATCH 2
#endif

namespace hpcvmm::engine::direct {
namespace {

constexpr unsigned long kSaRestorer = 0x04000000;
constexpr unsigned long kAllowedFlags = SA_RESTART | SA_NOCLDSTOP | SA_NOCLDWAIT;
constexpr int kSignals = 64;
constexpr int kTrapPerf = 6;  // TRAP_PERF of <asm-generic/siginfo.h>; not in glibc 2.36

/// The kernel's struct sigaction.
struct KernelSigaction {
  void (*handler)();
  unsigned long flags;
  void (*restorer)();
  KernelSigset mask;
};

std::array<HostHandler, kSignals + 1> host_handlers{};

bool is_dispatch(int signo, const siginfo_t* info) {
  return signo == SIGSYS && info->si_code == SYS_USER_DISPATCH;
}

/// True if an instruction raised it, false if somebody sent it (kill, a timer, a machine check elsewhere).
bool is_synchronous(int signo, const siginfo_t* info) {
  if (info->si_code <= 0) return false;
  switch (signo) {
    case SIGSEGV:
    case SIGFPE:
    case SIGILL: return true;
    case SIGBUS: return info->si_code != BUS_MCEERR_AO;
    case SIGTRAP: return info->si_code != kTrapPerf;
    default: return false;
  }
}

bool in_entry_range(const KernelUcontext* uc) {
  return uc->mc.rip >= reinterpret_cast<std::uint64_t>(direct_enter_begin) &&
         uc->mc.rip < reinterpret_cast<std::uint64_t>(direct_enter_end);
}

/// A signal nobody installed a handler for: the VMM's own fault.  The default action strikes when the
/// faulting instruction runs again.
void default_action(int signo) {
  const KernelSigaction deflt{};
  host_call(SYS_rt_sigaction, static_cast<std::uint64_t>(signo), word(&deflt), 0, sizeof(KernelSigset));
}

void call_host_handler(int signo, siginfo_t* info, KernelUcontext* uc) {
  const HostHandler handler = host_handlers[static_cast<std::size_t>(signo)];
  if (handler != nullptr) {
    handler(signo, info, uc);
    return;
  }
  default_action(signo);
  if (!is_synchronous(signo, info)) requeue(info);
}

/// The VMM itself went through code outside the zone, that is the vDSO, which fell back to a system call.
void serve_vmm_call(const siginfo_t* info, KernelUcontext* uc) {
  KernelSigcontext& mc = uc->mc;
  mc.rax = static_cast<std::uint64_t>(
      host_call(static_cast<std::uint32_t>(info->si_syscall), mc.rdi, mc.rsi, mc.rdx, mc.r10, mc.r8, mc.r9));
}

int on_vmm_signal(ThreadBlock* block, int signo, siginfo_t* info, KernelUcontext* uc) {
  if (is_dispatch(signo, info)) {
    serve_vmm_call(info, uc);
    return 0;
  }
  const bool entering = block != nullptr && in_entry_range(uc);
  if (entering && is_synchronous(signo, info)) {
    // rt_sigreturn refused the frame, or the FS base is no canonical address.  The mask may already be the
    // guest's.
    block->vcpu->on_broken("direct engine: the kernel refused the guest's registers");
    block->exit_mask = uc->sigmask | (block->sigsys_blocked != 0 ? sig_bit(SIGSYS) : 0);
    block->apply_mask = true;
    return 1;
  }
  call_host_handler(signo, info, uc);
  if (!entering) return 0;
  ++block->aborted_entries;
  block->exit_mask = uc->sigmask;
  block->apply_mask = true;
  block->vcpu->on_interrupted();
  return 1;
}

void on_guest_signal(ThreadBlock* block, int signo, siginfo_t* info, KernelUcontext* uc) {
  DirectVcpu& vcpu = *block->vcpu;
  std::uint32_t arch = 0;
  if (is_dispatch(signo, info)) {
    vcpu.save(*block, *uc);
    vcpu.on_syscall(static_cast<std::uint32_t>(info->si_arch));
  } else if (signo == SIGSYS && (arch = vcpu.swallowed_call(*uc)) != 0) {
    // The kernel keeps one SIGSYS at a time: the dispatch found this one pending and left no trace of itself
    // but RIP behind the call.  First the call; the signal again as soon as the mask lets it.
    vcpu.save(*block, *uc);
    vcpu.on_syscall(arch);
    requeue(info);
  } else if (is_synchronous(signo, info)) {
    vcpu.save(*block, *uc);
    vcpu.on_exception(*info, *uc);
  } else {
    if (signo == SIGSYS && block->sigsys_blocked != 0) {
      // Sent to a guest that blocks it.  It stays pending with us: standard signals do not queue, one is
      // enough.
      std::memcpy(&block->held, info, sizeof block->held);
      block->held_valid = true;
    } else {
      call_host_handler(signo, info, uc);
    }
    vcpu.save(*block, *uc);
    vcpu.on_interrupted();
  }
  block->exit_mask = uc->sigmask | (block->sigsys_blocked != 0 ? sig_bit(SIGSYS) : 0);
  block->apply_mask = true;
}

}  // namespace

extern "C" int direct_on_signal(ThreadBlock* block, int signo, siginfo_t* info, KernelUcontext* uc,
                                int guest) {
  if (guest == 0) return on_vmm_signal(block, signo, info, uc);
  on_guest_signal(block, signo, info, uc);
  return 1;
}

Status set_entry(int signo, unsigned long sa_flags, HostHandler handler) {
  if (signo < 1 || signo > kSignals || (sa_flags & ~kAllowedFlags) != 0) {
    return Error::of(EINVAL, "install_host_handler");
  }
  KernelSigaction action{};
  action.handler = direct_signal_entry;
  action.restorer = direct_restorer;
  // SA_RESTART on SIGSYS would let the kernel move RIP for a guest that passes -ERESTARTSYS as a call number.
  const unsigned long flags = signo == SIGSYS ? 0 : sa_flags;
  action.flags = flags | SA_SIGINFO | SA_ONSTACK | kSaRestorer;
  // Everything is blocked until the frame has been copied and the VMM is on its own stack: handlers never
  // nest, so one frame is all that the alternate stack ever holds, however fast signals are sent.  For a
  // system call that costs one rt_sigprocmask(2), 0.14 us of 2.5; with an open mask a sender on another CPU
  // overflowed the stack.
  action.mask = ~KernelSigset{0};
  host_handlers[static_cast<std::size_t>(signo)] = handler;
  const std::int64_t r =
      host_call(SYS_rt_sigaction, static_cast<std::uint64_t>(signo), word(&action), 0, sizeof(KernelSigset));
  if (r < 0) return Error::of(static_cast<int>(-r), "rt_sigaction");
  return Unit{};
}

}  // namespace hpcvmm::engine::direct

namespace hpcvmm::engine {

Status install_host_handler(int signo, unsigned long sa_flags, HostHandler handler) {
  return direct::set_entry(signo, sa_flags, handler);
}

}  // namespace hpcvmm::engine
