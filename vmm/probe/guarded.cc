#include "vmm/probe/guarded.hh"

#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <ctime>

#include "hpcvmm/base/unique_fd.hh"

namespace hpcvmm::probe {
namespace {

/// Waits for `pid` to end.  False at the limit.
bool wait_until_dead(int pid, int limit_ms) {
  const UniqueFd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  const double end = now_us() + limit_ms * 1000.0;
  for (;;) {
    const auto left = static_cast<int>((end - now_us()) / 1000.0) + 1;
    int status = 0;
    const int got = ::waitpid(pid, &status, WNOHANG | __WALL);
    if (got == pid || (got < 0 && errno == ECHILD)) return true;
    if (now_us() >= end) return false;
    if (pidfd) {
      pollfd waiting{.fd = pidfd.get(), .events = POLLIN, .revents = 0};
      ::poll(&waiting, 1, left);
    } else {
      const timespec nap{.tv_sec = 0, .tv_nsec = 500'000};  // kernels before 5.3
      ::nanosleep(&nap, nullptr);
    }
  }
}

/// Default actions and an open mask: the caller's handlers must not run in the child.
void reset_signals() {
  for (const int signo : {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, SIGSYS, SIGABRT, SIGTERM, SIGINT})
    ::signal(signo, SIG_DFL);
  sigset_t none;
  ::sigemptyset(&none);
  ::pthread_sigmask(SIG_SETMASK, &none, nullptr);
}

}  // namespace

double now_us() {
  timespec t{};
  ::clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<double>(t.tv_sec) * 1e6 + static_cast<double>(t.tv_nsec) * 1e-3;
}

double median(double* values, unsigned count) {
  if (count == 0) return 0;
  std::nth_element(values, values + count / 2, values + count);
  return values[count / 2];
}

Outcome detail::run_in_child(void (*body)(void*), void* result, unsigned long bytes, int limit_ms) {
  constexpr std::size_t kDataAt = 64;  // behind the flag, aligned for any result
  const std::size_t map_bytes = kDataAt + bytes;
  void* const memory = ::mmap(nullptr, map_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return Outcome::NotRun;
  auto* const done = static_cast<volatile int*>(memory);
  void* const data = static_cast<char*>(memory) + kDataAt;
  std::memcpy(data, result, bytes);
  const int parent = ::getpid();
  // clone with exit signal 0 rather than fork: no SIGCHLD for the caller, see run_guarded().
  const auto pid = static_cast<int>(::syscall(SYS_clone, 0, nullptr, nullptr, nullptr, nullptr));
  if (pid == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != parent) ::_exit(1);
    ::prctl(PR_SET_DUMPABLE, 0);  // a probe that crashes is a result, not a core file
    reset_signals();
    body(data);
    *done = 1;
    ::_exit(0);
  }
  Outcome outcome = Outcome::NotRun;
  if (pid > 0) {
    const bool ended = wait_until_dead(pid, limit_ms);
    if (!ended) {
      ::kill(pid, SIGKILL);
      wait_until_dead(pid, 200);  // a child stuck in the kernel is left behind: better a zombie than a hang
    }
    outcome = *done != 0 ? Outcome::Done : (ended ? Outcome::Crashed : Outcome::TimedOut);
    std::memcpy(result, data, bytes);
  }
  ::munmap(memory, map_bytes);
  return outcome;
}

}  // namespace hpcvmm::probe
