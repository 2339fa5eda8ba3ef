// Clocks of two nodes.  CLOCK_MONOTONIC begins when a machine boots, and no two machines agree on the time of
// day to the microsecond: whoever moves keeps the clocks of its home, and the node where it is adds what is
// between.
#pragma once

#include <cstdint>
#include <ctime>

#include "guest-agent/vdso/vdso.hh"

namespace hpcvmm::migrate {

/// Nanoseconds since each clock's beginning.  Travels.
struct ClockReadings {
  std::int64_t realtime = 0, monotonic = 0, monotonic_raw = 0, boottime = 0, tai = 0;
};

/// Nanoseconds of this node's clock.  A system call: a remote has moved the vDSO that its C library knows.
/// Threads: any.
std::int64_t read_clock(clockid_t id);
/// Of this node, now; `offsets` are added.  Threads: any; allocates nothing.
ClockReadings read_clocks(const vdso::ClockOffsets& offsets = {});

/// How far the other node's clocks are from ours, from questions and answers: what was read there was read
/// between our two readings (Cristian, "Probabilistic clock synchronization", 1989).  Of all that the
/// difference may be the largest is taken: a process there is never behind its home, so a call of home's that
/// waits until a time does not come back before it, and no clock has gone back on the way there.
class ClockDifference {
 public:
  /// One question: ours before, theirs, ours after.  The one with the shortest way counts.
  void learn(const ClockReadings& before, const ClockReadings& theirs, const ClockReadings& after);
  /// Ours minus theirs.  Where all may as well be the same they are: it is one machine.
  [[nodiscard]] const vdso::ClockOffsets& offsets() const { return offsets_; }
  /// What each may be too large by, nanoseconds.
  [[nodiscard]] std::int64_t error() const { return error_; }
  /// Another question may tell more: their clocks are not ours, or it took so long that this cannot be said.
  [[nodiscard]] bool wants_more() const;

 private:
  vdso::ClockOffsets offsets_;
  std::int64_t error_ = INT64_MAX;
};

/// By how many nanoseconds the clock that is furthest ahead in `theirs` is ahead of `ours`; 0: none is.
std::int64_t most_ahead(const ClockReadings& theirs, const ClockReadings& ours);

}  // namespace hpcvmm::migrate
