#include "vmm/migrate/local_calls.hh"

#include <asm/prctl.h>
#include <linux/futex.h>

#include <cerrno>
#include <climits>
#include <ctime>

#include "vmm/mem/user_copy.hh"
#include "vmm/migrate/remote_impl.hh"
#include "vmm/sys/call.hh"
#include "vmm/sys/call_gate.hh"
#include "vmm/sys/passthrough.hh"

namespace hpcvmm::migrate {
namespace {

using sys::Call;
using sys::SysRet;

thread_local const Runner* t_caller = nullptr;

SysRet here(const sys::Row& row, Abi abi, const sys::Args& args, const Runner& runner) {
  static constexpr sys::HostGate kGate{
      .call64 = [](std::uint64_t nr,
                   const sys::Args& a) { return sys::gated_call64(nr, a, t_caller->pending()); },
      .call32 = [](std::uint64_t nr,
                   const sys::Args& a) { return sys::gated_call32(nr, a, t_caller->pending()); },
      .copy_in = mem::copy_in,
      .copy_out = mem::copy_out,
  };
  t_caller = &runner;
  return sys::pass_through(row, abi, args, kGate);
}

/// Clocks of the node, not of the process or one of its threads.
bool is_node_clock(std::uint64_t id) {
  switch (static_cast<std::uint32_t>(id)) {
    case CLOCK_REALTIME:
    case CLOCK_MONOTONIC:
    case CLOCK_MONOTONIC_RAW:
    case CLOCK_REALTIME_COARSE:
    case CLOCK_MONOTONIC_COARSE:
    case CLOCK_BOOTTIME:
    case CLOCK_TAI: return true;
    default: return false;
  }
}

/// The process's clock, where that is not the node's.
timespec process_clock(std::uint32_t id, const Remote& remote) {
  constexpr std::int64_t kSecond = 1'000'000'000;
  const std::int64_t ns = read_clock(static_cast<clockid_t>(id)) + remote.clocks().of(id);
  return {ns / kSecond, ns % kSecond};
}

/// `narrow`: as two 32-bit numbers.
SysRet tell_pair(std::uint64_t at, std::int64_t first, std::int64_t second, bool narrow) {
  const std::int64_t wide[2] = {first, second};
  const std::int32_t small[2] = {static_cast<std::int32_t>(first), static_cast<std::int32_t>(second)};
  const bool good = narrow ? mem::copy_out(at, small, sizeof small) : mem::copy_out(at, wide, sizeof wide);
  return good ? SysRet::raw(0) : SysRet::fail(EFAULT);
}

/// True: the call reads a clock that is not the node's.  One of the host's vDSO is: the guest's adds what is
/// between.
bool is_other_clock(const sys::Row& row, Abi abi, const sys::Args& args, const GuestRegs& regs,
                    const Remote& remote) {
  if (!remote.clocks().any()) return false;
  if (abi == Abi::X64 && regs.rip >= remote.vdso_begin() && regs.rip < remote.vdso_end()) return false;
  switch (row.call) {
    case Call::clock_gettime:
    case Call::clock_gettime64: return remote.clocks().of(static_cast<std::uint32_t>(args[0])) != 0;
    case Call::time: return remote.clocks().realtime != 0;
    case Call::gettimeofday: return args[0] != 0 && args[1] == 0 && remote.clocks().realtime != 0;
    default: return false;
  }
}

SysRet read_other_clock(const sys::Row& row, Abi abi, const sys::Args& args, const Remote& remote) {
  const bool narrow = abi == Abi::Ia32 && row.call != Call::clock_gettime64;
  if (row.call == Call::clock_gettime || row.call == Call::clock_gettime64) {
    const timespec t = process_clock(static_cast<std::uint32_t>(args[0]), remote);
    return tell_pair(args[1], t.tv_sec, t.tv_nsec, narrow);
  }
  if (row.call == Call::gettimeofday) {
    const timespec t = process_clock(CLOCK_REALTIME, remote);
    return tell_pair(args[0], t.tv_sec, t.tv_nsec / 1000, narrow);
  }
  const std::int64_t now = process_clock(CLOCK_REALTIME_COARSE, remote).tv_sec;
  if (args[0] != 0 && !mem::copy_out(args[0], &now, narrow ? 4 : 8)) return SysRet::fail(EFAULT);
  return SysRet::raw(now);
}

LocalCall done(GuestRegs& regs, Abi abi, const SysRet& result) {
  if (result.is_restart()) return LocalCall::Home;  // kicked before it began: home will see to it
  sys::set_result(regs, abi, result);
  return LocalCall::Done;
}

bool is_interrupted(const SysRet& r) { return r.is_restart() || (r.is_error() && r.value() == -EINTR); }

LocalCall wait(const sys::Row& row, Abi abi, const sys::Args& args, GuestRegs& regs, const Runner& runner) {
  const SysRet result = here(row, abi, args, runner);
  if (!is_interrupted(result)) return done(regs, abi, result);
  regs.rip -= sys::kCallBytes;
  return args[3] != 0 ? LocalCall::InTimedWait : LocalCall::InWait;
}

void wake_at_home(Remote& remote, std::uint64_t address, std::uint32_t count) {
  const Wake w{{Msg::Wake, 0, count}, address};
  remote.send(Stream::Urgent, {{&w, sizeof w}});
}

LocalCall wake(const sys::Row& row, Abi abi, const sys::Args& args, GuestRegs& regs, const Runner& runner,
               Remote& remote) {
  const SysRet result = here(row, abi, args, runner);
  if (result.is_error() || result.is_restart() || !remote.waits_at_home()) return done(regs, abi, result);
  if (result.value() == 0) return LocalCall::Home;
  const auto wanted = static_cast<std::uint32_t>(args[2]);
  const auto woken = static_cast<std::uint32_t>(result.value());
  if (woken < wanted) wake_at_home(remote, args[0], wanted - woken);
  return done(regs, abi, result);
}

/// Operations on two futexes.  Waiters at home are all woken: a futex's waiter looks again at what it waits
/// for.
LocalCall wake_two(const sys::Row& row, Abi abi, const sys::Args& args, GuestRegs& regs, const Runner& runner,
                   Remote& remote) {
  const SysRet result = here(row, abi, args, runner);
  if (!result.is_error() && !result.is_restart() && remote.waits_at_home()) {
    wake_at_home(remote, args[0], INT_MAX);
    wake_at_home(remote, args[4], INT_MAX);
  }
  return done(regs, abi, result);
}

/// Until a time of a clock that is not the node's.
bool waits_for_other_clock(const sys::Args& args, const Remote& remote) {
  const bool real = (args[1] & FUTEX_CLOCK_REALTIME) != 0;
  return args[3] != 0 && (real ? remote.clocks().realtime : remote.clocks().monotonic) != 0;
}

LocalCall futex(const sys::Row& row, Abi abi, const sys::Args& args, GuestRegs& regs, const Runner& runner,
                Remote& remote) {
  const auto op = static_cast<std::uint32_t>(args[1]);
  if ((op & FUTEX_PRIVATE_FLAG) == 0) return LocalCall::Home;
  switch (op & static_cast<std::uint32_t>(FUTEX_CMD_MASK)) {
    case FUTEX_WAIT:
      if (args[3] != 0) return LocalCall::Home;
      return wait(row, abi, args, regs, runner);
    case FUTEX_WAIT_BITSET:
      if (waits_for_other_clock(args, remote)) return LocalCall::Home;
      return wait(row, abi, args, regs, runner);
    case FUTEX_WAKE:
    case FUTEX_WAKE_BITSET: return wake(row, abi, args, regs, runner, remote);
    case FUTEX_REQUEUE:
    case FUTEX_CMP_REQUEUE:
    case FUTEX_WAKE_OP: return wake_two(row, abi, args, regs, runner, remote);
    default: return LocalCall::Home;
  }
}

/// Segment bases are registers.  Home: what is none of them (call_arch_prctl).
LocalCall segment_base(const sys::Args& args, GuestRegs& regs) {
  const auto code = static_cast<int>(static_cast<std::uint32_t>(args[0]));
  if (code != ARCH_SET_FS && code != ARCH_SET_GS) return LocalCall::Home;
  if (args[1] >= kTaskSize64) return done(regs, Abi::X64, SysRet::fail(EPERM));
  (code == ARCH_SET_FS ? regs.fs_base : regs.gs_base) = args[1];
  (code == ARCH_SET_FS ? regs.fs : regs.gs) = 0;
  return done(regs, Abi::X64, SysRet::ok());
}

}  // namespace

bool is_local_call(Abi abi, std::uint64_t number) {
  const sys::Row* const row = sys::find_row(abi, static_cast<std::uint32_t>(number));
  if (row == nullptr) return false;
  switch (row->call) {
    case Call::getpid:
    case Call::gettid:
    case Call::clock_gettime:
    case Call::clock_gettime64:
    case Call::clock_getres:
    case Call::clock_getres_time64:
    case Call::sched_yield:
    case Call::time:
    case Call::gettimeofday:
    case Call::getcpu:
    case Call::getrandom:
    case Call::rseq:
    case Call::futex:
    case Call::futex_time64: return true;
    case Call::arch_prctl: return abi == Abi::X64;
    default: return false;
  }
}

LocalCall call_here(GuestRegs& regs, Abi abi, Runner& runner, Remote& remote) {
  const sys::Row* const row = sys::find_row(abi, static_cast<std::uint32_t>(regs.rax));
  if (row == nullptr) return LocalCall::Home;
  const sys::Args args = sys::call_args(regs, abi);
  switch (row->call) {
    case Call::getpid: return done(regs, abi, SysRet::raw(runner.pid()));
    case Call::gettid: return done(regs, abi, SysRet::raw(runner.tid()));
    case Call::clock_gettime:
    case Call::clock_gettime64:
    case Call::clock_getres:
    case Call::clock_getres_time64:
      if (!is_node_clock(args[0])) return LocalCall::Home;
      [[fallthrough]];
    case Call::getrandom:
    case Call::sched_yield:
    case Call::time:
    case Call::gettimeofday:
      if (row->call == Call::gettimeofday && args[1] != 0 && remote.clocks().realtime != 0)
        return LocalCall::Home;
      if (is_other_clock(*row, abi, args, regs, remote))
        return done(regs, abi, read_other_clock(*row, abi, args, remote));
      return done(regs, abi, here(*row, abi, args, runner));
    case Call::rseq: return done(regs, abi, SysRet::fail(ENOSYS));  // as at home
    case Call::arch_prctl: return abi == Abi::X64 ? segment_base(args, regs) : LocalCall::Home;
    case Call::futex:
    case Call::futex_time64: return futex(*row, abi, args, regs, runner, remote);
    case Call::mmap:
      if (abi != Abi::X64) return LocalCall::Home;
      [[fallthrough]];
    case Call::brk: {
      std::uint64_t result = 0;
      if (abi != remote.abi() || !remote.grow(row->call, args, result)) return LocalCall::Home;
      return done(regs, abi, SysRet::ok(result));
    }
    default: return LocalCall::Home;
  }
}

}  // namespace hpcvmm::migrate
