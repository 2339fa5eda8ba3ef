// Pages that came to a remote before their process, kept aside until home says which of them still count.
#pragma once

#include <cstring>
#include <unordered_map>

#include "vmm/mem/arena.hh"
#include "vmm/migrate/directory.hh"

namespace hpcvmm::migrate {

/// Threads: under the owner's lock.
class Attic {
 public:
  Attic() = default;
  Attic(const Attic&) = delete;
  Attic& operator=(const Attic&) = delete;
  ~Attic() { clear(); }

  /// Keeps a copy, instead of an older one.  False: no memory.
  bool put(std::uint64_t page, const std::byte* data) {
    std::byte*& shelf = shelves_[page / kShelf];
    if (shelf == nullptr) shelf = static_cast<std::byte*>(mem::arena_map(kShelf));
    if (shelf == nullptr) return false;
    std::memcpy(shelf + page % kShelf, data, kPageSize);
    there_.set(page);
    return true;
  }
  /// nullptr: never put.  Valid until clear().
  [[nodiscard]] const std::byte* find(std::uint64_t page) const {
    return there_.has(page) ? shelves_.at(page / kShelf) + page % kShelf : nullptr;
  }
  void clear() {
    for (const auto& [number, shelf] : shelves_) mem::arena_unmap(shelf, kShelf);
    shelves_.clear();
    there_.clear();
  }

 private:
  static constexpr std::uint64_t kShelf = std::uint64_t{2} << 20;
  std::unordered_map<std::uint64_t, std::byte*> shelves_;
  PageSet there_;
};

}  // namespace hpcvmm::migrate
