// The four rings shared with one VMM process, hpcd's side.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>

#include "hpcvmm/base/result.hh"
#include "hpcvmm/base/unique_fd.hh"
#include "hpcvmm/wire/ring.hh"

namespace hpcvmm::daemon {

/// Urgent records go with Priority::Fault, the others with Priority::Bulk.
enum class Lane : std::uint8_t { Urgent = 0, Bulk = 1 };
inline constexpr std::size_t kLanes = 2;

/// The reading end of a ring whose records are lent out: next() looks ahead, and the space of a record is the
/// producer's again only when it and all before it have been given back.  (wire::local::Consumer frees a
/// record before it shows the next.)  Nothing in shared memory is believed without a check.
class LendingReader {
 public:
  LendingReader() = default;
  LendingReader(void* memory, std::uint64_t bytes);

  struct View {
    std::uint32_t channel = 0;
    std::uint32_t bytes = 0;
    const std::byte* data = nullptr;  ///< in shared memory: the producer can change it at any time
  };
  /// The oldest record that was not taken; false: none (or broken()).
  bool next(View& out);
  /// What take() will return.
  [[nodiscard]] std::uint32_t next_number() const {
    return first_ + static_cast<std::uint32_t>(loans_.size());
  }
  /// Takes what next() showed.  Returns its number, to give it back by.
  std::uint32_t take();
  /// That record is not needed any more.  In any order; unknown numbers: nothing.
  void give_back(std::uint32_t number);

  /// As Consumer's: false when something has come meanwhile.
  bool prepare_sleep();
  void wake();

  [[nodiscard]] bool broken() const { return broken_; }
  /// Bytes ever written by the producer, as it says; taken so far.  A record was taken when taken() has
  /// passed it.
  [[nodiscard]] std::uint64_t written() const;
  [[nodiscard]] std::uint64_t taken() const { return read_; }
  /// Records lent out.
  [[nodiscard]] std::size_t lent() const { return lent_; }

 private:
  struct Loan {
    std::uint64_t end;
    bool back;
  };
  bool fail();

  wire::local::RingWords* words_ = nullptr;
  const std::byte* data_ = nullptr;
  std::uint64_t bytes_ = 0;
  std::uint64_t read_ = 0;   ///< records before this were taken
  std::uint64_t freed_ = 0;  ///< and before this given back
  std::uint64_t shown_ = 0;  ///< size of the record that next() showed
  std::deque<Loan> loans_;
  std::uint32_t first_ = 0;  ///< number of loans_.front()
  std::size_t lent_ = 0;
  bool broken_ = false;
};

/// The memory, the wake-up descriptors and both directions.
class Rings {
 public:
  /// Data bytes of each ring: what one end may have under way (kRingBytes), and what records waste at the
  /// ring's end.
  static constexpr std::uint64_t kBytes = wire::local::kRingBytes + 4ULL * wire::local::kMaxRecord;

  /// Errors: those of memfd_create, ftruncate, mmap, eventfd.
  static Result<std::shared_ptr<Rings>> create();
  Rings(const Rings&) = delete;
  Rings& operator=(const Rings&) = delete;
  ~Rings();

  LendingReader& from(Lane lane) { return from_[static_cast<std::size_t>(lane)]; }
  wire::local::Producer& to(Lane lane) { return to_[static_cast<std::size_t>(lane)]; }

  /// For Attach, in its order.
  [[nodiscard]] std::array<int, 3> descriptors() const {
    return {memory_.get(), wake_vmm_.get(), wake_us_.get()};
  }
  [[nodiscard]] int wake_fd() const { return wake_us_.get(); }
  void wake_vmm() const;
  /// Empties wake_fd().
  void drain_wake() const;
  [[nodiscard]] std::size_t lent() const { return from_[0].lent() + from_[1].lent(); }

 private:
  Rings() = default;

  UniqueFd memory_, wake_vmm_, wake_us_;
  void* base_ = nullptr;
  std::array<LendingReader, kLanes> from_;
  std::array<wire::local::Producer, kLanes> to_;
};

}  // namespace hpcvmm::daemon
