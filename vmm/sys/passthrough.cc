#include "vmm/sys/passthrough.hh"

#include <linux/futex.h>
#include <sys/prctl.h>

#include "vmm/sys/deep.hh"
#include "vmm/sys/low.hh"
#include "vmm/sys/marshal.hh"

namespace hpcvmm::sys {
namespace {

// Bytes behind pointer argument `a`; 1 where nobody knows: the guard in front of the VMM's image is larger
// than anything a kernel copies, so only where a buffer begins matters then.
std::uint64_t extent(const Arg& a, const Row& row, const Args& args) {
  if (a.len_arg < 0) return std::max<std::uint64_t>(a.size64, 1);
  const auto i = static_cast<unsigned>(a.len_arg);
  if (is_pointer(row.args[i].kind)) return 1;  // capacity behind a pointer: the kernel reads it, once
  const std::uint64_t n = std::min<std::uint64_t>(args[i], std::uint64_t{1} << 31U);
  return n * std::max<std::uint64_t>(a.size64, 1);
}

Args twin_registers(const Row& row, const Args& args) {
  Args a{};
  const unsigned count = shape_of(row).count;
  for (unsigned i = 0; i < count; ++i) a[i] = arg_value(row, Abi::Ia32, args, i);
  return a;
}

constexpr bool is_text(ArgKind k) { return k == ArgKind::Path || k == ArgKind::String; }

// The kernel writes no more of an address than its length word says, and no more than there can be: the copy
// of the address must have room for that, and the word must be a copy, too, or it could grow.
bool peer_fits(const Passing& p, const Args& a, unsigned i) {
  constexpr std::uint32_t kLongest = 128;  // struct sockaddr_storage
  const auto length = static_cast<unsigned>(p.row.args[i].len_arg);
  if (p.gate.staged(length, a[length], sizeof(std::uint32_t)) == 0) return false;
  std::uint32_t room = 0;
  if (!p.gate.copy_in(&room, a[length], sizeof room)) return false;
  return room == 0 || p.gate.staged(i, a[i], std::min(room, kLongest)) != 0;
}

constexpr unsigned kFutexTime = 3, kFutexSecond = 4;  // words of futex

// Source: futex(2).
bool futex_uses(std::uint64_t op, unsigned word) {
  switch (op & FUTEX_CMD_MASK) {
    case FUTEX_WAKE:
    case FUTEX_UNLOCK_PI:
    case FUTEX_TRYLOCK_PI:
    case FUTEX_WAKE_BITSET: return false;
    case FUTEX_REQUEUE:  // the fourth word is a number
    case FUTEX_CMP_REQUEUE:
    case FUTEX_WAKE_OP:
    case FUTEX_CMP_REQUEUE_PI: return word == kFutexSecond;
    case FUTEX_WAIT:
    case FUTEX_WAIT_BITSET:
    case FUTEX_LOCK_PI:
    case FUTEX_LOCK_PI2: return word == kFutexTime;
    default: return true;
  }
}

// Options that look at the second word at most, and have done so since before the others had to be 0.
bool is_short_option(std::uint64_t option) {
  switch (option) {
    case PR_SET_PDEATHSIG:
    case PR_GET_PDEATHSIG:
    case PR_GET_DUMPABLE:
    case PR_SET_DUMPABLE:
    case PR_GET_KEEPCAPS:
    case PR_SET_KEEPCAPS:
    case PR_GET_TIMING:
    case PR_SET_TIMING:
    case PR_SET_NAME:
    case PR_GET_NAME:
    case PR_GET_SECCOMP:
    case PR_CAPBSET_READ:
    case PR_CAPBSET_DROP:
    case PR_GET_TSC:
    case PR_SET_TSC:
    case PR_GET_SECUREBITS:
    case PR_SET_SECUREBITS:
    case PR_SET_TIMERSLACK:
    case PR_GET_TIMERSLACK:
    case PR_SET_CHILD_SUBREAPER:
    case PR_GET_CHILD_SUBREAPER: return true;
    default: return false;
  }
}

// Whether the kernel looks at word `i` at all.  The C library leaves in the others whatever the register
// held, which after clock_gettime() is an address of the host's vDSO: that is in the zone.
bool is_used(const Row& row, const Args& args, unsigned i) {
  switch (row.call) {
    case Call::futex:
    case Call::futex_time64: return i == 0 || futex_uses(args[1], i);
    case Call::prctl: return i == 1 || !is_short_option(args[0] & 0xffff'ffffU);
    default: return true;
  }
}

// Bytes of a socket option's value that the kernel reads or may write; 0: unknown, or its length is no copy.
std::uint64_t option_bytes(const Passing& p, const Args& a) {
  if (p.row.call == Call::setsockopt) return a[4] & 0xffff'ffffU;
  std::uint32_t room = 0;
  if (p.gate.staged(4, a[4], sizeof room) == 0 || !p.gate.copy_in(&room, a[4], sizeof room)) return 0;
  return room;
}

// Copies in place of guest memory, argument by argument: `a` as the 64-bit call takes it.
Args with_copies(const Passing& p, Args a) {
  if (p.gate.staged == nullptr) return a;
  const Shape& s = shape_of(p.row);
  for (unsigned i = 0; i < s.count; ++i) {
    const Arg& arg = p.row.args[i];
    std::uint64_t bytes = 0;
    switch (arg.kind) {
      case ArgKind::Path:
      case ArgKind::String: break;
      case ArgKind::InBuf:
      case ArgKind::OutBuf:
      case ArgKind::InOutBuf:
      case ArgKind::InSockaddr:
      case ArgKind::InStruct:
      case ArgKind::OutStruct:
      case ArgKind::InOutStruct:
      case ArgKind::InOutLen:
        bytes = p.row.call == Call::select && i <= 3 ? fd_set_bytes(Abi::X64, a[0]) : extent(arg, p.row, a);
        break;
      case ArgKind::OutSockaddr: bytes = 1; break;
      case ArgKind::IoctlArg: bytes = known_ioctl(a[1]).bytes; break;
      case ArgKind::FcntlArg:
        if (p.row.call == Call::semctl) continue;
        bytes = known_fcntl(Abi::X64, a[1]);
        break;
      case ArgKind::SockOptVal: bytes = option_bytes(p, a); break;
      default: continue;
    }
    if (a[i] == 0 || (bytes == 0 && !is_text(arg.kind))) continue;
    if (arg.kind == ArgKind::OutSockaddr && !peer_fits(p, a, i)) continue;
    if (const std::uint64_t copy = p.gate.staged(i, a[i], bytes); copy != 0) a[i] = copy;
  }
  return a;
}

}  // namespace

SysRet Passing::issue(const Args& a) const {
  if (abi == Abi::X64) {
    return row.nr64 < 0 ? SysRet::fail(ENOSYS) : issue64(row.nr64, with_copies(*this, a));
  }
  if (row.nr32 < 0) return SysRet::fail(ENOSYS);
  // File systems whose positions are 64-bit hashes give IA32 callers 32-bit ones.
  if (row.twin && row.call != Call::getdents64)
    return issue64(row.twin_nr, with_copies(*this, twin_registers(row, a)));
  const bool is_futex = row.call == Call::futex || row.call == Call::futex_time64;
  const bool has_time = (a[kFutexTime] & 0xffff'ffffU) != 0 && futex_uses(a[1], kFutexTime);
  if (is_futex && !has_time) {
    return issue64(row_of(Call::futex).nr64, twin_registers(row, a));
  }
  if (a == args) return row.call == Call::getdents64 ? list_low(*this) : issue_low(*this);
  return gate.call32(static_cast<std::uint64_t>(row.nr32), a);
}

int check_flat(const Row& row, Abi abi, const Args& args, const HostGate& gate) {
  const Shape& s = shape_of(row);
  if (gate.hides_fd != nullptr) {
    for (unsigned left = s.fds; left != 0; left &= left - 1) {
      const auto i = static_cast<unsigned>(std::countr_zero(left));
      const auto fd = static_cast<std::int32_t>(arg_value(row, abi, args, i));
      if (fd >= 0 && gate.hides_fd(fd)) return EBADF;
    }
  }
  // An IA32 call's words have 32 bits: none can name the zone.
  if (abi == Abi::Ia32) return 0;
  for (unsigned left = s.pointers; left != 0; left &= left - 1) {
    const auto i = static_cast<unsigned>(std::countr_zero(left));
    if (args[i] < kZoneBegin - (std::uint64_t{1} << 40U)) continue;  // nearly every pointer there is
    if (forbidden(args[i], extent(row.args[i], row, args)) && is_used(row, args, i)) return EFAULT;
  }
  return 0;
}

SysRet pass_through(const Row& row, Abi abi, const Args& args, const HostGate& gate) {
  if (row.support == Support::None) return SysRet::fail(refusal_errno(row));
  if (const int e = check_flat(row, abi, args, gate); e != 0) return SysRet::fail(e);
  const Passing p{row, abi, args, gate};
  return shape_of(row).deep ? pass_deep(p) : p.issue();
}

int refusal_errno(const Row& row) {
  switch (row.call) {
    case Call::iopl:
    case Call::ioperm:
    case Call::kexec_load:
    case Call::kexec_file_load:
    case Call::bpf: return EPERM;
    case Call::perf_event_open: return EACCES;
    case Call::pkey_alloc: return ENOSPC;
    case Call::pkey_free: return EINVAL;
    case Call::map_shadow_stack:
    case Call::landlock_create_ruleset:
    case Call::landlock_add_rule:
    case Call::landlock_restrict_self: return EOPNOTSUPP;
    case Call::uretprobe:
    case Call::uprobe: return EPROTO;
    default: return ENOSYS;
  }
}

}  // namespace hpcvmm::sys
