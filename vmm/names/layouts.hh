// A file's status as programs of each ABI are told it.
#pragma once

#include "hpcvmm/wire/names.hh"
#include "vmm/names/asked.hh"

namespace hpcvmm::names {

enum class Written : std::uint8_t {
  Done,
  TooLarge,  ///< EOVERFLOW: the layout has no room for it; nothing is written
  Unknown,   ///< ask home: a bad address, or something depends on more than the facts
};

/// Writes the status to guest memory as the kernel does, which leaves the gaps of a struct stat64 alone.
/// On the guest's thread.  Source: Linux arch/x86/kernel/sys_ia32.c cp_stat64(), fs/stat.c cp_compat_stat().
Written write_status(const wire::names::NodeFacts& facts, Layout layout, std::uint64_t to);

}  // namespace hpcvmm::names
