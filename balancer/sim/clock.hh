// The simulated clock.  Whole nanoseconds: times are then ordered and compared exactly, so that a run does
// not depend on who computes them where; balancer/ gets the seconds it counts in.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>

namespace hpcvmm::balancer::sim {

using Ns = std::int64_t;
inline constexpr Ns kNever = std::numeric_limits<Ns>::max();

/// The time after so many seconds; kNever for what the clock cannot count (in 290 years).
inline Ns to_ns(double seconds) {
  constexpr double kEnd = 9e9;
  return seconds < kEnd ? std::llround(seconds * 1e9) : kNever;
}

inline double to_s(Ns time) { return static_cast<double>(time) * 1e-9; }

/// `time` and `delay` after it, without passing kNever.
inline Ns later(Ns time, Ns delay) { return delay < kNever - time ? time + delay : kNever; }

}  // namespace hpcvmm::balancer::sim
