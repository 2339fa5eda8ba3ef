// Signal calls, and the waits that change the mask for their own time.
#include <sys/syscall.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <vector>

#include "vmm/deputy/calls.hh"
#include "vmm/deputy/descriptor_sets.hh"
#include "vmm/deputy/gate.hh"
#include "vmm/deputy/host.hh"
#include "vmm/deputy/signals.hh"
#include "vmm/mem/user_copy.hh"
#include "vmm/sys/marshal.hh"
#include "vmm/sys/sigframe.hh"

namespace hpcvmm::deputy {

using sys::SysRet;

namespace {

// The kernel's sigaction records.  Source: arch/x86/include/uapi/asm/signal.h and its compat twin.
struct Action64 {
  std::uint64_t handler, flags, restorer, mask;
};
struct Action32 {
  std::uint32_t handler, flags, restorer;
  std::uint32_t mask[2];
};
struct OldAction32 {
  std::uint32_t handler, mask, flags, restorer;
};

std::uint64_t joined(const std::uint32_t (&m)[2]) { return m[0] | (std::uint64_t{m[1]} << 32); }

/// Applies a mask change; `how` as sigprocmask(2).  A recorded signal goes first (restart).
SysRet change_mask(Task& t, int how, const std::uint64_t* set, std::uint64_t& old) {
  if (set != nullptr && how != SIG_BLOCK && how != SIG_UNBLOCK && how != SIG_SETMASK)
    return SysRet::fail(EINVAL);
  std::uint64_t host_old = 0;
  const std::uint64_t wanted = set != nullptr ? *set & ~kForcedSignals : 0;
  // A signal that comes with the change is recorded with the new mask, so the forced part is in place before.
  const std::uint64_t forced_before = t.forced_blocked;
  if (set != nullptr) {
    std::uint64_t forced = forced_before;
    if (how == SIG_BLOCK) forced |= *set;
    if (how == SIG_UNBLOCK) forced &= ~*set;
    if (how == SIG_SETMASK) forced = *set;
    t.forced_blocked = forced & kForcedSignals;
  }
  // One gate call reads and changes, so that no signal can fall between the two.
  const SysRet rc =
      gate64(SYS_rt_sigprocmask, {word(how), set != nullptr ? word(&wanted) : 0, word(&host_old), 8, 0, 0});
  if (rc.is_restart()) {
    t.forced_blocked = forced_before;
    t.recorded_mask = (t.recorded_mask & ~kForcedSignals) | forced_before;
    return rc;
  }
  old = host_old | forced_before;
  if (set == nullptr) return rc;
  if ((t.held_forced & ~t.forced_blocked) != 0 && t.signal_recorded == 0) set_guest_mask(t, guest_mask(t));
  return rc;
}

/// A wait with a mask of its own: the kernel swaps masks atomically; the handler runs with the temporary one.
SysRet wait_with_mask(Task& t, const std::uint64_t* mask, std::uint64_t nr, const sys::Args& args) {
  t.has_call_mask = mask != nullptr;
  if (mask != nullptr) t.call_mask = *mask;
  const SysRet rc = gate64(nr, args);
  // Not interrupted by a signal, or restarted: the temporary mask plays no role any more.
  if (t.signal_recorded == 0 || rc.is_restart()) t.has_call_mask = false;
  return rc;
}

SysRet suspend(const CallContext& c, std::uint64_t mask) {
  const std::uint64_t host = mask & ~kForcedSignals;
  return wait_with_mask(c.task, &mask, SYS_rt_sigsuspend, {word(&host), 8, 0, 0, 0, 0});
}

struct Timespec64 {
  std::int64_t sec, nsec;
};

/// Reads a timespec of the row's ABI; `wide`: 64-bit fields.  1 given, 0 NULL, -1 bad address.
int read_time(std::uint64_t at, bool wide, Timespec64& out) {
  if (at == 0) return 0;
  if (wide) return mem::get(out, at) ? 1 : -1;
  std::array<std::int32_t, 2> t{};
  if (!mem::get(t, at)) return -1;
  out = {t[0], t[1]};
  return 1;
}

bool write_time(std::uint64_t at, bool wide, const Timespec64& v) {
  if (wide) return mem::put(at, v);
  return mem::put(
      at, std::array<std::int32_t, 2>{static_cast<std::int32_t>(v.sec), static_cast<std::int32_t>(v.nsec)});
}

/// What stands for `bytes` of guest memory that argument `i` names: a copy, or itself.
std::uint64_t copy_or_own(const CallContext& c, unsigned i, std::uint64_t bytes) {
  const std::uint64_t copy = bytes != 0 ? host_gate().staged(i, c.arg(i), bytes) : 0;
  return copy != 0 ? copy : c.arg(i);
}

bool wide_time(const CallContext& c) {
  return c.abi == Abi::X64 || c.row.call == sys::Call::ppoll_time64 ||
         c.row.call == sys::Call::pselect6_time64;
}

/// The three sets of pselect6, of which the 64-bit call uses copies of ours where the guest's will not do:
/// those of IA32 end at a multiple of 32 descriptors, and of a process that is away there are copies already.
class DescriptorSets {
 public:
  DescriptorSets(const CallContext& c, int descriptors) : c_(c) {
    const auto n = static_cast<std::uint32_t>(descriptors);
    const std::uint32_t bytes = sys::fd_set_bytes(c.abi, n);
    if (bytes == 0 || (c.abi == Abi::X64 && !host_gate().has_copies())) return;
    const std::uint32_t host = sys::fd_set_bytes(Abi::X64, n);
    room_.resize(3 * host);
    for (unsigned i = 0; i < 3; ++i) {
      std::byte* const set = room_.data() + i * host;
      // A set that is not there as a whole: the kernel says what it says.
      if (c.arg(i + 1) == 0 || !mem::copy_in(set, c.arg(i + 1), bytes)) continue;
      sets_[i] = set;
    }
    bytes_ = bytes;
  }
  [[nodiscard]] std::uint64_t at(unsigned i) const {
    return sets_[i - 1] != nullptr ? word(sets_[i - 1]) : c_.arg(i);
  }
  /// False: EFAULT.
  [[nodiscard]] bool give_back() const {
    for (unsigned i = 0; i < 3; ++i)
      if (sets_[i] != nullptr && !mem::copy_out(c_.arg(i + 1), sets_[i], bytes_)) return false;
    return true;
  }

