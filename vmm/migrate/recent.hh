// Pages that were sent last, as both ends of a bulk stream remember them: content that is among them does not
// travel again.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "hpcvmm/base/layout.hh"
#include "vmm/mem/arena.hh"

namespace hpcvmm::migrate {

/// Each page with data takes the next slot, at both ends.  Threads: one at a time.
class RecentPages {
 public:
  static constexpr unsigned kSlots = 256;  // 1 MiB: what a cache holds

  RecentPages() = default;
  RecentPages(const RecentPages&) = delete;
  RecentPages& operator=(const RecentPages&) = delete;
  ~RecentPages() { clear(); }

  /// By the sender: the slot that has this content; -1: none, and it has been remembered, hence has to be
  /// sent.
  int find_or_add(const std::byte* data) {
    Guesses& guesses = guesses_[hash_of(data)];
    for (const std::uint16_t guess : guesses)
      if (guess != 0 && std::memcmp(slots_ + (guess - 1U) * kPageSize, data, kPageSize) == 0)
        return guess - 1;
    const unsigned slot = next_;
    if (!add(data)) return -1;
    std::copy_backward(guesses.begin(), guesses.end() - 1, guesses.end());
    guesses[0] = static_cast<std::uint16_t>(slot + 1);
    return -1;
  }
  /// By the receiver, in the order of the stream.  False: no memory; then it remembers nothing.
  bool add(const std::byte* data) {
    if (slots_ == nullptr) slots_ = static_cast<std::byte*>(mem::arena_map(kSlots * kPageSize));
    if (slots_ == nullptr) return false;
    std::memcpy(slots_ + next_ * kPageSize, data, kPageSize);
    if (used_ < kSlots) ++used_;
    next_ = (next_ + 1) % kSlots;
    return true;
  }
  /// nullptr: nothing was ever there.  Valid until the next add().
  [[nodiscard]] const std::byte* at(unsigned slot) const {
    return slot < used_ ? slots_ + slot * kPageSize : nullptr;
  }
  void clear() {
    if (slots_ != nullptr) mem::arena_unmap(slots_, kSlots * kPageSize);
    slots_ = nullptr;
    guesses_ = {};
    next_ = used_ = 0;
  }

 private:
  using Guesses = std::array<std::uint16_t, 4>;  // slot + 1, the latest first; 0: none
  static constexpr unsigned kHashes = 512;

  /// Of a few words of it: what differs elsewhere is found out by comparing.
  static unsigned hash_of(const std::byte* data) {
    std::uint64_t hash = 0;
    for (std::size_t at = 0; at < kPageSize; at += 264) {
      std::uint64_t word = 0;
      std::memcpy(&word, data + at, sizeof word);
      hash = (hash ^ word) * 0x9E3779B97F4A7C15;
      hash ^= hash >> 29;
    }
    return static_cast<unsigned>(hash >> 54) % kHashes;
  }

  std::byte* slots_ = nullptr;
  std::array<Guesses, kHashes> guesses_{};  // by hash
  unsigned next_ = 0, used_ = 0;
};

}  // namespace hpcvmm::migrate
