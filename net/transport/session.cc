#include "net/transport/session.hh"

#include <algorithm>

namespace hpcvmm::net {
namespace {

// Received packets after which an acknowledgement goes out at the end of the pass.
constexpr std::uint32_t kAckEvery = 4;
// How far back ranges of received packets are kept.
constexpr std::uint64_t kRangesReach = 65536;

}  // namespace

Session::Session(Core& core, const SessionBegin& begin, std::unique_ptr<SessionKeys> keys, Nanos now)
    : core_(&core),
      begin_(begin),
      keys_(std::move(keys)),
      outgoing_(core),
      incoming_(core, begin.node, dead_),
      recovery_(core, outgoing_),
      path_(core.config.tuning.base_payload, core.config.tuning.max_payload, now),
      last_heard_(now) {
  // The first packet is what makes the other side believe in the session.
  ping_ = keys_->initiator();
}

Session::~Session() {
  recovery_.clear();
  outgoing_.clear();
  incoming_.clear();
  core_->driver.free(std::span(backlog_).first(backlog_count_));
}

void Session::receive(std::span<const std::byte> frames, std::uint64_t number, Nanos now) {
  ++rx_packets_;
  last_heard_ = now;
  FrameReader reader(frames);
  Frame frame;
  bool asks = false;
  bool good = true;
  while (good && !dead_ && reader.next(frame)) {
    const bool silent_kind =
        frame.type == FrameType::Ack || frame.type == FrameType::Pad || frame.type == FrameType::Bye;
    asks = asks || !silent_kind;
    take_frame(frame, now, good);
  }
  if (dead_) return;
  if (!good || reader.bad()) {
    core_->drop(Drop::Malformed);
    return;
  }
  note_received(number, asks, now);
}

void Session::take_frame(const Frame& frame, Nanos now, bool& good) {
  switch (frame.type) {
    case FrameType::Ack: {
      for (std::size_t p = 0; p < kPriorities; ++p)
        outgoing_.set_limit(static_cast<Priority>(p), frame.ack.limits[p]);
      const AckOutcome outcome = recovery_.on_ack(frame.ack, now);
      good = !outcome.bad;
      take_outcome(outcome, now);
      break;
    }
    case FrameType::Bye: left_ = true; break;
    case FrameType::KeyOffer:
      if (const auto answer = keys_->answer(frame.key)) {
        answer_ = *answer;
        answer_pending_ = true;
      }
      break;
    case FrameType::KeyAnswer:
      if (keys_->answered(frame.key, now)) {
        offer_pending_ = false;
        ping_ = true;  // under the new keys, so that the peer goes over too
      }
      break;
    case FrameType::Whole:
    case FrameType::Piece: good = incoming_.data(frame.data); break;
    case FrameType::Ping:
    case FrameType::Pad: break;
  }
}

void Session::take_outcome(const AckOutcome& outcome, Nanos now) {
  if (outcome.probe_acked != 0) path_.arrived(outcome.probe_acked, now);
  if (outcome.seen_largest != 0) received_.drop_below(outcome.seen_largest);
  if (outcome.offer_lost && keys_->offering()) offer_pending_ = true;
}

void Session::note_received(std::uint64_t number, bool asks, Nanos now) {
  const bool in_order = received_.empty() ? number == 0 || number > largest_ : number == largest_ + 1;
  received_.add(number, number + 1);
  if (received_.size() > kMaxAckRanges) received_.drop_oldest();
  if (number >= largest_) {
    largest_ = number;
    largest_time_ = now;
    if (number > kRangesReach && number % 1024 == 0) received_.drop_below(number - kRangesReach);
  }
  if (!asks) return;
  ++unacked_;
  if (unacked_ == 1) ack_time_ = now + core_->config.tuning.max_ack_delay;
  if (unacked_ >= kAckEvery || !in_order) ack_time_ = now;
}

bool Session::demand() const {
  if (interested_) return true;
  return outgoing_.queued(Priority::Control) + outgoing_.queued(Priority::Fault) +
             outgoing_.queued(Priority::Bulk) !=
         0;
}

void Session::note_demand(Nanos now) {
  if (!demand()) {
    demand_since_ = kNever;
  } else if (demand_since_ == kNever) {
    demand_since_ = now;
  }
}

Nanos Session::silent_at() const {
  const Tuning& t = core_->config.tuning;
  if (demand_since_ == kNever) return last_heard_ + t.idle_silence;
  return std::max(last_heard_, demand_since_) + t.silence;
}

Nanos Session::ping_at() const {
  const Tuning& t = core_->config.tuning;
  const Nanos since = std::max(last_heard_, last_ping_);
  // Somebody whose window is full may have opened it and the news may have been lost.
  for (const Priority p : {Priority::Control, Priority::Fault, Priority::Bulk}) {
    if (outgoing_.stalled(p) && !recovery_.anything_out()) return since + 4 * t.min_probe_timeout;
  }
  return since + (demand_since_ == kNever ? t.idle_keepalive : t.keepalive);
}

void Session::on_time(Nanos now) {
  note_demand(now);
  if (now >= recovery_.deadline()) {
    take_outcome(recovery_.on_time(now), now);
    if (recovery_.silent_timeouts() == 3) path_.suspect(now);
  }
  if (now >= ping_at()) {
    ping_ = true;
    last_ping_ = now;
  }
  if (keys_->wants_new(core_->config.tuning, now)) {
    keys_->offer();
    offer_pending_ = true;
  }
}

Nanos Session::deadline(Nanos now) const {
  if (backlog_count_ != 0 || starved_) return now + 50 * kMicrosecond;
  Nanos soonest = std::min({recovery_.deadline(), ping_at(), silent_at(), path_.due()});
  if (unacked_ != 0) soonest = std::min(soonest, ack_time_);
  if (may_send(Priority::Bulk)) soonest = std::min(soonest, pace_time_);
  return soonest;
}

void Session::run_resumes() {
  for (std::size_t p = 0; p < kPriorities && !dead_; ++p) {
    if (!resume_[p]) continue;
    resume_[p] = false;
    incoming_.resume(static_cast<Priority>(p));
  }
}

void Session::tell_writable() {
  Priority p{};
  while (!dead_ && outgoing_.next_writable(p)) core_->handler.on_writable(begin_.node, p);
}

void Session::fill(PeerStats& out) const {
  out.incarnation = begin_.incarnation;
  for (std::size_t i = 0; i < kPriorities; ++i) {
    const auto p = static_cast<Priority>(i);
    out.streams[i] = {outgoing_.sent_messages(p), outgoing_.sent_bytes(p), incoming_.messages(p),
                      incoming_.bytes(p), outgoing_.queued(p)};
  }
  out.tx_packets = tx_packets_;
  out.rx_packets = rx_packets_;
  out.lost_packets = recovery_.counts().lost;
  out.spurious_losses = recovery_.counts().spurious;
  out.probe_timeouts = recovery_.counts().timeouts;
  out.resent_bytes = outgoing_.resent_bytes();
  out.duplicate_bytes = incoming_.duplicate_bytes();
  out.rekeys = keys_->epoch();
  out.window_stalls = stalls_;
  out.srtt = recovery_.rtt().smoothed();
  out.min_rtt = recovery_.rtt().least();
  out.payload = path_.size();
  out.congestion_window = recovery_.congestion().window();
  out.in_flight = recovery_.in_flight();
  out.cipher = cipher_name(keys_->cipher());
}

}  // namespace hpcvmm::net
