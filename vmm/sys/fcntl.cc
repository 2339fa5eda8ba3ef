// fcntl and semctl: a command says whether the last word is an address.
#include <fcntl.h>
#include <sys/sem.h>

#include "vmm/sys/deep.hh"

namespace hpcvmm::sys {
namespace {

// Commands whose argument is a number or absent.  Everything else is taken for a pointer: an unknown command
// with an address of ours in it is refused rather than tried.
bool takes_number(std::uint32_t cmd) {
  switch (cmd) {
    case F_DUPFD:
    case F_DUPFD_CLOEXEC:
    case F_GETFD:
    case F_SETFD:
    case F_GETFL:
    case F_SETFL:
    case F_SETOWN:
    case F_GETOWN:
    case F_SETSIG:
    case F_GETSIG:
    case F_SETLEASE:
    case F_GETLEASE:
    case F_NOTIFY:
    case F_SETPIPE_SZ:
    case F_GETPIPE_SZ:
    case F_ADD_SEALS:
    case F_GET_SEALS: return true;
    default: return false;
  }
}

}  // namespace

SysRet pass_fcntl(const Passing& p) {
  constexpr std::size_t kLongest = 32;  // struct flock
  const bool is_pointer = !takes_number(static_cast<std::uint32_t>(p.args[1]));
  if (p.abi == Abi::X64 && is_pointer && forbidden(p.args[2], kLongest)) return SysRet::fail(EFAULT);
  return p.issue();
}

SysRet pass_semctl(const Passing& p) {
  constexpr std::uint32_t kIpc64 = 0x100;
  constexpr std::size_t kLongest = 2 * 65536;  // SETALL of a full set
  const std::uint32_t cmd = static_cast<std::uint32_t>(p.args[2]) & ~kIpc64;
  if (cmd == SETVAL) return p.issue();  // union semun: an int in the low half, rubbish above
  if (p.abi == Abi::X64 && forbidden(p.args[3], kLongest)) return SysRet::fail(EFAULT);
  return p.issue();
}

}  // namespace hpcvmm::sys
