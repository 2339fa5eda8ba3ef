// Some of the nodes, simulated together by one thread at a time.
//
// Nodes act on each other by letters only, and each has its own random numbers: what happens at a node does
// not depend on which partition it is in, nor on what the other nodes of its partition do in the same window.
#pragma once

#include <cstdint>
#include <vector>

#include "balancer/sim/events.hh"
#include "balancer/sim/node.hh"
#include "balancer/sim/post.hh"
#include "balancer/sim/scale.hh"
#include "balancer/sim/workload.hh"

namespace hpcvmm::balancer::sim {

/// What all partitions go by and none changes.
struct Setting {
  explicit Setting(const ScaleOptions& options);
  NodeLoad hardware(std::uint32_t node) const;

  const ScaleOptions& o;
  double fastest = 0, total_speed = 0;
  std::vector<NodeLoad> seeds;  ///< the seed list every node starts with
  Workload workload;
};

/// What is counted.  In whole numbers: sums of them do not depend on the order.
struct Tally {
  static constexpr double kSlowdownUnit = 0x1p-24;
  std::uint64_t jobs = 0, finished = 0, lost = 0, placements = 0, migrations = 0, refused = 0;
  std::uint64_t moved_bytes = 0, gossip_messages = 0;
  std::uint64_t slowdown_sum = 0;  ///< in kSlowdownUnit
  std::int64_t age_sum_ns = 0;
  std::uint64_t age_count = 0;
  std::uint32_t most_moves = 0;
  Ns last_end = 0;
  std::vector<float> slowdowns;
  void add(const Tally& other);
};

class alignas(64) Partition {
 public:
  /// Simulates the nodes index, index + partitions, ...: each partition then has its share of every window.
  Partition(const Setting& setting, Post& post, std::uint32_t index);

  /// Everything before `until`, which is not more than a latency after the least next() of all partitions.
  void run(Ns until);
  /// When something may happen next, letters that it has sent included.
  Ns next() const;
  /// Jobs that began here less those that ended here, and nodes with arrivals to come.
  std::int64_t open() const { return open_; }
  std::uint32_t arriving() const { return arriving_; }
  const Tally& tally() const { return tally_; }
  const std::vector<Node>& nodes() const { return nodes_; }

 private:
  struct Arrived {
    Letter letter;
    const Bag* bag;
    bool operator<(const Arrived& o) const { return letter < o.letter; }
  };

  const Knobs& knobs() const { return s_.o.knobs; }
  std::uint32_t place_of(NodeId node) const { return (node - 1) / post_.partitions(); }
  Node& node(NodeId node) { return nodes_[place_of(node)]; }
  void push(Ns at, What what, std::uint32_t i, std::uint64_t id = 0) {
    if (at != kNever) events_.push({at, what, i, id});
  }
  void wake(std::uint32_t i) { idle_until_[i] = 0; }
  void expect(std::uint32_t i, const Workload::Arrival& arrival);

  void collect();
  void fetch(Ns until);
  void tick_until(Ns until);
  void next_tick();
  void handle(const Event& e);
  void read(const Letter& letter, const Bag& bag);
  void undelivered(const Letter& letter);
  Bag& bag_for(NodeId to) { return post_.to_fill(index_, (to - 1) % post_.partitions()); }
  void send(Bag& bag, Node& from, NodeId to, Kind kind, std::size_t content = 0, ProcessId job = 0);
  void send_gossip(Node& from, NodeId to, Kind kind, const NodeLoad& own);
  void send_offer(Node& from, NodeId to, Kind kind, const Offer& offer);

  void schedule_end(std::uint32_t i);
  void enter(std::uint32_t i, const Job& job);
  Job leave(std::uint32_t i, ProcessId job);
  void lose(std::size_t jobs);
  void end(std::uint32_t i);
  void arrive(std::uint32_t i, const Workload::Arrival& arrival);
  void crash(std::uint32_t i);
  void home_died(NodeId home);
  void tick(std::uint32_t i);
  void gossip(Node& n, const NodeLoad& own);
  void sample_age(Node& n);
  void start_moves(Node& n, const NodeLoad& own);
  double first_may_leave(const Node& n) const;
  View view_of(const Node& n, const NodeLoad& own);
  void answer_ask(Node& n, const Letter& letter, const Offer& offer);
  void granted(Node& n, const Letter& letter);
  void not_granted(Node& n, const Letter& letter);
  void land(std::uint32_t i, const Letter& letter, const Offer& offer);

  const Setting& s_;
  Post& post_;
  const std::uint32_t index_;
  const Ns latency_, interval_;
  const std::size_t enough_;  ///< others that a node can know
  std::vector<Node> nodes_;
  /// Until when a node has nothing to do if nothing comes or goes: most have not, most of the time.
  std::vector<double> idle_until_;
  EventQueue events_;
  std::vector<Arrived> inbox_;       ///< of this window, in order
  std::vector<std::uint32_t> soon_;  ///< nodes with something to do in this window
  Ns earliest_sent_ = kNever;
  Ns now_ = 0;
  double now_s_ = 0;
  std::uint32_t ticking_ = 0;      ///< the next node to tick
  Ns round_at_ = 0, tick_at_ = 0;  ///< when the round of ticks began, and when the next tick is
  std::vector<Ns> heard_death_;    ///< of a node, the last; only with churn
  std::int64_t open_ = 0;
  std::uint32_t arriving_ = 0;
  Tally tally_;
  std::vector<Process> processes_;
  std::vector<NodeLoad> everyone_;
};

}  // namespace hpcvmm::balancer::sim
