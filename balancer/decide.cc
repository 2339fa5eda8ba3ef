#include "balancer/decide.hh"

#include <algorithm>
#include <array>
#include <limits>
#include <span>

#include "balancer/cost.hh"
#include "balancer/rules.hh"

namespace hpcvmm::balancer {

namespace {

constexpr double kInfinite = std::numeric_limits<double>::infinity();
constexpr double kRoundingUp = 1 + 1e-9;

/// Everything a choice among the others needs beside the process.
struct Search {
  double now_s = 0;
  std::span<const NodeLoad> others;
  const NodeLoad* home;  // null: nothing is known of it
  const Knobs& knobs;

  Search(const View& view, const Process& process, const Knobs& k)
      : now_s(view.now_s), others(view.others), home(home_of(view, process)), knobs(k) {}
};

double used_mib(const NodeLoad& node) { return double{node.total_mib} - double{node.free_mib}; }

bool has_room(const NodeLoad& node, const Process& process, const Knobs& knobs) {
  return double{node.free_mib} - process.working_set_mib >= knobs.reserve_mib;
}

bool short_of_memory(const NodeLoad& node, const Knobs& knobs) {
  return node.paging > knobs.paging_high || used_mib(node) > knobs.memory_high * node.total_mib;
}

double staleness(const NodeLoad& node, double now_s, const Knobs& knobs) {
  return 1 + knobs.staleness_per_s * std::max(0.0, now_s - node.measured_s);
}

/// Fills best and next best of `d` from the nodes that may take the process.
void search(const Search& s, const Process& process, bool must_fit, Decision& d) {
  d.best_cost = d.next_best_cost = kInfinite;
  Forbidden why = Forbidden::NoNode;
  const double weight = urgency(process.cpu_used_s, s.knobs) * process.cpu_use;
  for (const NodeLoad& node : s.others) {
    // Most nodes are out of the question by the CPU's part alone, and the rest of the cost is dear to
    // compute.
    const double stale = staleness(node, s.now_s, s.knobs);
    const double before = stretch(node, node.run_queue);
    const double after = stretch(node, double{node.run_queue} + process.cpu_use);
    const double least = ((node.urgency + weight) * after - node.urgency * before) * stale + d.move_cost;
    if (least > d.next_best_cost * kRoundingUp) continue;
    const Forbidden closed = may_enter(node, process, s.now_s, s.knobs);
    if (closed != Forbidden::Nothing) {
      why = closed;
      continue;
    }
    if (must_fit && !has_room(node, process, s.knobs)) {
      why = Forbidden::NoMemory;
      continue;
    }
    const double far = distance_cost(node, process, s.knobs, s.home) + d.move_cost;
    const double cost = cost_of_adding(node, process, s.knobs) * stale + far;
    if (cost < d.best_cost) {
      d.next_best = d.best;
      d.next_best_cost = d.best_cost;
      d.best = node.node;
      d.best_cost = cost;
    } else if (cost < d.next_best_cost) {
      d.next_best = node.node;
      d.next_best_cost = cost;
    }
  }
  d.forbidden = d.best == kNoNode ? why : Forbidden::Nothing;
}

Decision start(const View& view, const Process& process, const Knobs& knobs) {
  Decision d;
  d.process = process.id;
  d.from = d.to = view.own.node;
  d.stay_cost = cost_of_keeping(view.own, process, knobs) +
                distance_cost(view.own, process, knobs, home_of(view, process));
  d.move_cost = move_cost(process, knobs);
  return d;
}

/// A named node, or the best one, whatever it costs.
void obey(const View& view, const Process& process, const Command& command, const Knobs& knobs, Decision& d) {
  d.reason = command.reason;
  if (command.target != kNoNode) {
    const NodeLoad* const target = find(view, command.target);
    d.best = command.target;
    d.forbidden = target == nullptr                                       ? Forbidden::NoNode
                  : view.now_s - target->measured_s > knobs.stale_after_s ? Forbidden::Stale
                                                                          : Forbidden::Nothing;
    // A person's order opens any door but a node that is being emptied; home takes its own back always.
    if (target != nullptr && command.target != process.home &&
        (target->orders & (kDrain | kExpel | kBlock)) != 0)
      d.forbidden = Forbidden::Blocked;
    if (target != nullptr) d.best_cost = cost_of_adding(*target, process, knobs) + d.move_cost;
    if (d.forbidden == Forbidden::Nothing) d.to = command.target;
    return;
  }
  Process free = process;
  if (process.home_only) {
    free.mask_mode = MaskMode::Allow;
    free.mask = {};
  }
  const Search s(view, process, knobs);
  search(s, free, true, d);
  if (d.best == kNoNode) search(s, free, false, d);
  // Nobody will have it: home must (it cannot refuse its own), even if nothing fresh is known of it.
  if (d.best == kNoNode && process.home != view.own.node) d.best = process.home;
  if (d.best != kNoNode) {
    d.to = d.best;
    d.forbidden = Forbidden::Nothing;
  }
}

Decision judge(const View& view, const Process& process, Policy policy, const Knobs& knobs) {
  Decision d = start(view, process, knobs);
  const Command command = command_for(view, process, knobs);
  if (command.reason != Reason::Stay) {
    obey(view, process, command, knobs, d);
    return d;
  }
  search({view, process, knobs}, process, true, d);
  if (d.best == kNoNode) return d;
  if (const Forbidden kept = may_leave(view, process, d.best, knobs); kept != Forbidden::Nothing) {
    d.forbidden = kept;
  } else if (process.home_only) {
    d.forbidden = Forbidden::Locked;
  } else if (policy != Policy::Mosix) {
    d.forbidden = Forbidden::Policy;
  } else if (const double gain = d.stay_cost - d.best_cost;
             gain <= knobs.hysteresis * d.stay_cost ||
             gain < knobs.min_gain_stretch * urgency(process.cpu_used_s, knobs) * process.cpu_use) {
    d.forbidden = Forbidden::Hysteresis;
  } else {
    d.to = d.best;
    d.reason = Reason::LowerCost;
  }
  return d;
}

/// The process whose going ends the shortage at the least transfer: the smallest that suffices, else the
/// largest.
const Process* memory_victim(const View& view, const Knobs& knobs) {
  const double excess = used_mib(view.own) - knobs.memory_high * view.own.total_mib;
  const Process* enough = nullptr;
  const Process* largest = nullptr;
  for (const Process& p : view.processes) {
    const Forbidden kept = may_leave(view, p, kNoNode, knobs);
    // A full node pages at once: residency and age, which only damp, do not count.
    if (kept != Forbidden::Nothing && kept != Forbidden::Residency && kept != Forbidden::TooYoung) continue;
    if (p.home_only || p.working_set_mib <= 0) continue;
    Decision d;
    search({view, p, knobs}, p, true, d);
    if (d.best == kNoNode) continue;
    if (p.working_set_mib >= excess && (enough == nullptr || p.working_set_mib < enough->working_set_mib))
      enough = &p;
    if (largest == nullptr || p.working_set_mib > largest->working_set_mib) largest = &p;
  }
  return enough != nullptr ? enough : largest;
}

/// What any process of one `cpu_use` must pay at least elsewhere for the CPU's part: the least of fixed +
/// weight x per_weight over the nodes.
class Bound {
 public:
  void look(const View& view, double cpu_use, const Knobs& knobs) {
    if (view.others.size() > few_.size()) many_.resize(view.others.size());
    nodes_ = view.others.size() > few_.size() ? std::span(many_) : std::span(few_).first(view.others.size());
    for (std::size_t i = 0; i < nodes_.size(); ++i) {
      const NodeLoad& node = view.others[i];
      const double after = stretch(node, double{node.run_queue} + cpu_use);
      const double stale = staleness(node, view.now_s, knobs);
      nodes_[i] = {node.urgency * (after - stretch(node, node.run_queue)) * stale, after * stale};
    }
  }
  double at_least(double weight) const {
    double least = kInfinite;
    for (const Node& n : nodes_) least = std::min(least, n.fixed + weight * n.per_weight);
    return least / kRoundingUp;
  }

