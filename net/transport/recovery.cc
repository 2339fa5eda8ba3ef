#include "net/transport/recovery.hh"

#include <algorithm>

namespace hpcvmm::net {
namespace {

// Small packets cost more than their bytes: what counts against the window.
constexpr std::uint32_t kPacketCost = 128;
constexpr std::uint64_t kMaxReorder = 256;
constexpr unsigned kMaxReorderEighths = 16;
constexpr unsigned kMaxBackoff = 8;

}  // namespace

Recovery::Recovery(Core& core, Outgoing& outgoing)
    : core_(&core), outgoing_(&outgoing), congestion_(core.config.tuning), ring_(64) {}

void Recovery::grow() {
  std::vector<SentPacket> wider(ring_.size() * 2);
  for (std::uint64_t n = base_; n != next_; ++n) wider[n & (wider.size() - 1)] = at(n);
  ring_.swap(wider);
}

SentPacket& Recovery::begin() {
  if (next_ - base_ == ring_.size()) grow();
  SentPacket& packet = at(next_);
  packet = SentPacket{};
  return packet;
}

void Recovery::sent(SentPacket& packet, std::uint32_t bytes, bool asks, Nanos now) {
  packet.when = now;
  packet.bytes = bytes + kPacketCost;
  packet.out = asks;
  packet.mark = congestion_.on_send(now, out_ == 0);
  ++next_;
  if (!asks) {
    pop();
    return;
  }
  ++out_;
  in_flight_ += packet.bytes;
  ++core_->stats.packets_live;
  last_sent_ = now;
  probe_time_ = now + patience();
}

// Doubles while nothing comes back, but several tries must fall into the silence after which a peer is given
// up.
Nanos Recovery::patience() const {
  const Tuning& t = core_->config.tuning;
  const Nanos first = rtt_.probe_timeout(t);
  return std::min(first << std::min(timeouts_, kMaxBackoff), std::max(first, t.keepalive));
}

void Recovery::pop() {
  while (base_ != next_ && !at(base_).out) ++base_;
}

Nanos Recovery::loss_delay() const {
  const Nanos round = std::max(rtt_.smoothed(), rtt_.latest());
  return std::max<Nanos>(round + round * reorder_eighths_ / 8, 20 * kMicrosecond);
}

void Recovery::take_acked(std::uint64_t number, const AckFrame& ack, Nanos now, AckOutcome& outcome) {
  SentPacket& packet = at(number);
  if (!packet.out) return;
  packet.out = false;
  --out_;
  in_flight_ -= packet.bytes;
  --core_->stats.packets_live;
  const Nanos sample = now - packet.when;
  if (number == ack.largest) rtt_.add(sample, Nanos{ack.delay_us} * kMicrosecond, now);
  congestion_.on_ack(packet.mark, packet.when, now, packet.bytes, packet.limited);
  if (packet.probe) outcome.probe_acked = std::max(outcome.probe_acked, packet.bytes - kPacketCost);
  if (packet.has_ack) outcome.seen_largest = std::max(outcome.seen_largest, packet.ack_largest + 1);
  for (std::size_t i = 0; i < packet.piece_count; ++i) outgoing_->acked(packet.pieces[i]);
  packet.piece_count = 0;
  outcome.progress = true;
}

void Recovery::take_lost(std::uint64_t number, SentPacket& packet, AckOutcome& outcome) {
  packet.out = false;
  --out_;
  in_flight_ -= packet.bytes;
  --core_->stats.packets_live;
  if (!packet.probe) {
    ++counts_.lost;
    congestion_.on_loss(packet.bytes);
  }
  outcome.offer_lost = outcome.offer_lost || packet.key_offer;
  outcome.answer_lost = outcome.answer_lost || packet.key_answer;
  for (std::size_t i = 0; i < packet.piece_count; ++i) outgoing_->lost(packet.pieces[i]);
  packet.piece_count = 0;
  lately_lost_[lately_next_++ % lately_lost_.size()] = {number, largest_acked_ - number};
}

void Recovery::find_spurious(const Range& range) {
  for (LostNumber& lost : lately_lost_) {
    if (lost.number < range.begin || lost.number >= range.end) continue;
    // It was only late: wait longer from now on.
    lost.number = ~std::uint64_t{0};
    ++counts_.spurious;
    reorder_packets_ = std::min(std::max(reorder_packets_ * 2, lost.behind + 1), kMaxReorder);
    reorder_eighths_ = std::min(reorder_eighths_ + 1, kMaxReorderEighths);
  }
}

AckOutcome Recovery::on_ack(const AckFrame& ack, Nanos now) {
  AckOutcome outcome;
  if (ack.largest >= next_) {
    outcome.bad = true;
    return outcome;
  }
  for (std::size_t i = 0; i < ack.count; ++i) {
    const Range& range = ack.ranges[i];
    if (counts_.lost != counts_.spurious) find_spurious(range);
    for (std::uint64_t n = std::max(range.begin, base_); n < range.end; ++n) take_acked(n, ack, now, outcome);
    if (range.begin <= base_) break;
  }
  if (!any_acked_ || ack.largest > largest_acked_) largest_acked_ = ack.largest;
  any_acked_ = true;
  if (outcome.progress) {
    timeouts_ = 0;
    probes_due_ = 0;
  }
  detect(now, outcome);
  congestion_.end_of_ack(largest_acked_, next_, rtt_);
  if (outcome.progress) probe_time_ = now + rtt_.probe_timeout(core_->config.tuning);
  pop();
  return outcome;
}

void Recovery::detect(Nanos now, AckOutcome& outcome) {
  loss_time_ = kNever;
  if (!any_acked_) return;
  const Nanos delay = loss_delay();
  for (std::uint64_t n = base_; n < largest_acked_; ++n) {
    SentPacket& packet = at(n);
    if (!packet.out) continue;
    const Nanos at_latest = packet.when + delay;
    if (at_latest <= now || largest_acked_ - n >= reorder_packets_) {
      take_lost(n, packet, outcome);
    } else {
      loss_time_ = std::min(loss_time_, at_latest);
    }
  }
}

Nanos Recovery::deadline() const {
  if (out_ == 0) return kNever;
  return std::min(loss_time_, probe_time_);
}

AckOutcome Recovery::on_time(Nanos now) {
  AckOutcome outcome;
  if (out_ == 0) return outcome;
  if (now >= loss_time_) {
    detect(now, outcome);
    pop();
  }
  if (out_ != 0 && now >= probe_time_) {
    ++timeouts_;
    ++counts_.timeouts;
    probes_due_ = 2;
    if (timeouts_ == 3) congestion_.on_silence();
    requeue_most_urgent();
    outcome.offer_lost = outcome.answer_lost = true;
    probe_time_ = now + patience();
  }
  return outcome;
}

void Recovery::requeue_most_urgent() {
  SentPacket* best = nullptr;
  Priority best_priority = Priority::Bulk;
  for (std::uint64_t n = base_; n != next_; ++n) {
    SentPacket& packet = at(n);
    if (!packet.out || packet.piece_count == 0) continue;
    const Priority p = packet.pieces[0].message->priority;
    if (best != nullptr && p >= best_priority) continue;
    best = &packet;
    best_priority = p;
    if (p == Priority::Control) break;
  }
  if (best == nullptr) return;
  for (std::size_t i = 0; i < best->piece_count; ++i) outgoing_->again(best->pieces[i]);
}

void Recovery::clear() {
  for (std::uint64_t n = base_; n != next_; ++n) {
    SentPacket& packet = at(n);
    for (std::size_t i = 0; i < packet.piece_count; ++i) outgoing_->abandon(packet.pieces[i]);
    if (packet.out) --core_->stats.packets_live;
    packet.piece_count = 0;
    packet.out = false;
  }
  base_ = next_;
  in_flight_ = 0;
  out_ = 0;
}

}  // namespace hpcvmm::net
