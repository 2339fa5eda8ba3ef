// Guest page tables, edited from the host while vCPUs run.
#pragma once

#include <array>
#include <cstdint>

#include "hpcvmm/base/result.hh"
#include "vmm/engine/kvm/layout.hh"

namespace hpcvmm::engine::kvm {

// Bits of a page-table entry.  Source: Intel SDM vol. 3, 4.5.
inline constexpr std::uint64_t kPresent = 1, kWritable = 2, kUser = 4, kAccessed = 0x20, kDirty = 0x40,
                               kLarge = 0x80, kNoExec = std::uint64_t{1} << 63;

/// Threads: every function under the mm lock.  Entries are stored as aligned 8-byte atomics, because vCPUs
/// (and KVM) read them and set accessed and dirty bits at the same time.
///
/// The rule for taking rights away (MECHANISMS: STALE otherwise): clear() first, then the host call that
/// really changes the host mapping, and let the next #PF refill.  For giving rights: host call first, set()
/// at the next #PF.
class PageTables {
 public:
  /// Called when a new chunk of system memory must become a memory slot.
  using AddChunk = Status (*)(void* self, std::uint64_t gpa, void* host, std::uint64_t bytes);

  Status start(AddChunk add, void* self);
  [[nodiscard]] std::uint64_t root_gpa() const { return root_; }

  /// Maps one 4 KiB page / one 2 MiB step.  `bits`: kWritable, kUser, kNoExec; present, accessed, dirty are
  /// added (an entry without A and D costs a second trip: 3.0 instead of 1.2 us a page, measured).
  Status set_page(std::uint64_t va, std::uint64_t gpa, std::uint64_t bits);
  /// Maps [va, va + pages * 4 KiB), all inside one 2 MiB step, to consecutive gpas.
  Status set_run(std::uint64_t va, std::uint64_t gpa, unsigned pages, std::uint64_t bits);
  Status set_large(std::uint64_t va, std::uint64_t gpa, std::uint64_t bits);
  /// Clears every entry that touches [begin, end).  A 2 MiB entry that overlaps is cleared whole: refilling
  /// is right, keeping would be wrong.
  void clear(std::uint64_t begin, std::uint64_t end);

  /// A zeroed system page: its guest-physical and host address.
  struct Page {
    std::uint64_t gpa;
    std::uint64_t* host;
  };
  Result<Page> take_page();
  [[nodiscard]] std::uint64_t pages_used() const { return used_pages_; }

 private:
  struct Chunk {
    char* host;
    std::uint64_t bytes;
  };
  [[nodiscard]] std::uint64_t* host_of(std::uint64_t entry) const;
  Result<std::uint64_t*> descend(std::uint64_t* table, unsigned index);
  Result<std::uint64_t*> directory_entry(std::uint64_t va);
  void clear_directory(std::uint64_t* directory, std::uint64_t begin, std::uint64_t end);

  AddChunk add_ = nullptr;
  void* self_ = nullptr;
  std::array<Chunk, kSystemChunks> chunks_;  // the first chunk_count_: the rest of 16 KiB stays untouched
  unsigned chunk_count_ = 0;
  std::uint64_t chunk_used_ = 0;
  std::uint64_t used_pages_ = 0;
  std::uint64_t root_ = 0;
};

}  // namespace hpcvmm::engine::kvm
