// Which process goes where, and why.  Pure: the same view, policy, knobs and random state give the same
// answer.
#pragma once

#include <string>
#include <vector>

#include "balancer/random.hh"
#include "balancer/types.hh"

namespace hpcvmm::balancer {

/// The moves a node makes now, best first, at most knobs.max_out less those in flight.  What people ordered
/// (run_on, home_only, expel, bring, drain, an owner's return) and memory shortage come before balance and
/// ignore hysteresis and residency; nothing but a person's order moves a locked process. Threads: any;
/// touches nothing but its arguments.
std::vector<Decision> decide(const View& view, Policy policy, const Knobs& knobs);

/// The verdict on one process, whether it moves or not: what `hpc-vmm why PID` prints.  `process` is one of
/// the view's.
Decision explain(const View& view, const Process& process, Policy policy, const Knobs& knobs);

/// Where a process starts (launch, fork, exec): the cheapest moment, nothing of it has to move.  The process
/// is not among the view's.  `turn` counts for round-robin; the caller keeps it.
Decision place(const View& view, const Process& process, Policy policy, const Knobs& knobs, Random& random,
               std::uint64_t& turn);

/// "pid 7 stays on node 1: cost 0.41; best node 2 would cost 0.39 (of that the move 0.01), next node 3 0.52;
/// hysteresis".
std::string describe(const Decision& decision);

}  // namespace hpcvmm::balancer
