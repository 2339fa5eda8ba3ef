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
  /// The process runs here (its load is now in `own`), but its memory is on its way and holds one of
  /// knobs.max_in places: until settle(), or for three times as long as it should take.
  void land(ProcessId process, double now_s, const Knobs& knobs);
  /// All of the process has arrived, or it does not come.
  void settle(ProcessId process);
  /// Moves into this node, promised or under way.
  std::size_t in_flight() const;
  /// `own` with all promises in it: what the node must decide with and tell others.
  NodeLoad with_promises(const NodeLoad& own, double now_s, const Knobs& knobs);
  std::size_t count() const { return promised_.size(); }

 private:
  struct Promise {
    Process process;
    double until_s;
    bool landed;
  };
  void lapse(double now_s);
  std::vector<Promise> promised_;
};

}  // namespace hpcvmm::balancer
