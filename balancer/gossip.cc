#include "balancer/gossip.hh"

#include <algorithm>
#include <cmath>

namespace hpcvmm::balancer {

void Gossip::merge_entry(const NodeLoad& entry) {
  // The numbers lie apart from the entries: this scan is what a node with many peers spends most time on.
  for (std::uint32_t i = 0; i < count_; ++i) {
    if (ids_[i] != entry.node) continue;
    NodeLoad& known = known_[i];
    const bool newer_life = entry.epoch > known.epoch;
    if (newer_life || (entry.epoch == known.epoch && entry.measured_s > known.measured_s)) known = entry;
    return;
  }
  std::uint32_t at = count_;
  if (count_ < kKnown) {
    ++count_;
    news_ = true;
  } else {
    at = 0;
    for (std::uint32_t i = 1; i < count_; ++i)
      if (known_[i].measured_s < known_[at].measured_s) at = i;
    if (entry.measured_s <= known_[at].measured_s) return;
  }
  known_[at] = entry;
  ids_[at] = entry.node;
}

void Gossip::remove(std::uint32_t at) {
  --count_;
  known_[at] = known_[count_];
  ids_[at] = ids_[count_];
}

void Gossip::merge(const Message& message, NodeId self, double now_s) {
  const std::size_t count = std::min<std::size_t>(message.count, kInMessage);
  for (std::size_t i = 0; i < count; ++i) {
    NodeLoad entry = message.entries[i];
    // An age below zero, or none at all, would make a lie the freshest news for ever.
    if (entry.node == self || entry.node == kNoNode || !(entry.measured_s >= 0)) continue;
    entry.measured_s = now_s - entry.measured_s;
    merge_entry(entry);
  }
}

Gossip::Message Gossip::message(const NodeLoad& own, double now_s, Random& random) const {
  Message m;
  m.entries[0] = own;
  m.entries[0].measured_s = 0;
  m.count = 1;
  if (count_ == 0) return m;
  // The freshest news travel on, so that what a node knows is young wherever it came from; a random one keeps
  // the tables mixed.
  std::array<std::uint64_t, kKnown> order;  // age in microseconds, then index
  for (std::uint32_t i = 0; i < count_; ++i)
    order[i] = static_cast<std::uint64_t>(std::max(0.0, now_s - known_[i].measured_s) * 1e6) * kKnown + i;
  const std::uint32_t most = std::min<std::uint32_t>(count_, kInMessage - 1);
  std::swap(order[0], order[random.below(count_)]);
  std::nth_element(order.begin() + 1, order.begin() + most - (most == count_ ? 1 : 0),
                   order.begin() + count_);
  for (std::uint32_t i = 0; i < most; ++i) {
    NodeLoad& entry = m.entries[m.count++];
    entry = known_[order[i] % kKnown];
    entry.measured_s = now_s - entry.measured_s;
  }
  return m;
}

bool Gossip::due(const NodeLoad& own, double now_s, const GossipKnobs& knobs) const {
  if ((own.orders & kQuiet) != 0) return false;
  const double since = now_s - sent_at_s_;
  // Half an interval of play: ticks do not come to the microsecond.
  if (since >= knobs.idle_interval_s - knobs.interval_s / 2) return true;
  if (since < knobs.interval_s / 2) return false;
  return news_ || messages_ < knobs.young ||
         std::abs(own.run_queue - sent_.run_queue) > knobs.change * own.cpus ||
         std::abs(own.free_mib - sent_.free_mib) > knobs.change * own.total_mib ||
         own.orders != sent_.orders || own.owner_active != sent_.owner_active ||
         std::abs(own.paging - sent_.paging) > knobs.change;
}

void Gossip::sent(const NodeLoad& own, double now_s) {
  news_ = false;
  ++messages_;
  sent_ = own;
  sent_at_s_ = now_s;
}

NodeId Gossip::peer(Random& random) const {
  return count_ == 0 ? kNoNode : known_[random.below(count_)].node;
}

void Gossip::forget(double now_s, const GossipKnobs& knobs) {
  for (std::uint32_t i = 0; i < count_;) {
    if (now_s - known_[i].measured_s <= knobs.forget_s) {
      ++i;
    } else {
      remove(i);
    }
  }
}

void Gossip::forget_node(NodeId node) {
  for (std::uint32_t i = 0; i < count_; ++i) {
    if (known_[i].node != node) continue;
    remove(i);
    return;
  }
}

}  // namespace hpcvmm::balancer
