// CPU time as the guest is told it: the kernel's figures, which are those of home, and what was used away.
//
// The kernel's answer goes to memory of ours first; while nobody of the tree has been away it is passed on
// as it is.
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/times.h>
#include <sys/wait.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>

#include "vmm/deputy/accounts.hh"
#include "vmm/deputy/calls.hh"
#include "vmm/deputy/gate.hh"
#include "vmm/mem/user_copy.hh"

namespace hpcvmm::deputy {

using sys::SysRet;

namespace {

constexpr std::uint64_t kSecondUs = 1'000'000;
constexpr std::uint64_t kTickUs = 10'000;  // USER_HZ is 100

std::uint64_t us_of(const timeval& t) {
  return static_cast<std::uint64_t>(t.tv_sec) * kSecondUs + static_cast<std::uint64_t>(t.tv_usec);
}

void add(timeval& to, std::uint64_t us) {
  const std::uint64_t all = us_of(to) + us;
  to = {static_cast<time_t>(all / kSecondUs), static_cast<suseconds_t>(all % kSecondUs)};
}

void add(rusage& to, const CpuTime& t) {
  add(to.ru_utime, t.user);
  add(to.ru_stime, t.system);
}

CpuTime host_use(int who) {
  rusage u{};
  raw_call(SYS_getrusage, word(who), word(&u));
  return {us_of(u.ru_utime), us_of(u.ru_stime)};
}

bool put_rusage(const CallContext& c, std::uint64_t at, const rusage& u) {
  if (c.abi == Abi::X64) return mem::put(at, u);
  // Source: Linux struct compat_rusage: the same 18 words, of 32 bits.
  std::array<std::int64_t, 18> wide{};
  static_assert(sizeof wide == sizeof u);
  std::memcpy(wide.data(), &u, sizeof u);
  std::array<std::int32_t, 18> words{};
  std::transform(wide.begin(), wide.end(), words.begin(),
                 [](std::int64_t v) { return static_cast<std::int32_t>(v); });
  return mem::put(at, words);
}

/// A CPU clock by its number: whose, and what of it.
/// Source: Linux include/linux/posix-timers_types.h, CPUCLOCK_*.
struct CpuClock {
  bool is_one = false;
  bool of_thread = false;
  bool user_only = false;
  std::int32_t id = 0;  // 0: the caller
};

CpuClock cpu_clock(std::int32_t id) {
  if (id == CLOCK_PROCESS_CPUTIME_ID) return {true, false, false, 0};
  if (id == CLOCK_THREAD_CPUTIME_ID) return {true, true, false, 0};
  constexpr unsigned kUser = 1;
  constexpr unsigned kDevice = 3;
  const auto bits = static_cast<unsigned>(id);
  if (id >= 0 || (bits & 3U) == kDevice) return {};
  return {true, (bits & 4U) != 0, (bits & 3U) == kUser, static_cast<std::int32_t>(~(id >> 3))};
}

/// What the clock has to show beside the host's.
CpuTime used_away(const Task& t, const CpuClock& clock) {
  if (clock.of_thread) {
    if (clock.id == 0 || clock.id == t.tid) return thread_used_away(t);
    const mem::LockGuard guard(t.process->lock);
    for (const Task* other : t.process->tasks)
      if (other->tid == clock.id && other->vcpu != nullptr) return thread_used_away(*other);
    return {};
  }
  if (clock.id == 0 || clock.id == static_cast<std::int32_t>(raw_call(SYS_getpid)))
    return process_used_away(t);
  CpuTime own;
  CpuTime children;
  return others_used_away(clock.id, own, children) ? own : CpuTime{};
}

/// The members of siginfo_t that waitid(2) writes, and no other.
bool put_child(const CallContext& c, std::uint64_t at, const siginfo_t& info) {
  const std::array<std::int32_t, 3> what{info.si_signo, info.si_errno, info.si_code};
  const std::array<std::int32_t, 3> who{info.si_pid, static_cast<std::int32_t>(info.si_uid), info.si_status};
  return mem::put(at, what) && mem::put(at + (c.abi == Abi::X64 ? 16 : 12), who);
}

}  // namespace

SysRet call_getrusage(const CallContext& c) {
  if (!accounts_count()) return pass(c);
  const int who = c.as_int(0);
  rusage u{};
  const SysRet rc = gate64(SYS_getrusage, {word(who), word(&u), 0, 0, 0, 0});
  if (rc.is_error() || rc.is_restart()) return rc;
  add(u, who == RUSAGE_SELF     ? process_used_away(c.task)
         : who == RUSAGE_THREAD ? thread_used_away(c.task)
                                : children_used_away(c.task));
  return put_rusage(c, c.arg(1), u) ? rc : SysRet::fail(EFAULT);
}

SysRet call_times(const CallContext& c) {
  if (!accounts_count()) return pass(c);
  const SysRet rc = gate64(SYS_times, {0, 0, 0, 0, 0, 0});
  if (rc.is_restart() || c.arg(0) == 0) return rc;
  const CpuTime own = host_use(RUSAGE_SELF) + process_used_away(c.task);
  const CpuTime children = host_use(RUSAGE_CHILDREN) + children_used_away(c.task);
  const std::array<std::uint64_t, 4> ticks{own.user / kTickUs, own.system / kTickUs, children.user / kTickUs,
                                           children.system / kTickUs};
  bool good = false;
  if (c.abi == Abi::X64) {
    static_assert(sizeof(tms) == sizeof ticks);
    good = mem::put(c.arg(0), ticks);
  } else {
    std::array<std::uint32_t, 4> words{};
    std::transform(ticks.begin(), ticks.end(), words.begin(),
                   [](std::uint64_t v) { return static_cast<std::uint32_t>(v); });
    good = mem::put(c.arg(0), words);
  }
  return good ? rc : SysRet::fail(EFAULT);
}

SysRet call_clock_gettime(const CallContext& c) {
  const CpuClock clock = cpu_clock(c.as_int(0));
  if (!clock.is_one || !accounts_count()) return pass(c);
  timespec t{};
  const SysRet rc = gate64(SYS_clock_gettime, {word(c.as_int(0)), word(&t), 0, 0, 0, 0});
  if (rc.is_error() || rc.is_restart()) return rc;
  constexpr std::uint64_t kSecondNs = 1'000'000'000;
  const CpuTime away = used_away(c.task, clock);
  const std::uint64_t ns = static_cast<std::uint64_t>(t.tv_sec) * kSecondNs +
                           static_cast<std::uint64_t>(t.tv_nsec) +
                           (clock.user_only ? away.user : away.sum()) * 1000;
  t = {static_cast<time_t>(ns / kSecondNs), static_cast<long>(ns % kSecondNs)};
  const std::array<std::int32_t, 2> small{static_cast<std::int32_t>(t.tv_sec),
                                          static_cast<std::int32_t>(t.tv_nsec)};
  const bool is_small = c.abi == Abi::Ia32 && c.row.call == sys::Call::clock_gettime;
  const bool good = is_small ? mem::put(c.arg(1), small) : mem::put(c.arg(1), t);
  return good ? rc : SysRet::fail(EFAULT);
}

/// wait4(2) and IA32's waitpid(2), which has no fourth word.
SysRet call_wait4(const CallContext& c) {
  // Without a look at the table: a child may be the first to go away while this call waits for it.
  if (accounts_fd() < 0) return pass(c);
  int status = 0;
  rusage u{};
  const SysRet rc = gate64(SYS_wait4, {word(c.as_int(0)), word(&status), word(c.as_int(2)), word(&u), 0, 0});
  if (rc.is_error() || rc.is_restart() || rc.value() == 0) return rc;
  add(u, child_used_away(c.task, static_cast<std::int32_t>(rc.value()),
                         WIFEXITED(status) || WIFSIGNALED(status)));
  if (c.arg(1) != 0 && !mem::put(c.arg(1), status)) return SysRet::fail(EFAULT);
  const std::uint64_t usage = c.row.call == sys::Call::wait4 ? c.arg(3) : 0;
  return usage == 0 || put_rusage(c, usage, u) ? rc : SysRet::fail(EFAULT);
}

SysRet call_waitid(const CallContext& c) {
  if (accounts_fd() < 0) return pass(c);
  const int options = c.as_int(3);
  siginfo_t info{};
  rusage u{};
  const SysRet rc =
      gate64(SYS_waitid, {word(c.as_int(0)), word(c.as_int(1)), word(&info), word(options), word(&u), 0});
  if (rc.is_restart()) return rc;
  if (!rc.is_error() && info.si_pid != 0) {
    const bool ended = info.si_code == CLD_EXITED || info.si_code == CLD_KILLED || info.si_code == CLD_DUMPED;
    add(u, child_used_away(c.task, info.si_pid, ended && (options & WNOWAIT) == 0));
    if (c.arg(4) != 0 && !put_rusage(c, c.arg(4), u)) return SysRet::fail(EFAULT);
  }
  // Of a call that fails the kernel writes it, too.
  if (c.arg(2) != 0 && !put_child(c, c.arg(2), info)) return SysRet::fail(EFAULT);
  return rc;
}

}  // namespace hpcvmm::deputy
