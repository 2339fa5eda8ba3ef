#include "balancer/gossip.hh"

#include <emmintrin.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

namespace hpcvmm::balancer {

static_assert(Gossip::kKnown == 32, "one bit of a mask per slot");

// Four comparisons of SSE2, which every x86-64 has, and one mask: no branch per entry.
std::uint32_t Gossip::slot_of(NodeId node) const {
  const __m128i wanted = _mm_set1_epi32(static_cast<int>(node));
  std::uint32_t mask = 0;
  for (std::uint32_t i = 0; i < kKnown; i += 4) {
    const __m128i four = _mm_load_si128(reinterpret_cast<const __m128i*>(&ids_[i]));
    const auto bits =
        static_cast<std::uint32_t>(_mm_movemask_ps(_mm_castsi128_ps(_mm_cmpeq_epi32(four, wanted))));
    mask |= bits << i;
  }
  mask &= static_cast<std::uint32_t>((std::uint64_t{1} << count_) - 1);
  return mask == 0 ? kKnown : static_cast<std::uint32_t>(std::countr_zero(mask));
}

std::uint32_t Gossip::rank_of(std::uint32_t slot) const {
  const __m128i wanted = _mm_set1_epi8(static_cast<char>(slot));
  std::uint32_t mask = 0;
  for (std::uint32_t i = 0; i < kKnown; i += 16) {
    const __m128i some = _mm_load_si128(reinterpret_cast<const __m128i*>(&rank_[i]));
    mask |= static_cast<std::uint32_t>(_mm_movemask_epi8(_mm_cmpeq_epi8(some, wanted))) << i;
  }
  // Ranks from count_ on are of the past.
  return static_cast<std::uint32_t>(std::countr_zero(mask));
}

void Gossip::settle(std::uint32_t rank, std::uint32_t slot, double measured_s) {
  std::uint32_t to = 0;
  // Whoever is told of has mostly been measured a moment ago: its rank is near the front.
  while (to < count_ && (to == rank || times_[to] >= measured_s)) ++to;
  if (to > rank) --to;
  const std::uint32_t from = std::min(rank, to);
  const std::uint32_t moved = std::max(rank, to) - from;
  // One step towards the end, or, for a new life known by older news than the former one, the front.
  const std::uint32_t down = to < rank ? 1 : 0;
  std::memmove(&times_[from + down], &times_[from + 1 - down], moved * sizeof times_[0]);
  std::memmove(&rank_[from + down], &rank_[from + 1 - down], moved);
  times_[to] = measured_s;
  rank_[to] = static_cast<std::uint8_t>(slot);
}

void Gossip::merge_entry(const NodeLoad& entry, double measured_s) {
  std::uint32_t slot = slot_of(entry.node);
  std::uint32_t rank = 0;
  if (slot != kKnown) {
    const NodeLoad& known = known_[slot];
    const bool newer_life = entry.epoch > known.epoch;
    if (!newer_life && (entry.epoch != known.epoch || measured_s <= known.measured_s)) return;
    rank = rank_of(slot);
  } else if (count_ < kKnown) {
    slot = rank = count_++;
    news_ = true;
  } else {
    rank = kKnown - 1;
    slot = rank_[rank];
    if (measured_s <= times_[rank]) return;
  }
  known_[slot] = entry;
  known_[slot].measured_s = measured_s;
  ids_[slot] = entry.node;
  settle(rank, slot, measured_s);
}

void Gossip::remove(std::uint32_t rank) {
  const std::uint32_t slot = rank_[rank];
  const std::uint32_t last = count_ - 1;
  if (slot != last) {
    rank_[rank_of(last)] = static_cast<std::uint8_t>(slot);
    known_[slot] = known_[last];
    ids_[slot] = ids_[last];
  }
  count_ = last;
  for (; rank < count_; ++rank) {
    times_[rank] = times_[rank + 1];
    rank_[rank] = rank_[rank + 1];
  }
}

void Gossip::merge(const Message& message, NodeId self, double now_s) {
  const std::size_t count = std::min<std::size_t>(message.count, kInMessage);
  for (std::size_t i = 0; i < count; ++i) {
    const NodeLoad& entry = message.entries[i];
    // An age below zero, or none at all, would make a lie the freshest news for ever.
    if (entry.node == self || entry.node == kNoNode || !(entry.measured_s >= 0)) continue;
    merge_entry(entry, now_s - entry.measured_s);
  }
}

Gossip::Message Gossip::message(const NodeLoad& own, double now_s, Random& random) const {
  Message m;
  m.entries[0] = own;
  m.entries[0].measured_s = 0;
  m.count = 1;
  if (count_ == 0) return m;
  const auto add = [&](std::uint32_t rank) {
    NodeLoad& entry = m.entries[m.count++];
    entry = known_[rank_[rank]];
    entry.measured_s = std::max(0.0, now_s - entry.measured_s);
  };
  // The freshest news travel on, so that what a node knows is young wherever it came from; a random one keeps
  // the tables mixed.
  const std::uint32_t any = random.below(count_);
  add(any);
  for (std::uint32_t rank = 0; rank < count_ && m.count < kInMessage; ++rank)
    if (rank != any) add(rank);
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
  while (count_ > 0 && now_s - times_[count_ - 1] > knobs.forget_s) remove(count_ - 1);
}

void Gossip::forget_node(NodeId node) {
  if (const std::uint32_t slot = slot_of(node); slot != kKnown) remove(rank_of(slot));
}

}  // namespace hpcvmm::balancer
