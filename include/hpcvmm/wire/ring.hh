// A ring of records in shared memory: one producer process, one consumer process.
//
// The other end is not trusted to keep its words right: every offset and length read from shared memory is
// checked against the ring's own size, kept in private memory, before use; a ring whose words make no sense
// is Broken.
//
// Waking: a consumer that is about to sleep sets `asleep`, looks once more, and then waits on its eventfd.
// The producer writes the eventfd only when `asleep` is set.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "hpcvmm/wire/local.hh"

namespace hpcvmm::wire::local {

/// The words both ends see, at the start of a ring; the data follows on the next page.
struct RingWords {
  alignas(64) std::atomic<std::uint64_t> head;    ///< bytes ever written; the producer's
  alignas(64) std::atomic<std::uint64_t> tail;    ///< bytes ever freed; the consumer's
  alignas(64) std::atomic<std::uint32_t> asleep;  ///< the consumer waits on its eventfd
};
inline constexpr std::size_t kRingWordsBytes = 4096;
static_assert(sizeof(RingWords) <= kRingWordsBytes);
/// Bytes of shared memory one ring of `data` bytes takes.
constexpr std::size_t ring_memory(std::size_t data) { return kRingWordsBytes + data; }

inline constexpr std::uint32_t kRecordAlign = 8;
inline constexpr std::uint32_t kSkip =
    0xffff'ffff;  ///< Record::bytes: the rest of the ring is unused, go on at 0

constexpr std::uint64_t record_size(std::uint64_t payload) {
  return (sizeof(Record) + payload + kRecordAlign - 1) / kRecordAlign * kRecordAlign;
}

/// The writing end.  Threads: one at a time.
class Producer {
 public:
  Producer() = default;
  /// `memory`: ring_memory(bytes) bytes; `bytes` is a multiple of kRecordAlign.
  Producer(void* memory, std::uint64_t bytes)
      : words_(static_cast<RingWords*>(memory)),
        data_(static_cast<std::byte*>(memory) + kRingWordsBytes),
        bytes_(bytes) {}

  /// Room for a record of `payload` bytes, to be filled in and then published; nullptr: full (or broken()).
  /// A second reserve() before publish() gives the same place.
  std::byte* reserve(std::uint32_t channel, std::uint32_t payload) {
    const std::uint64_t need = record_size(payload);
    const std::uint64_t tail = words_->tail.load(std::memory_order_acquire);
    if (tail > head_ || head_ - tail > bytes_) {
      broken_ = true;
      return nullptr;
    }
    std::uint64_t at = head_ % bytes_;
    std::uint64_t skipped = 0;
    if (bytes_ - at < need) skipped = bytes_ - at;
    if (need + skipped > bytes_ - (head_ - tail)) return nullptr;
    if (skipped != 0) {
      const Record skip{kSkip, 0};
      std::memcpy(data_ + at, &skip, sizeof skip);
      at = 0;
    }
    const Record r{payload, channel};
    std::memcpy(data_ + at, &r, sizeof r);
    next_ = head_ + skipped + need;
    return data_ + at + sizeof(Record);
  }
  /// Makes the reserved record visible.  True: the consumer sleeps, write its eventfd.
  bool publish() {
    head_ = next_;
    words_->head.store(head_, std::memory_order_seq_cst);
    return words_->asleep.load(std::memory_order_seq_cst) != 0;
  }
  [[nodiscard]] bool broken() const { return broken_; }

 private:
  RingWords* words_ = nullptr;
  std::byte* data_ = nullptr;
  std::uint64_t bytes_ = 0;
  std::uint64_t head_ = 0;
  std::uint64_t next_ = 0;
  bool broken_ = false;
};

/// The reading end.  Threads: one at a time.
class Consumer {
 public:
  struct View {
    std::uint32_t channel = 0;
    std::uint32_t bytes = 0;
    /// Still in shared memory: the producer can change it while it is read.  Copy before checking.
    const std::byte* data = nullptr;
  };

  Consumer() = default;
  Consumer(void* memory, std::uint64_t bytes)
      : words_(static_cast<RingWords*>(memory)),
        data_(static_cast<std::byte*>(memory) + kRingWordsBytes),
        bytes_(bytes) {}

  /// The oldest record; false: none (or broken()).  Valid until pop().
  bool peek(View& out) {
    const std::uint64_t head = words_->head.load(std::memory_order_acquire);
    if (head < tail_ || head - tail_ > bytes_) return fail();
    while (head != tail_) {
      const std::uint64_t at = tail_ % bytes_;
      if (head - tail_ < sizeof(Record) || bytes_ - at < sizeof(Record)) return fail();
      Record r{};
      std::memcpy(&r, data_ + at, sizeof r);
      if (r.bytes == kSkip) {
        if (head - tail_ < bytes_ - at) return fail();
        tail_ += bytes_ - at;
        words_->tail.store(tail_, std::memory_order_release);
        continue;
      }
      const std::uint64_t need = record_size(r.bytes);
      if (r.bytes > kMaxRecord || need > bytes_ - at || need > head - tail_) return fail();
      size_ = need;
      out = {r.channel, r.bytes, data_ + at + sizeof(Record)};
      return true;
    }
    return false;
  }
  /// Frees the record peek() showed.
  void pop() {
    tail_ += size_;
    size_ = 0;
    words_->tail.store(tail_, std::memory_order_release);
  }
  /// Before waiting on the eventfd: false when something has come meanwhile (do not wait).
  bool prepare_sleep() {
    words_->asleep.store(1, std::memory_order_seq_cst);
    if (words_->head.load(std::memory_order_seq_cst) == tail_) return true;
    words_->asleep.store(0, std::memory_order_relaxed);
    return false;
  }
  void wake() { words_->asleep.store(0, std::memory_order_relaxed); }
  [[nodiscard]] bool broken() const { return broken_; }

 private:
  bool fail() {
    broken_ = true;
    return false;
  }
  RingWords* words_ = nullptr;
  std::byte* data_ = nullptr;
  std::uint64_t bytes_ = 0;
  std::uint64_t tail_ = 0;
  std::uint64_t size_ = 0;
  bool broken_ = false;
};

}  // namespace hpcvmm::wire::local
