// What home and remote say to each other about names and descriptors; part of vmm/migrate's wire.hh.
#pragma once

#include <cstddef>
#include <cstdint>

#include "hpcvmm/wire/local.hh"
#include "hpcvmm/wire/names.hh"

namespace hpcvmm::names {

/// From home, before a Run: under which conditions the process looks names up.
struct Circumstances {
  std::uint32_t flags = 0;
  std::uint32_t user = 0;
  std::uint64_t descriptors = 0;              ///< with kDescriptors: bit n, descriptor n is in use at home
  wire::names::Id here;                       ///< its working folder
  char path[wire::local::kMaxFilePath] = {};  ///< of that, when it is short enough
};
inline constexpr std::uint32_t kUsable = 1;       ///< the store may be used
inline constexpr std::uint32_t kPowerful = 2;     ///< passes and reads everything
inline constexpr std::uint32_t kDescriptors = 4;  ///< `descriptors` is right; all of them may be opened
inline constexpr unsigned kMostDescriptors = 64;

/// From the remote, in order with its calls: this file was opened there, and home has to know it now.
struct Reopen {
  std::int32_t descriptor = 0;
  std::uint32_t flags = 0;  ///< as of open(2)
  std::uint64_t position = 0;
  wire::names::Id id;
  std::uint32_t path_bytes = 0;  ///< of the path behind it: as the guest named it
  std::uint32_t small = 0;       ///< 1: by an IA32 call without O_LARGEFILE
};

}  // namespace hpcvmm::names
