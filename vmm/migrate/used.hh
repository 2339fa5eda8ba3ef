// CPU time of guest code on another node, as home counts it.
#pragma once

#include <algorithm>
#include <cstdint>

#include "vmm/mem/lock.hh"

namespace hpcvmm::migrate {

/// Microseconds.
struct CpuTime {
  std::uint64_t user = 0, system = 0;
  [[nodiscard]] std::uint64_t sum() const { return user + system; }
  CpuTime operator+(const CpuTime& o) const { return {user + o.user, system + o.system}; }
};

/// What has been used on all stays together.  It never falls: two threads' reports may overtake each other,
/// and what a report takes for user time may turn out to be the system's.  Any thread.
class UsedAway {
 public:
  /// A stay begins at a remote that has used nothing yet.
  void begin() {
    const mem::LockGuard guard(lock_);
    open_ = true;
  }
  /// The remote has used `now` in this stay.  Returns the whole.
  CpuTime note(const CpuTime& now) {
    const mem::LockGuard guard(lock_);
    if (open_) {
      const std::uint64_t all = std::max(stay_.sum(), now.sum());
      stay_.user = std::max(stay_.user, std::min(now.user, all - stay_.system));
      stay_.system = all - stay_.user;
    }
    return before_ + stay_;
  }
  /// What is said of this stay from now on is too late.
  void end() {
    const mem::LockGuard guard(lock_);
    open_ = false;
    before_ = before_ + stay_;
    stay_ = {};
  }
  [[nodiscard]] CpuTime total() const {
    const mem::LockGuard guard(lock_);
    return before_ + stay_;
  }

 private:
  mutable mem::Lock lock_;
  bool open_ = false;
  CpuTime before_, stay_;
};

}  // namespace hpcvmm::migrate
