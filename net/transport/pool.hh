// Memory that is used again: what a packet needs is taken from here, so that steady traffic allocates
// nothing.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace hpcvmm::net {

/// Objects that keep their place and, between two uses, what they have allocated.
template <class T> class Pool {
 public:
  T* take() {
    ++live_;
    if (free_.empty()) {
      all_.push_back(std::make_unique<T>());
      return all_.back().get();
    }
    T* const t = free_.back();
    free_.pop_back();
    return t;
  }
  void give(T* t) {
    --live_;
    free_.push_back(t);
  }
  [[nodiscard]] std::uint64_t live() const { return live_; }

 private:
  std::vector<std::unique_ptr<T>> all_;
  std::vector<T*> free_;
  std::uint64_t live_ = 0;
};

/// Plain memory in a few sizes.
class Buffers {
 public:
  Buffers() = default;
  Buffers(const Buffers&) = delete;
  Buffers& operator=(const Buffers&) = delete;
  ~Buffers();
  /// At least `bytes` bytes; at most kMaxMessage.
  std::byte* take(std::uint32_t bytes);
  /// `bytes`: as it was taken.
  void give(std::byte* memory, std::uint32_t bytes);

 private:
  static constexpr std::size_t kClasses = 6;
  // A header with a page, a header with 16 pages, and what lies between and around.
  static constexpr std::array<std::uint32_t, kClasses> kSizes{256, 1024, 4608, 18432, 73728, 262144};
  /// Free memory kept for later, per size.
  static constexpr std::size_t kKeep = 8U << 20;
  static std::size_t size_class(std::uint32_t bytes);
  std::array<std::vector<std::byte*>, kClasses> free_;
};

/// A queue in a ring that grows to what it once needed.
template <class T> class RingQueue {
 public:
  [[nodiscard]] bool empty() const { return head_ == tail_; }
  [[nodiscard]] std::size_t size() const { return static_cast<std::size_t>(tail_ - head_); }
  T& front() { return slots_[head_ & mask()]; }
  /// `i` counted from the front; below size().
  T& operator[](std::size_t i) { return slots_[(head_ + i) & mask()]; }
  const T& operator[](std::size_t i) const { return slots_[(head_ + i) & mask()]; }
  T& push_back() {
    if (size() == slots_.size()) grow();
    return slots_[tail_++ & mask()];
  }
  void pop_front() { ++head_; }

 private:
  [[nodiscard]] std::size_t mask() const { return slots_.size() - 1; }
  void grow() {
    std::vector<T> wider(slots_.empty() ? 16 : slots_.size() * 2);
    const std::size_t n = size();
    for (std::size_t i = 0; i < n; ++i) wider[i] = std::move((*this)[i]);
    slots_.swap(wider);
    head_ = 0;
    tail_ = n;
  }
  std::vector<T> slots_;
  std::size_t head_ = 0;
  std::size_t tail_ = 0;
};

}  // namespace hpcvmm::net
