// One process's pages as a mover sees them: userfaultfd, who has a page, taking a page away.
#pragma once

#include <cstdint>
#include <span>

#include "hpcvmm/base/result.hh"

namespace hpcvmm::migrate {

/// A new userfaultfd with these UFFD_FEATUREs.  It must see faults the kernel takes for the process, so
/// vm.unprivileged_userfaultfd or CAP_SYS_PTRACE is needed where /dev/userfaultfd (or `device`, a descriptor
/// of it; -1: none) cannot be opened.  Errors: EACCES, EPERM, ENOSYS; EINVAL the kernel lacks a feature.
Result<int> open_userfaultfd(int device, std::uint64_t features);

/// A userfaultfd over this process's memory.  Threads: any; each call is one ioctl.
/// Source: userfaultfd(2), ioctl_userfaultfd(2).
class Uffd {
 public:
  /// Errors: as open_userfaultfd(); EINVAL: before Linux 5.7.
  Status open(int device);
  [[nodiscard]] int fd() const { return fd_; }
  void close();

  /// Faults on missing and write-protected pages of [begin, end) come to us.  Errors: EINVAL a mapping that
  /// is not anonymous.
  Status watch(std::uint64_t begin, std::uint64_t end);
  /// Whoever waits there goes on.  What is not watched, or no mapping of one kind, stays as it is.
  void unwatch(std::uint64_t begin, std::uint64_t end);
  /// Installs a page and wakes who waits for it.  0, EEXIST it is there already, ENOENT no such mapping, or
  /// another errno value.
  int copy(std::uint64_t page, const void* data);
  /// The same of `count` pages side by side: how many of them, from the first on.
  unsigned copy(std::uint64_t page, const void* data, unsigned count);
  int zero(std::uint64_t page);
  void wake(std::uint64_t page);
  /// Takes a page out of this process: false if it is not there.  Writers meanwhile wait and fault again
  /// afterwards.
  bool take(std::uint64_t page, void* out);

  struct Fault {
    std::uint64_t page = 0;
    bool write = false;
    bool protect = false;  ///< the page is there, write-protected
  };
  /// The next fault; false: none waits.
  bool next(Fault& out);

 private:
  int fd_ = -1;
};

/// For pages of private file mappings: 1 for each that is not the file's any more, or of which that is not
/// known.
void pages_private(std::uint64_t begin, std::span<std::uint8_t> out);
/// True if [page, page + 4096) is mapped to memory or swap.
bool page_present(std::uint64_t page);
/// One bit (byte 1 or 0) a page.  Pages of a range that is no mapping are absent.
void pages_present(std::uint64_t begin, std::span<std::uint8_t> out);
// The threads of this folder block every signal, so that none that is meant for the guest ends there; a fault
// would kill.  These do not fault.
/// Reads neighbours, as far as the guest may.  Returns how many have been.
std::size_t read_pages(std::uint64_t page, std::size_t count, void* out);
/// Reads a page whatever its rights are; it must be present (or of a file).  False: nothing is there.
bool read_page(std::uint64_t page, void* out);
/// Touches eight bytes as a system call does: a stack grows, a missing page is fetched.  False: EFAULT.
bool touch(std::uint64_t at);
bool is_zero_page(const void* data);
/// Opens /proc/self/pagemap, before a second thread asks.
void open_pagemap();
/// Opens /proc/self/maps for good (mem/host_maps.hh), before the guest runs.
void keep_maps();
/// In the child of fork: the parent's files in /proc/self are not ours.
void forget_pagemap();

}  // namespace hpcvmm::migrate
