// A thread that waits for an answer from the other node looks for it itself for a moment, in the pager's
// place: that saves the two wake-ups from hpcd to the pager and from the pager to the thread.
#pragma once

#include <sched.h>

#include <cstdint>

#include "vmm/mem/lock.hh"
#include "vmm/migrate/host.hh"
#include "vmm/migrate/link.hh"

namespace hpcvmm::migrate {

/// Whether looking pays for this thread: not when its answers take long (it computes, or its call waits).
class Patience {
 public:
  bool worth() {
    if (skip_ == 0) return true;
    --skip_;
    return false;
  }
  void found(bool in_time) {
    misses_ = in_time ? 0 : misses_ + 1;
    if (!in_time) skip_ = misses_ < 6 ? (1U << misses_) - 1 : 63;
  }

 private:
  unsigned skip_ = 0, misses_ = 0;
};

/// `turn` is held by whoever receives; `pass` does what there is to do and says whether there was something;
/// `there` says whether the answer has come.  Nobody waits here for the turn: whoever has it serves us, too.
template <class Pass, class There>
void attend(mem::Lock& turn, Link& link, Patience& patience, Pass pass, There there) {
  constexpr std::uint64_t kLongestUs = 100;
  if (!patience.worth() || !turn.try_lock()) return;
  link.stay_awake();
  const std::uint64_t end = now_us() + kLongestUs;
  for (unsigned i = 1; !there(); ++i) {
    if (pass()) continue;
    if (i % 8 == 0 && now_us() >= end) break;
    ::sched_yield();
  }
  patience.found(there());
  // Back to the pager, which sleeps: hpcd must wake it again.
  while (!link.prepare_sleep()) pass();
  turn.unlock();
}

}  // namespace hpcvmm::migrate
