// The opportunity cost: what a process on a node costs all that run there, as one number.
//
// A node's cost is the slowdown its processes suffer, each counted by its urgency:
//     sum of urgency x stretch x thrash(memory) + memory_weight x e^(memory_log_base x used/total)
// where stretch is the time a thread needs for one second of reference CPU.  The marginal cost of a process
// is the cost with it less the cost without.  CPU and memory meet in one number, so nothing else has to weigh
// them.
#pragma once

#include "balancer/types.hh"

namespace hpcvmm::balancer {

/// Weight of a process's slowdown: 1 / (floor + CPU time used).  A process that has run for long will run for
/// as long again (Harchol-Balter and Downey 1997), so a second's delay is a smaller share of it than of a
/// young one.
inline double urgency(double cpu_used_s, const Knobs& knobs) {
  return 1.0 / (knobs.urgency_floor_s + cpu_used_s);
}

/// Seconds per second of reference CPU for one of `run_queue` threads.
inline double stretch(const NodeLoad& node, double run_queue) {
  const double share = run_queue > node.cpus ? run_queue / node.cpus : 1.0;
  return share / node.speed;
}

/// Factor on stretch where `used_mib` of the node's memory are in use: 1 up to memory_high, thrash_factor
/// from full on.
double thrash(const NodeLoad& node, double used_mib, const Knobs& knobs);

/// Cost that `process` causes by running on `node`, where it is not now.
double cost_of_adding(const NodeLoad& node, const Process& process, const Knobs& knobs);

/// Cost that `process` causes by running on `node`, where it is now.
double cost_of_keeping(const NodeLoad& node, const Process& process, const Knobs& knobs);

/// The node's whole cost as it is: what cost_of_keeping takes a node without the process from.
double cost_now(const NodeLoad& node, const Knobs& knobs);
double cost_of_keeping(const NodeLoad& node, double cost_now, const Process& process, const Knobs& knobs);

/// Cost of being on `node` away from home, files and partners: round trips, data over what is left of the
/// network, and what the CPU time of its calls takes from all others at both ends.  `home`: what is known of
/// its home; null: nothing.
double distance_cost(const NodeLoad& node, const Process& process, const Knobs& knobs,
                     const NodeLoad* home = nullptr);

/// Cost of the move itself: freeze and transfer against the work still expected.
double move_cost(const Process& process, const Knobs& knobs);

/// The node with `process` added (sign 1) or taken away (-1): how a view follows the moves decided from it.
NodeLoad with(const NodeLoad& node, const Process& process, int sign, const Knobs& knobs);

}  // namespace hpcvmm::balancer
