#include "balancer/sim/scale.hh"

#include <sched.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <thread>

#include "balancer/sim/meeting.hh"
#include "balancer/sim/partition.hh"

namespace hpcvmm::balancer::sim {

namespace {

// With fewer nodes to a thread, a window is too short to be worth a meeting.
constexpr std::uint32_t kNodesPerThread = 5000;
// Whoever is done early takes another of them.
constexpr std::uint32_t kPartitionsPerThread = 4;

unsigned usable_cpus() {
  cpu_set_t set;
  return sched_getaffinity(0, sizeof set, &set) == 0 ? static_cast<unsigned>(CPU_COUNT(&set)) : 1;
}

unsigned threads_for(const ScaleOptions& o) {
  // The oracle looks at all nodes at one moment.
  if (o.oracle) return 1;
  const unsigned wanted = o.threads != 0 ? o.threads : std::min(usable_cpus(), o.nodes / kNodesPerThread);
  return std::clamp<unsigned>(wanted, 1, o.nodes);
}

/// All partitions, window by window.  A window begins when something happens and lasts as long as a letter
/// takes: what partitions send each other in it arrives after its end, so they need not wait for each other.
class Simulation {
 public:
  Simulation(const ScaleOptions& o, unsigned threads)
      :  // Who shares its CPU with the others only keeps them waiting by looking.
        meeting_(threads, threads > usable_cpus() ? 0 : kLooks),
        threads_(threads),
        o_(o),
        setting_(o),
        post_(threads == 1 ? 1 : std::min(o.nodes, threads * kPartitionsPerThread)) {
    partitions_.reserve(post_.partitions());
    for (std::uint32_t p = 0; p < post_.partitions(); ++p) partitions_.emplace_back(setting_, post_, p);
    claimed_ = std::vector<Claim>(partitions_.size());
    next_window();
  }
  ScaleResult run();

 private:
  static constexpr unsigned kLooks = 100;

  /// A window that a partition has been run in, or is.
  struct alignas(64) Claim {
    std::atomic<std::uint64_t> window{0};
  };

  void work(unsigned thread);
  void next_window();
  Ns converged_at() const;

  Meeting meeting_;
  const unsigned threads_;
  const ScaleOptions& o_;
  const Setting setting_;
  Post post_;
  std::vector<Partition> partitions_;
  std::vector<Claim> claimed_;
  std::uint64_t window_ = 0;  ///< counts them
  Ns until_ = 0;              ///< this window's end
  bool done_ = false;
};

void Simulation::next_window() {
  post_.turn();
  ++window_;
  Ns next = kNever;
  std::int64_t open = 0;
  std::uint64_t arriving = 0;
  for (const Partition& p : partitions_) {
    next = std::min(next, p.next());
    open += p.open();
    arriving += p.arriving();
  }
  const Ns end = o_.cut ? later(to_ns(o_.length_s), 1) : kNever;
  done_ = (open == 0 && arriving == 0) || next >= end;
  if (!done_) until_ = std::min(end, later(next, to_ns(o_.latency_s)));
}

void Simulation::work(unsigned thread) {
  const std::size_t all = partitions_.size();
  // Its own first, which lie in its cache, then what others have not begun.
  const std::size_t first = thread * all / threads_;
  while (!done_) {
    for (std::size_t k = 0; k < all; ++k) {
      const std::size_t p = (first + k) % all;
      std::atomic<std::uint64_t>& claim = claimed_[p].window;
      if (claim.load(std::memory_order_relaxed) == window_) continue;
      if (claim.exchange(window_, std::memory_order_relaxed) != window_) partitions_[p].run(until_);
    }
    meeting_.meet([this] { next_window(); });
  }
}

/// When 99 % of the nodes knew as many others as they can hold.
Ns Simulation::converged_at() const {
  std::vector<Ns> times;
  for (const Partition& p : partitions_)
    for (const Node& n : p.nodes()) times.push_back(n.knows_all_at);
  const auto last = times.begin() + static_cast<std::ptrdiff_t>(std::ceil(0.99 * o_.nodes)) - 1;
  std::nth_element(times.begin(), last, times.end());
  return *last;
}

ScaleResult Simulation::run() {
  {
    std::vector<std::jthread> others;
    for (unsigned t = 1; t < threads_; ++t) others.emplace_back([this, t] { work(t); });
    work(0);
  }
  Tally all;
  for (const Partition& p : partitions_) all.add(p.tally());
  ScaleResult r;
  r.nodes = o_.nodes;
  r.jobs = all.jobs;
  r.finished = all.finished;
  r.lost = all.lost;
  r.makespan_s = to_s(all.last_end);
  r.placements = all.placements;
  r.migrations = all.migrations;
  r.refused = all.refused;
  r.most_moves = all.most_moves;
  r.moved_mib = static_cast<double>(all.moved_bytes) / 1048576;
  r.gossip_messages = all.gossip_messages;
  r.gossip_bytes = all.gossip_messages * Gossip::kMessageBytes;
  r.gossip_bytes_per_node_s = static_cast<double>(r.gossip_bytes) / std::max(1.0, to_s(until_)) / o_.nodes;
  if (const Ns at = converged_at(); at != kNever) r.converged_s = to_s(at);
  r.mean_age_s = static_cast<double>(all.age_sum_ns) * 1e-9 /
                 static_cast<double>(std::max<std::uint64_t>(1, all.age_count));
  std::vector<float>& slowdowns = all.slowdowns;
  if (slowdowns.empty()) return r;
  r.mean_slowdown =
      static_cast<double>(all.slowdown_sum) * Tally::kSlowdownUnit / static_cast<double>(slowdowns.size());
  const auto p99 = slowdowns.begin() + static_cast<std::ptrdiff_t>(slowdowns.size() * 99 / 100);
  std::nth_element(slowdowns.begin(), p99, slowdowns.end());
  r.p99_slowdown = *p99;
  return r;
}

}  // namespace

ScaleResult run_scale(const ScaleOptions& options) { return Simulation(options, threads_for(options)).run(); }

}  // namespace hpcvmm::balancer::sim
