// Decayed averages of a process's statistics, with openMosix's knobs.
#pragma once

#include <cmath>

namespace hpcvmm::balancer {

/// Of 1000 parts of the old value, how many are kept each interval.
struct DecayKnobs {
  double interval_s = 1;
  int slow_permille = 975;
  int fast_permille = 926;
};
enum class Decay : unsigned char { Slow, Fast, None };  ///< None: nothing is forgotten (nodecay)

/// The average after `elapsed_s` in which `sample` was measured.  None: the larger of both.
inline double decayed(double average, double sample, double elapsed_s, Decay decay, const DecayKnobs& knobs) {
  if (decay == Decay::None) return average > sample ? average : sample;
  const double kept = (decay == Decay::Slow ? knobs.slow_permille : knobs.fast_permille) / 1000.0;
  const double weight = std::pow(kept, elapsed_s / knobs.interval_s);
  return average * weight + sample * (1 - weight);
}

}  // namespace hpcvmm::balancer
