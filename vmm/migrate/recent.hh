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

/// Each page that is remembered takes the next slot, at both ends.  Threads: one at a time.
class RecentPages {
 public:
  static constexpr unsigned kSlots = 256;  // 1 MiB: what a cache holds

  RecentPages() = default;
  RecentPages(const RecentPages&) = delete;
  RecentPages& operator=(const RecentPages&) = delete;
  ~RecentPages() { clear(); }

  static constexpr int kAdded = -1, kPassed = -2;

  /// By the sender: the slot that has this content; kAdded, kPassed: none, so it has to be sent.  It has been
  /// remembered, and the receiver shall do so, too; or it has not: of a memory in which no page is like
  /// another only some are.
  int find_or_add(const std::byte* data) {
    Guesses& guesses = guesses_[hash_of(data)];
    for (const std::uint16_t guess : guesses) {
      if (guess == 0 || std::memcmp(slots_ + (guess - 1U) * kPageSize, data, kPageSize) != 0) continue;
      in_vain_ = 0;
      return guess - 1;
    }
    if (++in_vain_ > kSlots && in_vain_ % kOneOf != 0) return kPassed;
    const unsigned slot = next_;
    if (!add(data)) return kPassed;
    std::copy_backward(guesses.begin(), guesses.end() - 1, guesses.end());
    guesses[0] = static_cast<std::uint16_t>(slot + 1);
    return kAdded;
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
    next_ = used_ = in_vain_ = 0;
  }

 private:
  using Guesses = std::array<std::uint16_t, 4>;  // slot + 1, the latest first; 0: none
  static constexpr unsigned kHashes = 512;
  static constexpr unsigned kOneOf = 16;

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
  unsigned in_vain_ = 0;  // pages that were like none, since the last that was
};

}  // namespace hpcvmm::migrate
