// Calls whose addresses do not all stand in registers.  Internal to vmm/sys.
#pragma once

#include <sys/uio.h>

#include <algorithm>
#include <bit>
#include <cerrno>

#include "hpcvmm/base/layout.hh"
#include "vmm/sys/host_gate.hh"
#include "vmm/sys/table.hh"

namespace hpcvmm::sys {

/// One guest call on its way to the host.
struct Passing {
  const Row& row;
  Abi abi;
  const Args& args;
  const HostGate& gate;

  /// Logical argument `i`, as the 64-bit call takes it.
  [[nodiscard]] std::uint64_t arg(unsigned i) const { return arg_value(row, abi, args, i); }
  /// Issues the call with these registers instead of the guest's.
  [[nodiscard]] SysRet issue(const Args& a) const;
  /// Issues it unchanged.
  [[nodiscard]] SysRet issue() const { return issue(args); }
  /// Issues the 64-bit call `nr` whichever the caller's ABI.
  [[nodiscard]] SysRet issue64(int nr, const Args& a) const {
    return gate.call64(static_cast<std::uint64_t>(nr), a);
  }
  [[nodiscard]] bool hides(std::uint64_t fd) const {
    const auto n = static_cast<std::int32_t>(fd);
    return n >= 0 && gate.hides_fd != nullptr && gate.hides_fd(n);
  }
};

/// The address of one of our own objects as a register value.
inline std::uint64_t address_of(const void* p) { return std::bit_cast<std::uint64_t>(p); }

/// True if the kernel must not be let at [begin, begin+bytes).  No call moves more than 2 GiB, and the zone
/// begins with 512 GiB of nothing: a longer length is a caller's way to say "all" (and lets the kernel cut
/// it), not an attack.
constexpr bool forbidden(std::uint64_t begin, std::uint64_t bytes) {
  return touches_zone(begin, std::min<std::uint64_t>(bytes, std::uint64_t{1} << 31U));
}

// Every function below expects that check_flat() has passed.

/// Dispatches a row whose shape says deep.
SysRet pass_deep(const Passing& p);
SysRet pass_iovec(const Passing& p);
/// Puts the copies that there are in place of what the vectors of argument 1 name; how many there were.
std::size_t stage_iovec(const Passing& p, iovec* iov, std::size_t count);
SysRet pass_process_vm(const Passing& p);
SysRet pass_message(const Passing& p);
/// Of an IA32 program, whose inner pointers have 32 bits.
SysRet pass_message32(const Passing& p);
SysRet pass_fcntl(const Passing& p);
SysRet pass_semctl(const Passing& p);
SysRet pass_ioctl(const Passing& p);
SysRet pass_sockopt(const Passing& p);

}  // namespace hpcvmm::sys
