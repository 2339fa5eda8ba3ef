// The guest's mappings as the VMM knows them: a copy of the kernel's list, kept in step by every mmap-family
// call.
#pragma once

#include <cstdint>
#include <map>

namespace hpcvmm::mem {

struct Vma {
  std::uint64_t end = 0;
  std::uint32_t prot = 0;   // PROT_*, equal to the host's VMA
  bool shared = false;      // MAP_SHARED
  bool file = false;        // backed by a file: may be shorter than the mapping (SIGBUS)
  bool grows_down = false;  // a stack: the host extends it on touch
  bool steady =
      false;  // shared, but read-only and of a system file that nobody but root can write: as good as private

  [[nodiscard]] bool same_kind(const Vma& o) const {
    return prot == o.prot && shared == o.shared && file == o.file && grows_down == o.grows_down &&
           steady == o.steady;
  }
};

/// Pure bookkeeping, no system call.  Threads: under the mm lock.
class VmaList {
 public:
  using Map = std::map<std::uint64_t, Vma>;

  /// Replaces whatever is in [begin, v.end).
  void insert(std::uint64_t begin, const Vma& v);
  void erase(std::uint64_t begin, std::uint64_t end);
  void protect(std::uint64_t begin, std::uint64_t end, std::uint32_t prot);
  /// The mapping that contains `at`, or end().
  [[nodiscard]] Map::const_iterator find(std::uint64_t at) const;
  /// The first mapping that begins above `at`.
  [[nodiscard]] Map::const_iterator above(std::uint64_t at) const { return map_.upper_bound(at); }
  [[nodiscard]] Map::const_iterator begin() const { return map_.begin(); }
  [[nodiscard]] Map::const_iterator end() const { return map_.end(); }
  /// Lowers the beginning of a growing stack.
  void grow_down(std::uint64_t begin, std::uint64_t new_begin);

 private:
  void split(std::uint64_t at);
  void join(Map::iterator it);
  Map map_;
};

}  // namespace hpcvmm::mem
