#include "vmm/sys/passthrough.hh"

#include "vmm/sys/deep.hh"
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

// Operations of futex whose fourth word is no time.
bool futex_without_timeout(const Args& args) {
  constexpr std::uint32_t kFlags = 128 | 256;  // FUTEX_PRIVATE_FLAG, FUTEX_CLOCK_REALTIME
  if ((args[3] & 0xffff'ffffU) == 0) return true;
  switch (static_cast<std::uint32_t>(args[1]) & ~kFlags) {
    case 1:   // FUTEX_WAKE
    case 3:   // FUTEX_REQUEUE
    case 4:   // FUTEX_CMP_REQUEUE
    case 5:   // FUTEX_WAKE_OP
    case 7:   // FUTEX_UNLOCK_PI
    case 8:   // FUTEX_TRYLOCK_PI
    case 10:  // FUTEX_WAKE_BITSET
      return true;
    default: return false;
  }
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
      case ArgKind::InOutLen: bytes = extent(arg, p.row, a); break;
      case ArgKind::OutSockaddr: bytes = 1; break;
      case ArgKind::IoctlArg: bytes = known_ioctl(a[1]).bytes; break;
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
  if (row.twin) return issue64(row.twin_nr, with_copies(*this, twin_registers(row, a)));
  const bool is_futex = row.call == Call::futex || row.call == Call::futex_time64;
  if (is_futex && futex_without_timeout(a)) {
    return issue64(row_of(Call::futex).nr64, twin_registers(row, a));
  }
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
    if (forbidden(args[i], extent(row.args[i], row, args))) return EFAULT;
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
