// Which pages a running process writes: the kernel's asynchronous write-protection.
#pragma once

#include <cstdint>
#include <vector>

#include "hpcvmm/base/result.hh"

namespace hpcvmm::migrate {

/// Threads: one.  Source: userfaultfd(2), UFFD_FEATURE_WP_ASYNC, and PAGEMAP_SCAN in
/// Documentation/admin-guide/mm/pagemap.rst; both came with Linux 6.7.
class WrittenPages {
 public:
  struct Range {
    std::uint64_t begin, end;
  };

  /// Errors: EINVAL this kernel is older; others of userfaultfd(2).
  Status open();
  [[nodiscard]] bool is_open() const { return uffd_ >= 0; }
  /// Forgets everything that is tracked.
  void close();

  /// Writes to the present pages of [begin, end) are noted from now on, and those to others always.  Errors:
  /// EINVAL a hole, or somebody else watches it.
  Status track(std::uint64_t begin, std::uint64_t end);
  void untrack(std::uint64_t begin, std::uint64_t end);
  /// Appends the runs of pages of [begin, end) that have been written; `again`: they are tracked anew, in the
  /// same step.  What is no longer tracked counts as written.  Errors: of ioctl(2).
  Status collect(std::uint64_t begin, std::uint64_t end, bool again, std::vector<Range>& out);

 private:
  int uffd_ = -1, pagemap_ = -1;
};

}  // namespace hpcvmm::migrate
