// The sending half of Session: what goes into the next packet, and how packets get to the device.
#include <algorithm>

#include "net/transport/session.hh"

namespace hpcvmm::net {
namespace {

// What more urgent streams may have under way beyond the congestion window: a fault does not wait for an
// acknowledgement of the bulk before it.
constexpr std::uint64_t kUrgentBytes = 256U << 10;
// Ranges after which an acknowledgement asks for one itself, so that the old ones can be forgotten.
constexpr std::size_t kManyRanges = 8;
// Bursts of one pass, so that receiving is not put off for long.
constexpr std::size_t kBurstsPerPass = 2;
// How much of unused time may be made up for by sending faster than the pace.
constexpr Nanos kPaceCredit = 200 * kMicrosecond;

}  // namespace

bool Session::may_send(Priority p) const {
  if (!outgoing_.ready(p) || !recovery_.room()) return false;
  const std::uint64_t window = recovery_.congestion().window();
  return recovery_.in_flight() < (p == Priority::Bulk ? window : window + kUrgentBytes);
}

bool Session::wants_packet(Nanos now) const {
  if (ack_due(now)) return true;
  if (!recovery_.room()) return false;
  if (ping_ || offer_pending_ || answer_pending_ || recovery_.probes_due() != 0) return true;
  if (may_send(Priority::Control) || may_send(Priority::Fault)) return true;
  return now >= pace_time_ && may_send(Priority::Bulk);
}

bool Session::transmit(Nanos now) {
  starved_ = false;
  if (!push_backlog()) return false;
  if (incoming_.news()) {
    ack_time_ = std::min(ack_time_, now);
    unacked_ = std::max(unacked_, 1U);
  }
  std::array<TxPacket, kBurst> burst{};
  for (std::size_t round = 0; round < kBurstsPerPass; ++round) {
    std::size_t n = 0;
    while (n < kBurst) {
      std::uint32_t probe = 0;
      if (!wants_packet(now)) {
        if (now < path_.due() || !recovery_.room()) break;
        probe = path_.probe(now, 2 * recovery_.rtt().probe_timeout(core_->config.tuning));
        if (probe == 0) break;
      }
      TxPacket& packet = burst[n];
      if (!core_->take_packet(packet)) {
        starved_ = true;
        break;
      }
      packet.bytes = probe != 0 ? build_probe(packet, probe, now) : build(packet, now);
      if (packet.bytes == 0) {
        core_->spare[core_->spares++] = packet;
        break;
      }
      ++n;
    }
    const bool full = n == kBurst;
    if (n != 0 && !push(std::span(burst).first(n))) return false;
    if (!full) {
      const bool stalled = outgoing_.stalled(Priority::Bulk) || outgoing_.stalled(Priority::Fault) ||
                           outgoing_.stalled(Priority::Control);
      if (stalled && !was_stalled_) ++stalls_;
      was_stalled_ = stalled;
      return false;
    }
  }
  return true;
}

bool Session::write_ack(FrameWriter& writer, SentPacket& record, Nanos now) {
  if (received_.empty()) {
    unacked_ = 0;
    return false;
  }
  AckFrame ack;
  const auto ranges = received_.all();
  ack.largest = ranges.back().end - 1;
  const Nanos held = ack.largest == largest_ && now > largest_time_ ? now - largest_time_ : 0;
  ack.delay_us = static_cast<std::uint32_t>(std::min<Nanos>(held / kMicrosecond, 0xffff'ffffU));
  for (std::size_t p = 0; p < kPriorities; ++p) ack.limits[p] = incoming_.limit(static_cast<Priority>(p));
  ack.count = std::min(ranges.size(), kMaxAckRanges);
  for (std::size_t i = 0; i < ack.count; ++i) ack.ranges[i] = ranges[ranges.size() - 1 - i];
  if (!writer.ack(ack)) return false;
  incoming_.told();
  unacked_ = 0;
  ack_time_ = kNever;
  record.has_ack = true;
  record.ack_largest = ack.largest;
  return true;
}

void Session::write_control(FrameWriter& writer, SentPacket& record, bool& asks, Nanos now) {
  if (unacked_ != 0) write_ack(writer, record, now);
  if (offer_pending_ && writer.key(FrameType::KeyOffer, keys_->offer())) {
    offer_pending_ = false;
    record.key_offer = asks = true;
  }
  if (answer_pending_ && writer.key(FrameType::KeyAnswer, answer_)) {
    answer_pending_ = false;
    record.key_answer = asks = true;
  }
  const bool nudge = record.has_ack && received_.size() > kManyRanges &&
                     now > last_nudge_ + recovery_.rtt().smoothed() + kMillisecond;
  if ((ping_ || nudge) && writer.simple(FrameType::Ping)) {
    ping_ = false;
    last_nudge_ = now;
    asks = true;
  }
}

bool Session::write_pieces(FrameWriter& writer, SentPacket& record, Nanos now) {
  const bool probing = recovery_.probes_due() != 0;
  bool bulk = false;
  for (const Priority p : {Priority::Control, Priority::Fault, Priority::Bulk}) {
    if (!probing && (!may_send(p) || (p == Priority::Bulk && now < pace_time_))) continue;
    while (record.piece_count < kMaxPieces &&
           outgoing_.write(p, writer, record.pieces[record.piece_count], record.piece_count == 0)) {
      ++record.piece_count;
      bulk = bulk || p == Priority::Bulk;
    }
  }
  return bulk;
}

std::uint32_t Session::build(TxPacket& packet, Nanos now) {
  const std::uint32_t payload = std::min(path_.size(), packet.room);
  FrameWriter writer(packet.data + kHeaderBytes, frame_room(payload));
  SentPacket& record = recovery_.begin();
  bool asks = false;
  write_control(writer, record, asks, now);
  bool bulk = false;
  if (recovery_.room()) bulk = write_pieces(writer, record, now);
  asks = asks || record.piece_count != 0;
  if (recovery_.probes_due() != 0 && !asks) asks = writer.simple(FrameType::Ping);
  if (writer.written() == 0) return 0;
  if (asks) recovery_.probe_sent();
  const std::uint64_t window = recovery_.congestion().window();
  record.limited = recovery_.in_flight() + payload >= window / 2;
  const std::uint32_t bytes = finish(packet, writer, record, asks, now);
  if (bulk) {
    const Nanos from = std::max(pace_time_, now > kPaceCredit ? now - kPaceCredit : 0);
    pace_time_ = from + recovery_.congestion().pace(bytes, recovery_.rtt());
  }
  return bytes;
}

std::uint32_t Session::build_probe(TxPacket& packet, std::uint32_t size, Nanos now) {
  FrameWriter writer(packet.data + kHeaderBytes, frame_room(std::min(size, packet.room)));
  SentPacket& record = recovery_.begin();
  record.probe = true;
  writer.simple(FrameType::Ping);
  writer.pad_to(frame_room(size));
  return finish(packet, writer, record, true, now);
}

std::uint32_t Session::finish(TxPacket& packet, const FrameWriter& writer, SentPacket& record, bool asks,
                              Nanos now) {
  const auto frames = static_cast<std::uint32_t>(writer.written());
  const std::uint32_t bytes = keys_->seal(packet.data, frames, begin_.remote_id, recovery_.next_number());
  recovery_.sent(record, bytes, asks, now);
  ++tx_packets_;
  ++core_->stats.tx_packets;
  return bytes;
}

bool Session::push(std::span<TxPacket> burst) {
  core_->worked = true;
  const std::size_t taken = core_->driver.send(begin_.address, burst);
  backlog_count_ = burst.size() - taken;
  std::copy(burst.begin() + static_cast<std::ptrdiff_t>(taken), burst.end(), backlog_.begin());
  return backlog_count_ == 0;
}

bool Session::push_backlog() {
  if (backlog_count_ == 0) return true;
  std::array<TxPacket, kBurst> again = backlog_;
  const std::size_t n = backlog_count_;
  const std::size_t taken = core_->driver.send(begin_.address, std::span(again).first(n));
  if (taken != 0) core_->worked = true;
  backlog_count_ = n - taken;
  std::copy(again.begin() + static_cast<std::ptrdiff_t>(taken),
            again.begin() + static_cast<std::ptrdiff_t>(n), backlog_.begin());
  return backlog_count_ == 0;
}

void Session::send_bye(Nanos now) {
  TxPacket packet;
  if (!core_->take_packet(packet)) return;
  FrameWriter writer(packet.data + kHeaderBytes, frame_room(path_.size()));
  writer.simple(FrameType::Bye);
  SentPacket& record = recovery_.begin();
  packet.bytes = finish(packet, writer, record, false, now);
  if (core_->driver.send(begin_.address, {&packet, 1}) == 0) core_->driver.free({&packet, 1});
}

}  // namespace hpcvmm::net