 private:
  struct Node {
    double fixed, per_weight;
  };
  // What gossip knows fits in here: memory from the heap, each second on each node, would cost more than the
  // sum.
  std::array<Node, 32> few_;
  std::vector<Node> many_;
  std::span<Node> nodes_;
};

/// The moves of one call, and the view that follows them, so that the second process does not chase the first
/// one's place.
class Round {
 public:
  Round(const View& view, const Knobs& knobs) : view_(view), knobs_(knobs) {
    room_ = knobs.max_out > view.moves_in_flight ? knobs.max_out - view.moves_in_flight : 0;
  }
  const View& view() const { return view_; }
  bool full() const { return moves_.size() >= room_; }
  bool taken(ProcessId id) const {
    return std::any_of(moves_.begin(), moves_.end(), [&](const Decision& d) { return d.process == id; });
  }
  void add(const Decision& d, const Process& process) {
    // Most rounds move nothing and so copy nothing.
    if (moves_.empty()) {
      others_.assign(view_.others.begin(), view_.others.end());
      view_.others = others_;
    }
    moves_.push_back(d);
    view_.own = with(view_.own, process, -1, knobs_);
    for (NodeLoad& other : others_)
      if (other.node == d.to) other = with(other, process, 1, knobs_);
  }
  std::vector<Decision> take() { return std::move(moves_); }

