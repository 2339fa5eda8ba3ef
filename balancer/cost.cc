#include "balancer/cost.hh"

#include <algorithm>
#include <cmath>

namespace hpcvmm::balancer {

namespace {

double weight(const Process& p, const Knobs& knobs) { return urgency(p.cpu_used_s, knobs) * p.cpu_use; }

struct State {
  double run_queue, urgency, used_mib;
};

State state_of(const NodeLoad& node) {
  return {node.run_queue, node.urgency, double{node.total_mib} - double{node.free_mib}};
}

State changed(State s, const Process& p, double sign, const Knobs& knobs) {
  s.run_queue = std::max(0.0, s.run_queue + sign * p.cpu_use);
  s.urgency = std::max(0.0, s.urgency + sign * weight(p, knobs));
  s.used_mib = std::max(0.0, s.used_mib + sign * p.working_set_mib);
  return s;
}

double node_cost(const NodeLoad& node, const State& s, const Knobs& knobs) {
  const double cpu = s.urgency * stretch(node, s.run_queue) * thrash(node, s.used_mib, knobs);
  if (knobs.memory_weight <= 0) return cpu;
  // Beyond twice the memory the exponent says nothing new, and it must not overflow.
  const double share = std::min(2.0, s.used_mib / node.total_mib);
  return cpu + knobs.memory_weight * std::exp(knobs.memory_log_base * share);
}

/// What `load` more runnable threads cost those that run on `node`.
double cost_for_others(const NodeLoad& node, double load) {
  return node.urgency * (stretch(node, node.run_queue + load) - stretch(node, node.run_queue));
}

}  // namespace

double thrash(const NodeLoad& node, double used_mib, const Knobs& knobs) {
  const double share = used_mib / node.total_mib;
  if (share <= knobs.memory_high) return 1;
  if (share > 1) return knobs.thrash_factor;
  // Between high and full it grows with the square: the cache goes first, then pages that are needed.
  const double over = (share - knobs.memory_high) / (1 - knobs.memory_high);
  return 1 + (knobs.thrash_factor - 1) * over * over * 0.5;
}

double cost_of_adding(const NodeLoad& node, const Process& process, const Knobs& knobs) {
  const State now = state_of(node);
  return node_cost(node, changed(now, process, 1, knobs), knobs) - node_cost(node, now, knobs);
}

double cost_now(const NodeLoad& node, const Knobs& knobs) { return node_cost(node, state_of(node), knobs); }

double cost_of_keeping(const NodeLoad& node, double cost_now, const Process& process, const Knobs& knobs) {
  return cost_now - node_cost(node, changed(state_of(node), process, -1, knobs), knobs);
}

double cost_of_keeping(const NodeLoad& node, const Process& process, const Knobs& knobs) {
  return cost_of_keeping(node, cost_now(node, knobs), process, knobs);
}

double distance_cost(const NodeLoad& node, const Process& process, const Knobs& knobs, const NodeLoad* home) {
  if (node.node == process.home && process.partners.empty()) return 0;
  const double round_trip_s = process.round_trip_s > 0 ? process.round_trip_s : knobs.round_trip_s;
  double stretched = 0;  // seconds lost per second of running
  double others = 0;
  if (node.node != process.home && process.kind != Kind::CpuJob) {
    double calls = process.home_calls_ps;
    if (process.kind == Kind::IoJob) calls = std::max(calls, knobs.io_job_calls_ps);
    stretched += calls * round_trip_s;
    const double load = calls * knobs.call_cpu_s * process.cpu_use;
    others = cost_for_others(node, load) + (home != nullptr ? cost_for_others(*home, load) : 0);
    if (knobs.bandwidth_mib_ps > 0) {
      constexpr double kLeastShare = 0.1;  // everybody gets some
      const double busy = node.network_bytes_ps / 1048576.0;
      stretched += knobs.io_weight * process.home_mib_ps /
                   std::max(knobs.bandwidth_mib_ps - busy, kLeastShare * knobs.bandwidth_mib_ps);
    }
  }
  for (const Partner& partner : process.partners)
    if (partner.node != node.node) stretched += knobs.partner_weight * partner.messages_ps * round_trip_s;
  return stretched * weight(process, knobs) + others;
}

double move_cost(const Process& process, const Knobs& knobs) {
  if (knobs.bandwidth_mib_ps <= 0) return 0;
  const double seconds = knobs.freeze_s + process.working_set_mib / knobs.bandwidth_mib_ps;
  // What has used t seconds is expected to use about t more.
  const double remaining = std::max(double{process.cpu_used_s}, 0.5);
  return weight(process, knobs) * seconds / remaining;
}

NodeLoad with(const NodeLoad& node, const Process& process, int sign, const Knobs& knobs) {
  const State s = changed(state_of(node), process, sign, knobs);
  NodeLoad after = node;
  after.run_queue = static_cast<float>(s.run_queue);
  after.urgency = static_cast<float>(s.urgency);
  after.free_mib = static_cast<float>(double{node.total_mib} - s.used_mib);
  return after;
}

}  // namespace hpcvmm::balancer
