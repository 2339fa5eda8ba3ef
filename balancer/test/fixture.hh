// Small clusters for tests.
#pragma once

#include <limits>
#include <vector>

#include "balancer/cost.hh"
#include "balancer/decide.hh"

namespace hpcvmm::balancer::test {

inline NodeLoad node(NodeId id, float run_queue = 0, float speed = 1) {
  NodeLoad n;
  n.node = id;
  n.speed = speed;
  n.run_queue = run_queue;
  n.urgency = run_queue * 0.1F;  // processes that have run for 8 s
  n.total_mib = n.free_mib = 4096;
  return n;
}

/// A process of 8 s CPU time that is at home on `home`.
inline Process process(ProcessId id, NodeId home = 1) {
  Process p;
  p.id = id;
  p.home = home;
  p.cpu_used_s = p.resident_s = 8;
  p.working_set_mib = 64;
  return p;
}

/// A node's view, whose spans stay valid.
struct Scene {
  NodeLoad own;
  std::vector<NodeLoad> others;
  std::vector<Process> processes;
  Knobs knobs;
  Policy policy = Policy::Mosix;
  std::uint32_t in_flight = 0;

  /// `count` processes of node 1 on node 1, and idle nodes 2...
  static Scene crowded(std::uint32_t count, std::uint32_t idle) {
    Scene s;
    s.own = node(1, static_cast<float>(count));
    for (std::uint32_t i = 0; i < idle; ++i) s.others.push_back(node(i + 2));
    for (std::uint32_t i = 0; i < count; ++i) s.processes.push_back(process(i + 1));
    return s;
  }
  View view() const {
    View v;
    v.own = own;
    v.others = others;
    v.processes = processes;
    v.moves_in_flight = in_flight;
    return v;
  }
  std::vector<Decision> moves() const { return decide(view(), policy, knobs); }
  Decision why(std::size_t i = 0) const { return explain(view(), processes[i], policy, knobs); }
};

}  // namespace hpcvmm::balancer::test
