// Which job starts when and where: recorded, or drawn.
#pragma once

#include <cstdint>
#include <vector>

#include "balancer/random.hh"
#include "balancer/sim/clock.hh"
#include "balancer/sim/scale.hh"

namespace hpcvmm::balancer::sim {

/// Each node has arrivals of its own, drawn from its own random numbers: a Poisson stream whose jobs fall on
/// nodes by chance is so many smaller Poisson streams.  Threads: any; nothing in it changes.
class Workload {
 public:
  Workload(const ScaleOptions& options, double total_speed);

  struct Arrival {
    Ns at = kNever;           ///< kNever: there is none
    std::uint32_t index = 0;  ///< in the trace
  };
  /// The first arrival at a node (0, 1, ...), and the one after `last`.
  Arrival first(std::uint32_t node, Random& random) const;
  Arrival after(std::uint32_t node, const Arrival& last, Random& random) const;
  TraceJob job(const Arrival& arrival, Random& random) const;

 private:
  bool recorded() const { return !o_.trace.empty(); }
  Arrival recorded_at(std::uint32_t index) const;
  Arrival drawn_after(std::uint32_t node, Ns last, Random& random) const;

  const ScaleOptions& o_;
  double smallest_work_s_ = 0;
  double busy_gap_s_ = 0, other_gap_s_ = 0;  ///< mean time between arrivals at a node
  std::uint32_t busy_every_ = 1, busy_ = 0;  ///< a tenth of the nodes gets a larger share
  std::vector<std::uint32_t> first_of_,
      next_;  ///< of a node, and after a job at its node: places in the trace
};

}  // namespace hpcvmm::balancer::sim
