// Which guest memory a call reads and writes, from its row: what travels with a call that another node makes
// for us, and with its result.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "vmm/sys/host_gate.hh"

namespace hpcvmm::sys {

/// One piece of guest memory that a call uses.
struct Area {
  std::uint64_t guest = 0;
  std::uint32_t bytes = 0;  ///< text: at most so many
  std::uint8_t arg = 0;     ///< the argument that leads to it
  bool in = false;          ///< the call reads it
  bool out = false;         ///< the call may write it
  bool text = false;        ///< ends at the first 0
  /// out: of all such areas of the call, taken together, the first result * unit bytes are written; 0: nobody
  /// knows which.
  std::uint8_t unit = 0;
  /// out without unit: the call writes words here and there, and what other threads write between them
  /// counts.
  bool apart = false;
};

inline constexpr std::size_t kMaxAreas = 20;
struct Plan {
  std::array<Area, kMaxAreas> areas;
  unsigned count = 0;
  /// The argument that names the buffers of a vector or message, all of whose written areas travel, or none.
  std::uint8_t vector_arg = kNoVector;
  static constexpr std::uint8_t kNoVector = 255;
  [[nodiscard]] std::span<const Area> all() const { return {areas.data(), count}; }
};

/// Most bytes of one call that travel with it.
inline constexpr std::uint32_t kMostMarshalled = 1U << 20;
/// Most bytes of an area of which nobody knows what is written: it travels both ways.
inline constexpr std::uint32_t kMostCompared = 8192;
inline constexpr std::uint32_t kLongestPath = 4096;

/// IA32 calls without a 64-bit twin can name copies below 4 GiB only: so many bytes, for all threads
/// together.
inline constexpr std::uint32_t kLowBytes = 4096;
/// Of which the buffer of a directory's entries is filled piece by piece.
inline constexpr std::uint32_t kLowPiece = 2048;

/// Copies there begin at multiples of this.
inline constexpr std::uint32_t kLowAlign = 16;

/// What a request of ioctl reads or writes; bytes 0: it is not one that travels.
struct IoctlBytes {
  std::uint8_t bytes = 0;
  bool in = false, out = false;
};
IoctlBytes known_ioctl(std::uint64_t request);
/// The same of fcntl's commands, as a program of that ABI makes them.
std::uint32_t known_fcntl(Abi abi, std::uint64_t command);
/// Bytes of each set of select(2) and its family; 0: more than travel.
std::uint32_t fd_set_bytes(Abi abi, std::uint64_t descriptors);

/// Bytes that the copies of all its areas take below 4 GiB.
std::uint32_t low_bytes(const Plan& plan);

/// True for a call that may use copies of its areas instead of the guest's memory.  Not those that wait for
/// memory to change (futex), whose addresses the kernel keeps beyond the call (restart blocks, robust lists),
/// whose lengths stand where no row says it, or that a handler of the deputy hands to the kernel by itself.
bool may_marshal(const Row& row, Abi abi);

/// The areas of a call for which may_marshal() holds; none when some length is out of bounds or two areas
/// overlap of which one is written, so that the order of reads and writes would count.
/// `read` copies guest memory in: lengths and vectors that stand in memory.
/// Those of an IA32 call without a twin fit into kLowBytes, but for vectors, messages and getdents64.
Plan marshal_plan(const Row& row, Abi abi, const Args& args,
                  bool (*read)(void* to, std::uint64_t guest, std::size_t bytes));

}  // namespace hpcvmm::sys
