// The direct engine: guest code runs on the CPU inside this process; Syscall User Dispatch (Linux 5.11) turns
// every system call outside the VMM's zone into SIGSYS.  See README.md of this folder.
#pragma once

#include <csignal>
#include <cstddef>
#include <memory>

#include "hpcvmm/base/result.hh"
#include "vmm/engine/engine.hh"

namespace hpcvmm::engine {

struct DirectConfig {
  /// Gives zeroed memory in [kArenaBegin, kArenaEnd), nullptr when there is none.  Never asked to take it
  /// back: the engine keeps what threads and vCPUs leave and uses it again.  Threads: called from any.
  void* (*alloc)(std::size_t bytes, std::size_t align) = nullptr;
  /// The guest may run 32-bit code: make_direct_engine() then checks that the host can (one fork).
  bool ia32 = false;
};

/// Makes the direct engine of this process; there may be one at a time.  Call it in the thread that will run
/// the first vCPU, before any guest code.  From then on SIGSYS, SIGSEGV, SIGBUS, SIGFPE, SIGILL and SIGTRAP
/// are caught. Errors: EINVAL or ENOSYS the kernel has no Syscall User Dispatch (older than 5.11: use the kvm
/// engine), EOPNOTSUPP no IA32 emulation, or FP state beyond FpState::kMaxBytes; EBUSY an engine exists;
/// EINVAL no allocator.
Result<std::unique_ptr<Engine>> make_direct_engine(const DirectConfig& config);

/// True if this host runs 32-bit user code and serves `int $0x80`.  Forks a short-lived child, about 1 ms; it
/// causes no SIGCHLD.  Any thread.
bool supports_ia32();

/// What a signal does in the deputy.  It runs on the thread's alternate stack with the VMM's FS base and with
/// all signals blocked; no stack protector.  `ucontext` is the kernel's frame of what was interrupted: a
/// guest or the VMM.  A change to its uc_sigmask (8 bytes) becomes the thread's mask, in both cases.
using HostHandler = void (*)(int signo, siginfo_t* info, void* ucontext);

/// Installs `handler` for `signo` (1..64) through the engine's entry code.  `sa_flags` may hold SA_RESTART,
/// SA_NOCLDSTOP and SA_NOCLDWAIT; SA_SIGINFO, SA_ONSTACK and a full mask are added.  Call again to change.
/// Every signal that is caught must be installed here: any other handler would run with the guest's FS base.
/// Not every call comes to `handler`: guest system calls and faults raised by guest instructions leave run()
/// instead. Errors: EINVAL as of rt_sigaction(2), or a flag not named above.
Status install_host_handler(int signo, unsigned long sa_flags, HostHandler handler);

/// Gives the calling thread its alternate stack and arms the dispatch; run() does it too when it has not been
/// done. A new thread must call it, with all signals blocked, before it unblocks any. Errors: ENOMEM the
/// allocator is empty; what sigaltstack(2) or prctl(2) give.
Status direct_thread_attach();

/// To be called where a thread or a vfork child begins with the *same* block as the caller's
/// (CLONE_VM|CLONE_VFORK without own TLS), and in the parent when it goes on: arms the dispatch again (it is
/// not inherited) and forgets which TLS descriptors this kernel thread has.  Errors: what prctl(2) gives.
Status direct_thread_refresh();

/// Gives the calling thread's alternate stack back.  Call it with all signals blocked, as the last thing.
void direct_thread_detach();

}  // namespace hpcvmm::engine
