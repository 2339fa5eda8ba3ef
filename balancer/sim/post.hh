// What passes between simulated nodes.  Every letter takes the same time, ScaleOptions::latency_s, and a
// window is no longer than that: what is written in one window is read in the next, by whoever simulates the
// receiver.
#pragma once

#include <compare>
#include <cstdint>
#include <vector>

#include "balancer/gossip.hh"
#include "balancer/sim/clock.hh"
#include "balancer/sim/node.hh"
#include "balancer/types.hh"

namespace hpcvmm::balancer::sim {

enum class Kind : std::uint8_t {
  News,      ///< gossip, to be answered
  Answer,    ///< gossip
  Ask,       ///< for room for a job
  Granted,   ///< there is
  Refused,   ///< there is none, and how it is there
  Nobody,    ///< the node is down
  Land,      ///< the job itself
  HomeDied,  ///< to a whole partition: what has its home at the sender dies
};

struct Letter {
  Ns at = 0;  ///< when it arrives
  NodeId from = kNoNode;
  std::uint32_t number = 0;  ///< among the sender's: arrivals at the same time have an order
  NodeId to = kNoNode;
  Kind kind = Kind::News;
  std::uint32_t content = 0;  ///< place in the bag's gossip, offers or loads
  ProcessId job = 0;
  bool operator<(const Letter& o) const {
    if (at != o.at) return at < o.at;
    return from != o.from ? from < o.from : number < o.number;
  }
};

/// A job offered or sent.
struct Offer {
  Job job;
  double stay_cost = 0;
  double cpu_used_s = 0, resident_s = 0;
};

/// Letters of one partition to another, of one window.
struct Bag {
  std::vector<Letter> letters;
  std::vector<Gossip::Message> gossip;
  std::vector<Offer> offers;
  std::vector<NodeLoad> loads;
  void clear() {
    letters.clear();
    gossip.clear();
    offers.clear();
    loads.clear();
  }
};

/// All bags of this window, which the senders fill, and of the last one, which the receivers read.
/// Threads: within a window a sender's bags are its own; turn() between windows.
class Post {
 public:
  explicit Post(std::uint32_t partitions) : partitions_(partitions) {
    for (auto& bags : bags_) bags.resize(std::size_t{partitions} * partitions);
  }
  std::uint32_t partitions() const { return partitions_; }
  Bag& to_fill(std::uint32_t from, std::uint32_t to) { return bags_[filling_][at(from, to)]; }
  const Bag& to_read(std::uint32_t from, std::uint32_t to) const { return bags_[1 - filling_][at(from, to)]; }
  void turn() { filling_ = 1 - filling_; }

 private:
  struct alignas(64) Own : Bag {};
  std::size_t at(std::uint32_t from, std::uint32_t to) const { return std::size_t{from} * partitions_ + to; }
  std::uint32_t partitions_;
  unsigned filling_ = 0;
  std::vector<Own> bags_[2];
};

}  // namespace hpcvmm::balancer::sim
