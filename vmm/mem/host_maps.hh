// What only the host kernel knows of this address space.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "vmm/mem/vma.hh"

namespace hpcvmm::mem {

/// Tells where the host's own [vvar] and [vdso] are: the one thing of the VMM outside the zone.  libc has
/// taken pointers into it at start, so it stays where the kernel put it, and the guest may not touch it.
/// Once, before the guest runs.
void set_host_vdso(std::uint64_t begin, std::uint64_t end);
/// True if [begin, begin + bytes) overlaps it.
bool touches_host_vdso(std::uint64_t begin, std::uint64_t bytes);

/// /proc/self/maps, kept open by whoever sets it; -1: opened each time, with a number that the guest's calls
/// may meet.
int& kept_maps();

/// The stack the kernel made for this process.
struct HostStack {
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
};
/// The mapping that contains the caller's stack frame; call it on main()'s stack.
HostStack find_host_stack();

/// Replaces the entries of `list` in [begin, end) by what /proc/self/maps says.
void refresh_from_host(VmaList& list, std::uint64_t begin, std::uint64_t end);

/// Where the host's mapping that contains `at` begins, by /proc/self/maps; 0: there is none.
std::uint64_t host_mapping_begin(std::uint64_t at);
std::uint64_t host_mapping_end(std::uint64_t at);
/// Where each of the host's mappings begins, ascending.
std::vector<std::uint64_t> host_mapping_begins();

/// The file behind a mapping of the host's.
struct HostFile {
  std::uint64_t begin = 0, end = 0;  ///< of the mapping
  std::uint64_t offset = 0;          ///< of `begin` in the file
  std::uint64_t device = 0, inode = 0;
  std::array<char, 512> path{};  ///< cut off when longer
};
/// False: `at` is in no mapping of a file.  Source: PROCMAP_QUERY of proc_pid_maps(5) (Linux 6.11), else the
/// text.
bool host_file_at(std::uint64_t at, HostFile& out);

/// mmap2(2) and mremap(2) through the 32-bit entry.  Return the address or -errno.  Need IA32 emulation in
/// the host kernel, as IA32 guests do.
std::int64_t compat_mmap2(std::uint32_t addr, std::uint32_t len, int prot, int flags, int fd,
                          std::uint32_t pages);
std::int64_t compat_mremap(std::uint32_t addr, std::uint32_t old_len, std::uint32_t new_len, int flags,
                           std::uint32_t new_addr);

}  // namespace hpcvmm::mem
