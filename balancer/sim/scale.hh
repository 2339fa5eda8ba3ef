// A cluster of 2 to 100 000 nodes under a discrete-event clock, running the code of balancer/ unchanged:
// gossip, placement, decision, reservation.  What is simulated and what is simplified: README.md.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "balancer/gossip.hh"
#include "balancer/types.hh"
#include "hpcvmm/base/result.hh"

namespace hpcvmm::balancer::sim {

/// One program of a workload.
struct TraceJob {
  double arrival_s = 0;
  NodeId home = 1;
  double work_s = 1;  ///< on the reference CPU
  float memory_mib = 16;
  float home_calls_ps = 0;
};

/// Reads a recorded trace: one job a line, `arrival_s home work_s memory_mib [home_calls_ps]`, blanks
/// between, `#` begins a comment; homes count from 1 and wrap at the number of nodes. Errors: EINVAL a line
/// that is not one; `line` is its number (0: none).
Result<std::vector<TraceJob>> parse_trace(std::string_view text, std::uint32_t& line);

struct ScaleOptions {
  std::uint32_t nodes = 12;
  double length_s = 3600;   ///< arrivals end then; the run ends when the last job has, or
  bool cut = false;         ///< at length_s: what runs then is not counted
  double load = 0.6;        ///< offered work / total speed
  double mean_work_s = 60;  ///< of a job, reference CPU; bounded Pareto, see README.md
  double skew = 0.5;        ///< share of the jobs that start on a tenth of the nodes
  double mean_memory_mib = 200;
  bool heterogeneous = true;  ///< 1 to 8 CPUs, speeds 0.5 to 2; else 4 CPUs of speed 1
  double talkers = 0;         ///< share of the jobs that talk to a partner over a pipe at home,
  double talk_ps = 2000;      ///< so many messages per second of running, each a call home
  double churn_per_hour = 0;  ///< crashes per node and hour; a crashed node is back after a minute
  double latency_s = 0.001;   ///< of every message between nodes; > 0
  unsigned threads = 1;       ///< 0: as many as pay, one per usable CPU at most; the result is the same
  Policy policy = Policy::Mosix;
  bool oracle = false;  ///< every node knows all others exactly; up to kOracleNodes
  std::uint64_t seed = 1;
  Knobs knobs;
  GossipKnobs gossip;
  std::vector<TraceJob> trace;  ///< instead of the synthetic workload
};
inline constexpr std::uint32_t kOracleNodes = 2000;

struct ScaleResult {
  std::uint32_t nodes = 0;
  std::uint64_t jobs = 0, finished = 0, lost = 0;  ///< lost: died with a node
  double mean_slowdown = 0, p99_slowdown = 0;      ///< against running alone on the fastest CPU
  double makespan_s = 0;
  std::uint64_t placements = 0;  ///< started away from home
  std::uint64_t migrations = 0, refused = 0;
  std::uint32_t most_moves = 0;  ///< of one process
  double moved_mib = 0;
  std::uint64_t gossip_messages = 0, gossip_bytes = 0;
  double gossip_bytes_per_node_s = 0;
  double converged_s = -1;  ///< 99 % of nodes know as many others as they can hold; -1: never
  double mean_age_s = 0;    ///< of what nodes know of each other, mean over the run
  bool operator==(const ScaleResult&) const = default;
};

/// Runs it.  Pure but for memory: the same options give the same result, on any number of threads.
ScaleResult run_scale(const ScaleOptions& options);

}  // namespace hpcvmm::balancer::sim
