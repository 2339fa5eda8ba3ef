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
};

inline constexpr std::size_t kMaxAreas = 20;
struct Plan {
  std::array<Area, kMaxAreas> areas;
  unsigned count = 0;
  [[nodiscard]] std::span<const Area> all() const { return {areas.data(), count}; }
};

/// Most bytes of one call that travel with it.
inline constexpr std::uint32_t kMostMarshalled = 1U << 20;
/// Most bytes of an area of which nobody knows what is written: it travels both ways.
inline constexpr std::uint32_t kMostCompared = 8192;
inline constexpr std::uint32_t kLongestPath = 4096;

/// What a request of ioctl reads or writes; bytes 0: it is not one that travels.
struct IoctlBytes {
  std::uint8_t bytes = 0;
  bool in = false, out = false;
};
IoctlBytes known_ioctl(std::uint64_t request);

/// True for a call that may use copies of its areas instead of the guest's memory.  Not those that wait for
/// memory to change (futex), whose addresses the kernel keeps beyond the call (restart blocks, robust lists),
/// whose lengths stand where no row says it, or that a handler of the deputy hands to the kernel by itself.
bool may_marshal(const Row& row, Abi abi);

/// The areas of a call for which may_marshal() holds; none when some length is out of bounds or two areas
/// overlap of which one is written, so that the order of reads and writes would count.
/// `read` copies guest memory in: lengths and vectors that stand in memory.
Plan marshal_plan(const Row& row, Abi abi, const Args& args,
                  bool (*read)(void* to, std::uint64_t guest, std::size_t bytes));

}  // namespace hpcvmm::sys
