// What vectors, message headers and socketcall's words look like in each ABI.  Internal to vmm/sys and the
// deputy.
#pragma once

#include <sys/socket.h>
#include <sys/uio.h>

#include <array>
#include <cstddef>
#include <cstdint>

#include "vmm/sys/call.hh"

namespace hpcvmm::sys {

/// struct compat_iovec and struct compat_msghdr of the kernel.
struct Iovec32 {
  std::uint32_t base, len;
};
struct Msghdr32 {
  std::uint32_t name;
  std::int32_t namelen;
  std::uint32_t iov, iovlen, control, controllen, flags;
};
static_assert(sizeof(Iovec32) == 8 && sizeof(Msghdr32) == 28);

constexpr std::uint32_t iovec_bytes(Abi abi) { return abi == Abi::X64 ? sizeof(iovec) : sizeof(Iovec32); }
constexpr std::uint32_t msghdr_bytes(Abi abi) { return abi == Abi::X64 ? sizeof(msghdr) : sizeof(Msghdr32); }

using ReadGuest = bool (*)(void* to, std::uint64_t guest, std::size_t bytes);

/// Reads `count` vectors as those of x86-64: an IA32 length of 2^31 or more becomes one that the kernel calls
/// EINVAL, too.  False: `read` did not.
bool read_iovec(Abi abi, ReadGuest read, std::uint64_t at, std::size_t count, iovec* to);
/// Reads a message header as that of x86-64.
bool read_msghdr(Abi abi, ReadGuest read, std::uint64_t at, msghdr& to);

/// A call that socketcall(2) stands for: its row, and how many 32-bit words it takes.
struct SocketCall {
  Call call;
  unsigned words;
};
/// By its number; nullptr: there is none.
const SocketCall* socket_call(std::uint64_t number);

}  // namespace hpcvmm::sys
