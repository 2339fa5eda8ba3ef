#include "vmm/migrate/host.hh"

#include <linux/futex.h>
#include <pthread.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>

#include <csignal>

#include "vmm/mem/arena.hh"

namespace hpcvmm::migrate {
namespace {

HostHooks g_hooks;  // NOLINT: set once at start

// NOLINTNEXTLINE(readability-function-size): a call's number and its words
std::int64_t raw(long nr, std::uint64_t a, std::uint64_t b, std::uint64_t c = 0, std::uint64_t d = 0) {
  std::int64_t rc = nr;
  register std::uint64_t r10 asm("r10") = d;
  asm volatile("syscall" : "+a"(rc) : "D"(a), "S"(b), "d"(c), "r"(r10) : "rcx", "r11", "memory");
  return rc;
}
template <class T> std::uint64_t word(T* p) { return reinterpret_cast<std::uint64_t>(p); }

std::uint64_t clock_us(int clock) {
  timespec t{};
  raw(SYS_clock_gettime, static_cast<std::uint64_t>(static_cast<std::int64_t>(clock)), word(&t));
  return static_cast<std::uint64_t>(t.tv_sec) * 1'000'000 + static_cast<std::uint64_t>(t.tv_nsec) / 1000;
}
timespec span_of(std::uint64_t us) {
  return {static_cast<time_t>(us / 1'000'000), static_cast<long>(us % 1'000'000 * 1000)};
}

}  // namespace

void set_host_hooks(const HostHooks& hooks) { g_hooks = hooks; }
const HostHooks& host() { return g_hooks; }

OwnNumbers::OwnNumbers() {
  constexpr std::uint64_t kLimitUs = 500;
  if (g_hooks.begin_own_numbers != nullptr) g_hooks.begin_own_numbers(kLimitUs);
}
OwnNumbers::~OwnNumbers() {
  if (g_hooks.end_own_numbers != nullptr) g_hooks.end_own_numbers();
}

std::uint64_t now_us() { return clock_us(CLOCK_MONOTONIC); }
std::uint64_t process_cpu_us() { return clock_us(CLOCK_PROCESS_CPUTIME_ID); }

CpuTime thread_cpu() {
  rusage u{};
  raw(SYS_getrusage, RUSAGE_THREAD, word(&u));
  const auto us = [](const timeval& t) {
    return static_cast<std::uint64_t>(t.tv_sec) * 1'000'000 + static_cast<std::uint64_t>(t.tv_usec);
  };
  return {us(u.ru_utime), us(u.ru_stime)};
}

std::uint64_t thread_cpu_us(int tid) {
  // Source: Linux include/linux/posix-timers.h, MAKE_THREAD_CPUCLOCK(tid, CPUCLOCK_SCHED).
  constexpr int kThreadsSchedClock = 6;
  return clock_us(static_cast<int>(~static_cast<unsigned>(tid) << 3U | kThreadsSchedClock));
}

void sleep_us(std::uint64_t us) {
  const timespec t = span_of(us);
  raw(SYS_nanosleep, word(&t), 0);
}

void futex_wait(const void* at, std::uint32_t value, std::uint64_t us) {
  const timespec t = span_of(us);
  raw(SYS_futex, word(at), FUTEX_WAIT_PRIVATE, value, us == 0 ? 0 : word(&t));
}
void futex_wake(const void* at, int count) {
  raw(SYS_futex, word(at), FUTEX_WAKE_PRIVATE, static_cast<std::uint64_t>(count));
}

void answer_soon(bool soon) {
  struct {  // struct sched_attr of <linux/sched/types.h>, first version
    std::uint32_t size, policy;
    std::uint64_t flags;
    std::int32_t nice;
    std::uint32_t priority;
    std::uint64_t runtime, deadline, period;
  } attr{};
  constexpr std::uint64_t kShortestTurnNs = 100'000;
  ::prctl(PR_SET_TIMERSLACK, soon ? 1 : 0);  // 0: as at first
  if (raw(SYS_sched_getattr, 0, word(&attr), sizeof attr) != 0 || attr.policy != 0) return;
  attr.runtime = soon ? kShortestTurnNs : 0;  // likewise
  raw(SYS_sched_setattr, 0, word(&attr), 0);
}

bool start_thread(void* (*main)(void*), void* arg, const char* name) {
  constexpr std::size_t kStack = std::size_t{128} << 10;
  void* const stack = mem::arena_map(kStack);
  if (stack == nullptr) return false;
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  pthread_attr_t attr;
  pthread_attr_init(&attr);
  pthread_attr_setstack(&attr, stack, kStack);
  pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
  pthread_t thread{};
  const int rc = ::pthread_create(&thread, &attr, main, arg);
  pthread_attr_destroy(&attr);
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (rc == 0) ::pthread_setname_np(thread, name);
  return rc == 0;
}

}  // namespace hpcvmm::migrate