 private:
  const CallContext& c_;
  std::vector<std::byte> room_;
  std::array<std::byte*, 3> sets_{};
  std::size_t bytes_ = 0;
};

}  // namespace

SysRet call_rt_sigaction(const CallContext& c) {
  if (c.arg(3) != 8) return SysRet::fail(EINVAL);
  SigAction in;
  SigAction out;
  const bool have = c.arg(1) != 0;
  if (have && c.abi == Abi::X64) {
    Action64 a{};
    if (!mem::get(a, c.arg(1))) return SysRet::fail(EFAULT);
    in = {a.handler, a.flags, a.restorer, a.mask, c.abi};
  } else if (have) {
    Action32 a{};
    if (!mem::get(a, c.arg(1))) return SysRet::fail(EFAULT);
    in = {a.handler, a.flags, a.restorer, joined(a.mask), c.abi};
  }
  if (const int e = set_action(*c.task.process->signals, c.as_int(0), have ? &in : nullptr, &out))
    return SysRet::fail(e);
  if (c.arg(2) == 0) return SysRet::ok();
  bool ok = false;
  if (c.abi == Abi::X64) {
    ok = mem::put(c.arg(2), Action64{out.handler, out.flags, out.restorer, out.mask});
  } else {
    ok = mem::put(c.arg(2), Action32{static_cast<std::uint32_t>(out.handler),
                                     static_cast<std::uint32_t>(out.flags),
                                     static_cast<std::uint32_t>(out.restorer),
                                     {static_cast<std::uint32_t>(out.mask),
                                      static_cast<std::uint32_t>(out.mask >> 32)}});
  }
  return ok ? SysRet::ok() : SysRet::fail(EFAULT);
}

SysRet call_sigaction(const CallContext& c) {
  SigAction in;
  SigAction out;
  const bool have = c.arg(1) != 0;
  if (have) {
    OldAction32 a{};
    if (!mem::get(a, c.arg(1))) return SysRet::fail(EFAULT);
    in = {a.handler, a.flags, a.restorer, a.mask, c.abi};
  }
  if (const int e = set_action(*c.task.process->signals, c.as_int(0), have ? &in : nullptr, &out))
    return SysRet::fail(e);
  if (c.arg(2) == 0) return SysRet::ok();
  const OldAction32 a{static_cast<std::uint32_t>(out.handler), static_cast<std::uint32_t>(out.mask),
                      static_cast<std::uint32_t>(out.flags), static_cast<std::uint32_t>(out.restorer)};
  return mem::put(c.arg(2), a) ? SysRet::ok() : SysRet::fail(EFAULT);
}

SysRet call_signal(const CallContext& c) {
  SigAction out;
  // System V semantics, as the call has on Linux.
  const SigAction in{c.arg(1), SA_RESETHAND | SA_NODEFER, 0, 0, c.abi};
  if (const int e = set_action(*c.task.process->signals, c.as_int(0), &in, &out)) return SysRet::fail(e);
  return SysRet::ok(out.handler);
}

SysRet call_rt_sigprocmask(const CallContext& c) {
  if (c.arg(3) != 8) return SysRet::fail(EINVAL);
  std::uint64_t set = 0;
  const bool have = c.arg(1) != 0;
  if (have && !mem::get(set, c.arg(1))) return SysRet::fail(EFAULT);
  std::uint64_t old = 0;
  const SysRet rc = change_mask(c.task, c.as_int(0), have ? &set : nullptr, old);
  if (rc.is_restart() || rc.is_error()) return rc;
  if (c.arg(2) != 0 && !mem::put(c.arg(2), old)) return SysRet::fail(EFAULT);
  return SysRet::ok();
}

SysRet call_sigprocmask(const CallContext& c) {
  std::uint32_t low = 0;
  const bool have = c.arg(1) != 0;
  if (have && !mem::get(low, c.arg(1))) return SysRet::fail(EFAULT);
  // Only the first 32 signals are named; the others keep their state.
  std::uint64_t set = low;
  if (have && c.as_int(0) == SIG_SETMASK) set |= guest_mask(c.task) & ~std::uint64_t{0xffff'ffff};
  std::uint64_t old = 0;
  const SysRet rc = change_mask(c.task, c.as_int(0), have ? &set : nullptr, old);
  if (rc.is_restart() || rc.is_error()) return rc;
  if (c.arg(2) != 0 && !mem::put(c.arg(2), static_cast<std::uint32_t>(old))) return SysRet::fail(EFAULT);
  return SysRet::ok();
}

SysRet call_sgetmask(const CallContext& c) { return SysRet::ok(guest_mask(c.task) & 0xffff'ffffU); }

SysRet call_ssetmask(const CallContext& c) {
  const std::uint64_t set = c.arg(0) & 0xffff'ffffU;
  std::uint64_t old = 0;
  const SysRet rc = change_mask(c.task, SIG_SETMASK, &set, old);
  return rc.is_restart() ? rc : SysRet::ok(old & 0xffff'ffffU);
}

SysRet call_rt_sigpending(const CallContext& c) {
  std::uint64_t set = 0;
  const std::uint64_t bytes = c.row.call == sys::Call::sigpending ? 4 : c.arg(1);
  if (bytes > 8) return SysRet::fail(EINVAL);
  const SysRet rc = gate64(SYS_rt_sigpending, {word(&set), 8, 0, 0, 0, 0});
  if (rc.is_restart()) return rc;
  set |= c.task.held_forced & c.task.forced_blocked;
  return mem::copy_out(c.arg(0), &set, bytes) ? SysRet::ok() : SysRet::fail(EFAULT);
}

SysRet call_rt_sigsuspend(const CallContext& c) {
  std::uint64_t mask = 0;
  if (c.arg(1) != 8) return SysRet::fail(EINVAL);
  if (!mem::get(mask, c.arg(0))) return SysRet::fail(EFAULT);
  return suspend(c, mask);
}

SysRet call_sigsuspend(const CallContext& c) { return suspend(c, c.arg(2) & 0xffff'ffffU); }

SysRet call_sigaltstack(const CallContext& c) {
  Task& t = c.task;
  const sys::AltStack old = t.altstack;
  const std::uint64_t sp = t.vcpu->regs().rsp;
  const std::uint32_t shown_flags = sys::altstack_report(old, sp);
  sys::AltStack wanted;
  if (c.abi == Abi::X64) {
    struct Stack64 {
      std::uint64_t sp;
      std::uint32_t flags, pad;
      std::uint64_t size;
    } s{};
    if (c.arg(0) != 0) {
      if (!mem::get(s, c.arg(0))) return SysRet::fail(EFAULT);
      wanted = {s.sp, s.size, s.flags};
    }
    if (c.arg(0) != 0)
      if (const int e = sys::set_altstack(t.altstack, wanted, sp)) return SysRet::fail(e);
    if (c.arg(1) != 0 && !mem::put(c.arg(1), Stack64{old.sp, shown_flags, 0, old.size}))
      return SysRet::fail(EFAULT);
    return SysRet::ok();
  }
  std::array<std::uint32_t, 3> s{};
  if (c.arg(0) != 0) {
    if (!mem::get(s, c.arg(0))) return SysRet::fail(EFAULT);
    wanted = {s[0], s[2], s[1]};
    if (const int e = sys::set_altstack(t.altstack, wanted, sp)) return SysRet::fail(e);
  }
  if (c.arg(1) != 0) {
    const std::array<std::uint32_t, 3> o{static_cast<std::uint32_t>(old.sp), shown_flags,
                                         static_cast<std::uint32_t>(old.size)};
    if (!mem::put(c.arg(1), o)) return SysRet::fail(EFAULT);
  }
  return SysRet::ok();
}

namespace {
SysRet return_from_handler(const CallContext& c, sys::SigreturnKind kind) {
  Task& t = c.task;
  FpState fp;
  t.vcpu->get_fp(fp);
  std::uint64_t mask = guest_mask(t);
  const bool ok = sys::pop_frame(t.vcpu->regs(), fp, mask, t.altstack, kind, host_gate());
  t.vcpu->set_fp(fp);
  keep_registers(t);
  if (t.signal_recorded != 0) {
    t.recorded_mask = mask;
  } else {
    set_guest_mask(t, mask);
  }
  if (ok) return SysRet::ok();
  siginfo_t segv{};
  segv.si_signo = SIGSEGV;
  segv.si_code = SI_KERNEL;
  force_signal(t, segv);
  return SysRet::ok();
}
}  // namespace

SysRet call_rt_sigreturn(const CallContext& c) {
  return return_from_handler(c, c.abi == Abi::X64 ? sys::SigreturnKind::Rt64 : sys::SigreturnKind::Rt32);
}

SysRet call_sigreturn(const CallContext& c) { return return_from_handler(c, sys::SigreturnKind::Old32); }

SysRet call_restart_syscall(const CallContext& c) {
  static_cast<void>(c);
  return SysRet::fail(EINTR);  // nothing is ever left to be restarted by number: see leave_gate()
}

SysRet call_ppoll(const CallContext& c) {
  std::uint64_t mask = 0;
  const bool masked = c.arg(3) != 0;
  if (masked && c.arg(4) != 8) return SysRet::fail(EINVAL);
  if (masked && !mem::get(mask, c.arg(3))) return SysRet::fail(EFAULT);
  Timespec64 time{};
  const int timed = read_time(c.arg(2), wide_time(c), time);
  if (timed < 0 || touches_zone(c.arg(0), c.arg(1) * 8)) return SysRet::fail(EFAULT);
  const std::uint64_t host_mask = mask & ~kForcedSignals;
  const SysRet rc = wait_with_mask(c.task, masked ? &mask : nullptr, SYS_ppoll,
                                   {copy_or_own(c, 0, c.arg(1) * 8), c.arg(1), timed != 0 ? word(&time) : 0,
                                    masked ? word(&host_mask) : 0, 8, 0});
  // The time left is written back whatever happened, except on a restart, where Linux keeps the caller's
  // value too.
  if (timed != 0 && !rc.is_restart()) static_cast<void>(write_time(c.arg(2), wide_time(c), time));
  return rc;
}

SysRet call_pselect6(const CallContext& c) {
  std::uint64_t mask = 0;
  std::array<std::uint64_t, 2> pair{};
  if (c.arg(5) != 0) {
    std::array<std::uint32_t, 2> small{};
    const bool ok = c.abi == Abi::X64 ? mem::get(pair, c.arg(5)) : mem::get(small, c.arg(5));
    if (!ok) return SysRet::fail(EFAULT);
    if (c.abi == Abi::Ia32) pair = {small[0], small[1]};
  }
  const bool masked = pair[0] != 0;
  if (masked && pair[1] != 8) return SysRet::fail(EINVAL);
  if (masked && !mem::get(mask, pair[0])) return SysRet::fail(EFAULT);
  Timespec64 time{};
  const int timed = read_time(c.arg(4), wide_time(c), time);
  if (timed < 0) return SysRet::fail(EFAULT);
  if (c.as_int(0) < 0) return SysRet::fail(EINVAL);
  const int n = descriptors_looked_at(c.as_int(0), {c.arg(1), c.arg(2), c.arg(3)});
  const std::size_t set_bytes = (static_cast<std::size_t>(n) + 63) / 64 * 8;
  for (unsigned i = 1; i <= 3; ++i)
    if (c.arg(i) != 0 && touches_zone(c.arg(i), set_bytes)) return SysRet::fail(EFAULT);
  DescriptorSets sets(c, n);
  const std::uint64_t host_mask = mask & ~kForcedSignals;
  const std::array<std::uint64_t, 2> host_pair{masked ? word(&host_mask) : 0, 8};
  const SysRet rc = wait_with_mask(
      c.task, masked ? &mask : nullptr, SYS_pselect6,
      {word(n), sets.at(1), sets.at(2), sets.at(3), timed != 0 ? word(&time) : 0, word(host_pair.data())});
  const bool written = rc.is_error() || rc.is_restart() || sets.give_back();
  if (timed != 0 && !rc.is_restart()) static_cast<void>(write_time(c.arg(4), wide_time(c), time));
  return written ? rc : SysRet::fail(EFAULT);
}

SysRet call_epoll_pwait(const CallContext& c) {
  std::uint64_t mask = 0;
  const bool masked = c.arg(4) != 0;
  if (masked && c.arg(5) != 8) return SysRet::fail(EINVAL);
  if (masked && !mem::get(mask, c.arg(4))) return SysRet::fail(EFAULT);
  if (is_hidden(c.as_int(0))) return SysRet::fail(EBADF);
  if (c.as_int(2) > 0 && touches_zone(c.arg(1), c.arg(2) * 12)) return SysRet::fail(EFAULT);
  std::uint64_t time = c.arg(3);
  Timespec64 copied{};
  if (c.row.call == sys::Call::epoll_pwait2) {
    const int timed = read_time(c.arg(3), true, copied);
    if (timed < 0) return SysRet::fail(EFAULT);
    time = timed != 0 ? word(&copied) : 0;
  }
  const std::uint64_t host_mask = mask & ~kForcedSignals;
  return wait_with_mask(c.task, masked ? &mask : nullptr, static_cast<std::uint64_t>(c.row.nr64),
                        {c.arg(0), copy_or_own(c, 1, c.as_int(2) > 0 ? c.arg(2) * 12 : 0), c.arg(2), time,
                         masked ? word(&host_mask) : 0, 8});
}

SysRet call_old_select(const CallContext& c) {
  std::array<std::uint32_t, 5> a{};
  if (!mem::get(a, c.arg(0))) return SysRet::fail(EFAULT);
  const sys::Row& row = sys::row_of(sys::Call::_newselect);
  const sys::Args args{a[0], a[1], a[2], a[3], a[4], 0};
  return call_select({c.task, row, c.abi, args});
}

SysRet call_select(const CallContext& c) {
  sys::Args args = c.args;
  args[0] = word(descriptors_looked_at(c.as_int(0), {c.arg(1), c.arg(2), c.arg(3)}));
  return pass({c.task, c.row, c.abi, args});
}

}  // namespace hpcvmm::deputy
