// The other half of a move: whether this node takes a process, and what it has promised already.
#pragma once

#include <vector>

#include "balancer/types.hh"

namespace hpcvmm::balancer {

/// Promises of a destination.  Sources know a node's load with delay; without this, all that see it empty
/// would fill it at once (a stampede).  Threads: one.
class Reservations {
 public:
  /// Asks for room for `process`.  `own` is the node's load now, without promises; `stay_cost` is what
  /// staying costs at the source, infinite if it must leave.  Nothing: promised, until knobs.reservation_s
  /// have passed.
  Forbidden ask(const NodeLoad& own, const Process& process, double stay_cost, double now_s,
                const Knobs& knobs);
  /// The process has arrived (its load is now in `own`) or does not come.
  void settle(ProcessId process);
  /// `own` with all promises in it: what the node must decide with and tell others.
  NodeLoad with_promises(const NodeLoad& own, double now_s, const Knobs& knobs);
  std::size_t count() const { return promised_.size(); }

 private:
  struct Promise {
    Process process;
    double until_s;
  };
  void lapse(double now_s);
  std::vector<Promise> promised_;
};

}  // namespace hpcvmm::balancer
