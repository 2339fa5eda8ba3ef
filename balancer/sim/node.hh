// One simulated node: its jobs, which share its CPUs evenly, and what it knows, has promised and waits for.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "balancer/admit.hh"
#include "balancer/cost.hh"
#include "balancer/gossip.hh"
#include "balancer/random.hh"
#include "balancer/sim/clock.hh"
#include "balancer/types.hh"

namespace hpcvmm::balancer::sim {

/// A job, as it travels.
struct Job {
  ProcessId id = 0;
  NodeId home = kNoNode;
  float memory_mib = 0;
  float home_calls_ps = 0;
  std::uint32_t moves = 0;
  double arrival_s = 0;
  double work_s = 0;  ///< on the reference CPU
  double left_s = 0;  ///< of it, while the job is on no node
  Partner traffic;    ///< over pipes, which are at home
};

/// As the balancer sees it.  The process refers to `job`.
Process process_of(const Job& job, double cpu_used_s, double resident_s);

/// A job on a node.
struct Running {
  Job job;
  double end_v;  ///< the node's service clock at which it ends
  double drag;   ///< service it needs for a second of work: away, its calls home wait
  double came_s;
  bool asked = false;  ///< a move of it waits for the destination's answer
};

/// A job under way to another node.
struct Leaving {
  Job job;
  NodeId to;
};

/// All its threads share its CPUs evenly, so one clock of service per thread serves them all.  Threads: one
/// at a time.  Aligned, and what each look at it needs in front: a large cluster does not fit into a cache.
class alignas(64) Node {
 public:
  NodeLoad load;              ///< cpus, speed, memory, epoch; the rest is filled when asked
  std::uint32_t ends = 0;     ///< counts what has been said of the next end: only the last word holds
  std::uint32_t letters = 0;  ///< sent
  std::uint32_t in_flight = 0;
  bool up = true;
  double still_until_s = 0;  ///< none of its jobs may leave before
  Ns knows_all_at = kNever;  ///< it knew as many others as it can hold
  std::uint64_t turn = 0;
  ProcessId started = 0;
  Random random{0};
  std::vector<Job> waiting;  ///< new ones whose place has been asked and has not answered
  std::vector<Leaving> leaving;
  Reservations promises;

  const std::vector<Running>& jobs() const { return jobs_; }
  void enter(Job job, double now_s, const Knobs& knobs);
  /// Takes the job out, with the work it has left.
  Job leave(ProcessId id, double now_s, const Knobs& knobs);
  /// The job that ends first; there must be one.
  const Running& first_to_end() const;
  /// When that will be, if nothing comes or goes.
  double end_s(double now_s, const Knobs& knobs) const;
  /// Notes that a move of the job waits for an answer, or has got one.  False: it is not here any more.
  bool set_asked(ProcessId id, bool asked);
  Process process(const Running& r, double now_s) const;
  double used_mib() const { return used_mib_; }
  /// The load without promises, and with them.
  NodeLoad bare(double now_s, const Knobs& knobs);
  NodeLoad measured(double now_s, const Knobs& knobs);
  /// Forgets its jobs and what hangs on them.  Returns how many were lost.
  std::size_t crash();
  /// A new life at `now_s`, knowing `seeds` only.
  void boot(const std::vector<NodeLoad>& seeds, double now_s);

 private:
  void advance(double now_s, const Knobs& knobs);
  double rate(const Knobs& knobs) const {
    return 1 / (stretch(load, static_cast<double>(jobs_.size())) * thrash(load, used_mib_, knobs));
  }
  double served(const Running& r) const { return std::max(0.0, r.end_v - service_); }
  double left(const Running& r) const { return served(r) / r.drag; }

  std::vector<Running> jobs_;
  double service_ = 0, at_s_ = 0;  ///< service clock, and when it was right
  double used_mib_ = 0;

 public:
  Gossip gossip;  ///< the bulk of it
};

}  // namespace hpcvmm::balancer::sim
