// Syscall User Dispatch and the kernel's IA32 layer, tried by doing.  Runs in a child process (guarded.hh).
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "vmm/probe/guarded.hh"
#include "vmm/probe/raw_facts.hh"

#ifndef PR_SET_SYSCALL_USER_DISPATCH
#define PR_SET_SYSCALL_USER_DISPATCH 59
#define PR_SYS_DISPATCH_OFF 0
#define PR_SYS_DISPATCH_ON 1
#endif

extern "C" {  // direct_probe_entry.S
// NOLINTBEGIN(readability-identifier-naming)
extern const char hpcvmm_probe_restorer[];
extern const char hpcvmm_probe_restorer_end[];
extern const char hpcvmm_probe_run32[];
extern const char hpcvmm_probe_run32_end[];
// NOLINTEND(readability-identifier-naming)
}

namespace hpcvmm::probe {
namespace {

constexpr char kAllow = 0;
constexpr char kBlock = 1;
constexpr long kAnswer = 0x5a5a;  // what the handler returns instead of a pid
constexpr unsigned kRounds = 300;

volatile char selector = kAllow;  // read by the kernel at every system call
volatile unsigned dispatched = 0;

void on_sigsys(int, siginfo_t*, void* context) {
  selector = kAllow;
  static_cast<ucontext_t*>(context)->uc_mcontext.gregs[REG_RAX] = kAnswer;
  dispatched = dispatched + 1;
  selector = kBlock;
}

/// The kernel's own structure: the C library would put in its own restorer, which must not be exempt.
struct KernelSigaction {
  void (*handler)(int, siginfo_t*, void*);
  unsigned long flags;
  const void* restorer;
  unsigned long mask;
};

/// Handler, alternate stack and dispatch for this thread.  0 or an errno.
int arm() {
  static char stack[65536];
  const stack_t alternate{.ss_sp = stack, .ss_flags = 0, .ss_size = sizeof(stack)};
  if (::sigaltstack(&alternate, nullptr) < 0) return errno;
  constexpr unsigned long kSaRestorer = 0x0400'0000;
  const KernelSigaction action{on_sigsys, SA_SIGINFO | SA_ONSTACK | kSaRestorer, hpcvmm_probe_restorer, 0};
  if (::syscall(SYS_rt_sigaction, SIGSYS, &action, nullptr, 8) < 0) return errno;
  const auto exempt = reinterpret_cast<unsigned long>(hpcvmm_probe_restorer);
  const auto exempt_bytes = static_cast<unsigned long>(hpcvmm_probe_restorer_end - hpcvmm_probe_restorer);
  if (::prctl(PR_SET_SYSCALL_USER_DISPATCH, PR_SYS_DISPATCH_ON, exempt, exempt_bytes, &selector) < 0)
    return errno;
  return 0;
}

long raw_getpid() {
  long result = SYS_getpid;
  asm volatile("syscall" : "+a"(result) : : "rcx", "r11", "memory");
  return result;
}

using Run32 = long (*)(unsigned count, void* stack_top);

/// The 32-bit routine in memory that 32-bit code can reach.  Null if there is none.
Run32 make_run32(char*& stack_top) {
  constexpr std::size_t kBytes = 65536;
  void* const low = ::mmap(nullptr, kBytes, PROT_READ | PROT_WRITE | PROT_EXEC,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
  if (low == MAP_FAILED) return nullptr;
  std::memcpy(low, hpcvmm_probe_run32, static_cast<std::size_t>(hpcvmm_probe_run32_end - hpcvmm_probe_run32));
  stack_top = static_cast<char*>(low) + kBytes - 64;
  return reinterpret_cast<Run32>(low);
}

}  // namespace

void probe_direct64(Direct64& out) {
  out.failed_errno = arm();
  if (out.failed_errno != 0) return;
  selector = kBlock;
  const long answer = raw_getpid();
  selector = kAllow;
  out.dispatch = answer == kAnswer && dispatched == 1;
  if (!out.dispatch) return;
  double times[kRounds];
  for (double& t : times) {
    const double begin = now_us();
    selector = kBlock;
    raw_getpid();
    selector = kAllow;
    t = now_us() - begin;
  }
  out.dispatch_us = median(times, kRounds);
}

void probe_direct32(Direct32& out) {
  char* stack_top = nullptr;
  const Run32 run32 = make_run32(stack_top);
  if (run32 == nullptr) return;
  // Without IA32 support one of the next lines ends this process: that is the answer.
  if (run32(1, stack_top) != ::getpid()) return;
  out.emulation = true;
  double begin = now_us();
  run32(kRounds, stack_top);
  out.int80_us = (now_us() - begin) / kRounds;
  if (arm() != 0) return;
  selector = kBlock;
  const long answer = run32(1, stack_top);
  selector = kAllow;
  out.dispatch = answer == kAnswer && dispatched == 1;
  if (!out.dispatch) return;
  begin = now_us();
  selector = kBlock;
  run32(kRounds, stack_top);
  selector = kAllow;
  out.dispatch_us = (now_us() - begin) / kRounds;
}

}  // namespace hpcvmm::probe
