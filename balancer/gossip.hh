// How nodes know of each other's load: bounded messages to random peers, merged by age.  A state machine
// without clock or socket: hpcd and the simulator give it time, randomness and messages.
//
// Each node keeps at most kKnown entries and sends at most kInMessage, so neither memory nor traffic per node
// grows with the cluster.  Peers are drawn from the entries themselves, which the exchange keeps mixing (as
// Newscast does), so that nobody needs the list of all nodes.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "balancer/random.hh"
#include "balancer/types.hh"

namespace hpcvmm::balancer {

/// Units: seconds, and shares of the load.
struct GossipKnobs {
  double interval_s = 1;       ///< a message is sent so often while the load changes
  double idle_interval_s = 4;  ///< and so often while it does not
  double change = 0.1;       ///< what counts as change: this share of a CPU's queue, of memory, or any order
  std::uint32_t young = 10;  ///< so many messages a new node sends whether anything changes or not
  double forget_s = 30;      ///< entries older than that are dropped: the node is gone
};

class Gossip {
 public:
  static constexpr std::size_t kKnown = 32;
  static constexpr std::size_t kInMessage = 8;
  /// On the wire: a header of 16 bytes, and of each node 48.
  static constexpr std::size_t kMessageBytes = 16 + kInMessage * 48;

  struct Message {
    std::uint32_t count = 0;
    bool answer =
        false;  ///< the receiver is to send its own message back: what is learnt per message doubles
    std::array<NodeLoad, kInMessage>
        entries;  ///< measured_s holds the *age* here: clocks differ between nodes
  };

  /// Adds what is known of a peer by other means: discovery, a seed list.
  void learn(const NodeLoad& node) { merge_entry(node, node.measured_s); }
  /// Takes a message in.  `self` is the receiver's number: what others say of it is not news.
  void merge(const Message& message, NodeId self, double now_s);
  /// The message to send now: the own load and the others it chooses.
  Message message(const NodeLoad& own, double now_s, Random& random) const;
  /// Whether to send now.  A quiet node never does.
  bool due(const NodeLoad& own, double now_s, const GossipKnobs& knobs) const;
  /// Until when due() says no as long as the load does not change and nobody tells of a new node.
  double silent_until_s(const GossipKnobs& knobs) const {
    return news_ || messages_ < knobs.young ? sent_at_s_
                                            : sent_at_s_ + knobs.idle_interval_s - knobs.interval_s / 2;
  }
  /// Whether a node was learnt of since the last message.
  bool news() const { return news_; }
  /// Notes what was sent.
  void sent(const NodeLoad& own, double now_s);
  /// A random known node; kNoNode if none is known.
  NodeId peer(Random& random) const;
  /// Drops what is too old, or a node known to be gone.
  void forget(double now_s, const GossipKnobs& knobs);
  void forget_node(NodeId node);
  /// All that is known, in no order.
  std::span<const NodeLoad> known() const { return {known_.data(), count_}; }

 private:
  /// An entry of somebody else's, measured at `measured_s` on the own clock.
  void merge_entry(const NodeLoad& entry, double measured_s);
  /// The slot of a node; kKnown: none.
  std::uint32_t slot_of(NodeId node) const;
  std::uint32_t rank_of(std::uint32_t slot) const;
  /// Moves what is at `rank` to where its age puts it.
  void settle(std::uint32_t rank, std::uint32_t slot, double measured_s);
  void remove(std::uint32_t rank);

  // What is looked through lies apart from the entries: a node with many peers spends most of its time there.
  alignas(16) std::array<NodeId, kKnown> ids_{};         ///< of a slot: known_[slot].node
  alignas(16) std::array<std::uint8_t, kKnown> rank_{};  ///< slots, the freshest first
  std::array<double, kKnown> times_;  ///< of a rank: known_[rank_[rank]].measured_s, falling
  std::array<NodeLoad, kKnown> known_;
  std::uint32_t count_ = 0;
  std::uint32_t messages_ = 0;  ///< sent; a young node sends its first ones without waiting for change
  bool news_ = false;           ///< a node was learnt of since the last message: a join spreads fast
  double sent_at_s_ = -1e9;
  NodeLoad sent_;
};

}  // namespace hpcvmm::balancer
