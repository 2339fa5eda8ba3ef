// What people and nodes allow, apart from what is cheap.
#pragma once

#include "balancer/types.hh"

namespace hpcvmm::balancer {

/// Why `process` may not go to `target`; Nothing if it may.  `now_s` tells how old the information is.
Forbidden may_enter(const NodeLoad& target, const Process& process, double now_s, const Knobs& knobs);

/// Why `process` may not leave its node for `to` of its own accord.  Home is open sooner to one that waits
/// there for its calls more than it runs.
Forbidden may_leave(const View& view, const Process& process, NodeId to, const Knobs& knobs);

/// How long a process stays where it has come to, seconds, but for memory and people: its age doubles between
/// two moves, and however little it works, its stays grow.
double least_stay_s(const Process& process, const Knobs& knobs);

/// Whether it waits for its calls longer than it runs, where it is not at home.
bool is_losing(const Process& process, const Knobs& knobs);

/// From which stay on a process may leave although it has used less than min_age_s, seconds: it starves
/// there, and what little it may need would take long.  (One that sleeps has little to gain from a move.)
double starved_s(const Knobs& knobs);

/// An order that sends `process` away from the view's node whatever it costs: the reason, and the node it
/// names (kNoNode: the best one).  Reason::Stay if there is none.
struct Command {
  Reason reason = Reason::Stay;
  NodeId target = kNoNode;
};
Command command_for(const View& view, const Process& process, const Knobs& knobs);

/// The entry of `node` in the view's others; null if nothing is known of it.
const NodeLoad* find(const View& view, NodeId node);

/// What is known of the home of `process`, which may be the own node; null: nothing.
const NodeLoad* home_of(const View& view, const Process& process);

}  // namespace hpcvmm::balancer