 private:
  View view_;
  std::vector<NodeLoad> others_;
  const Knobs& knobs_;
  std::size_t room_ = 0;
  std::vector<Decision> moves_;
};

void obey_people(Round& round, const Knobs& knobs) {
  for (const Process& p : round.view().processes) {
    if (round.full()) return;
    const Command command = command_for(round.view(), p, knobs);
    if (command.reason == Reason::Stay) continue;
    Decision d = start(round.view(), p, knobs);
    obey(round.view(), p, command, knobs, d);
    if (d.moves()) round.add(d, p);
  }
}

void usher(Round& round, const Knobs& knobs) {
  if (round.full() || !short_of_memory(round.view().own, knobs)) return;
  const Process* const victim = memory_victim(round.view(), knobs);
  if (victim == nullptr || round.taken(victim->id)) return;
  Decision d = start(round.view(), *victim, knobs);
  search({round.view(), *victim, knobs}, *victim, true, d);
  d.reason = Reason::Memory;
  d.to = d.best;
  round.add(d, *victim);
}

void balance(Round& round, const Knobs& knobs) {
  Bound bound;
  double bound_for = -1;
  double now = 0;
  while (!round.full()) {
    Decision best;
    const Process* chosen = nullptr;
    for (const Process& p : round.view().processes) {
      if (round.taken(p.id) || may_leave(round.view(), p, p.home, knobs) != Forbidden::Nothing) continue;
      if (bound_for < 0 || p.cpu_use < bound_for) {
        if (bound_for < 0) now = cost_now(round.view().own, knobs);
        bound.look(round.view(), p.cpu_use, knobs);
        bound_for = p.cpu_use;
      }
      // Most nodes, most of the time, have nowhere better: one sum says so.  Distance may only make staying
      // dearer.
      const double weight = urgency(p.cpu_used_s, knobs) * p.cpu_use;
      const double stay = cost_of_keeping(round.view().own, now, p, knobs) +
                          distance_cost(round.view().own, p, knobs, home_of(round.view(), p));
      if (bound.at_least(weight) + move_cost(p, knobs) >= stay * (1 - knobs.hysteresis)) continue;
      const Decision d = judge(round.view(), p, Policy::Mosix, knobs);
      if (!d.moves()) continue;
      if (chosen == nullptr || d.stay_cost - d.best_cost > best.stay_cost - best.best_cost) {
        best = d;
        chosen = &p;
      }
    }
    if (chosen == nullptr) return;
    round.add(best, *chosen);
    bound_for = -1;
  }
}

}  // namespace

std::vector<Decision> decide(const View& view, Policy policy, const Knobs& knobs) {
  if (view.processes.empty() || knobs.max_out <= view.moves_in_flight) return {};
  Round round(view, knobs);
  obey_people(round, knobs);
  if (policy == Policy::Mosix) {
    usher(round, knobs);
    balance(round, knobs);
  }
  return round.take();
}

Decision explain(const View& view, const Process& process, Policy policy, const Knobs& knobs) {
  Decision d = judge(view, process, policy, knobs);
  if (d.moves() && knobs.max_out <= view.moves_in_flight) {
    d.to = d.from;
    d.forbidden = Forbidden::InFlight;
  }
  return d;
}

Decision place(const View& view, const Process& process, Policy policy, const Knobs& knobs, Random& random,
               std::uint64_t& turn) {
  Decision d;
  d.process = process.id;
  d.from = d.to = view.own.node;
  d.reason = Reason::Placed;
  const bool may_run_here = may_enter(view.own, process, view.now_s, knobs) == Forbidden::Nothing;
  d.stay_cost = may_run_here ? cost_of_adding(view.own, process, knobs) +
                                   distance_cost(view.own, process, knobs, home_of(view, process))
                             : kInfinite;
  if (process.run_on != kNoNode || process.home_only) {
    d.reason = process.home_only ? Reason::HomeOnly : Reason::RunOn;
    d.to = process.home_only ? process.home : process.run_on;
    return d;
  }
  const bool kept = process.locked || process.cannot_move || (view.own.orders & kStay) != 0 ||
                    (process.home == view.own.node && (view.own.orders & (kLocalStay | kBring)) != 0);
  if (kept && (view.own.orders & kDrain) == 0) {
    d.forbidden = process.locked        ? Forbidden::Locked
                  : process.cannot_move ? Forbidden::CannotMove
                                        : Forbidden::NodeStays;
    return d;
  }
  if (policy == Policy::Static) return d;
  if (policy == Policy::RoundRobin || policy == Policy::Random) {
    std::vector<NodeId> open;
    if (may_run_here) open.push_back(view.own.node);
    for (const NodeLoad& node : view.others)
      if (may_enter(node, process, view.now_s, knobs) == Forbidden::Nothing) open.push_back(node.node);
    if (open.empty()) return d;
    std::sort(open.begin(), open.end());
    d.to = policy == Policy::Random ? open[random.below(static_cast<std::uint32_t>(open.size()))]
                                    : open[turn++ % open.size()];
    return d;
  }
  search({view, process, knobs}, process, true, d);
  if (d.best == kNoNode && !may_run_here) search({view, process, knobs}, process, false, d);
  const bool better = d.best != kNoNode && d.best_cost < d.stay_cost;
  if (better) d.to = d.best;
  if (!better && d.best != kNoNode) d.forbidden = Forbidden::Hysteresis;
  return d;
}

}  // namespace hpcvmm::balancer
