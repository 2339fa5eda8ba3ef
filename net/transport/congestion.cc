#include "net/transport/congestion.hh"

#include <algorithm>

namespace hpcvmm::net {
namespace {

constexpr Nanos kLeastPeriod = 10 * kSecond;
// Loss below this share of a round, in percent, is a bad link, not a full one.
constexpr std::uint64_t kLossPercent = 4;
constexpr std::uint64_t kLossBytes = 32U << 10;
// Growth per round outside the start, bytes.
constexpr std::uint64_t kStep = 32U << 10;
constexpr Nanos kRatePeriod = kSecond / 2;

}  // namespace

void RoundTrip::add(Nanos sample, Nanos delay, Nanos now) {
  sample = std::max<Nanos>(sample, 1);
  latest_ = sample;
  if (now >= period_end_) {
    least_ = period_end_ == 0 ? sample : std::min(period_least_, sample);
    period_least_ = sample;
    period_end_ = now + kLeastPeriod;
  }
  period_least_ = std::min(period_least_, sample);
  least_ = std::min(least_, sample);
  // What the peer says is believed only as far as it leaves a possible round trip.
  const Nanos net = sample > delay && sample - delay >= least_ ? sample - delay : sample;
  if (srtt_ == 0) {
    srtt_ = net;
    variation_ = net / 2;
    return;
  }
  const Nanos off = net > srtt_ ? net - srtt_ : srtt_ - net;
  variation_ = (3 * variation_ + off) / 4;
  srtt_ = std::max<Nanos>((7 * srtt_ + net) / 8, 1);
}

Nanos RoundTrip::probe_timeout(const Tuning& tuning) const {
  if (srtt_ == 0) return 50 * kMillisecond;
  return std::max(srtt_ + 4 * variation_ + tuning.max_ack_delay, tuning.min_probe_timeout);
}

Nanos Congestion::pace(std::uint64_t bytes, const RoundTrip& rtt) const {
  if (!rtt.known()) return 0;
  // A little faster than the window asks for, so that pacing never is what limits.
  const std::uint64_t gain_percent = starting_ ? 200 : 125;
  return bytes * rtt.smoothed() / window_ * 100 / gain_percent;
}

Congestion::Mark Congestion::on_send(Nanos now, bool idle) {
  if (idle) delivered_time_ = flight_start_ = now;
  return {delivered_, delivered_time_, flight_start_};
}

void Congestion::on_ack(const Mark& mark, Nanos sent, Nanos now, std::uint64_t bytes, bool limited) {
  round_acked_ += bytes;
  round_least_ = std::min(round_least_, now - sent);
  round_limited_ = round_limited_ || limited;
  delivered_ += bytes;
  delivered_time_ = now;
  flight_start_ = std::max(flight_start_, sent);
  // Over the longer of both, so that acknowledgements that come in a heap do not look like a fast network.
  note_rate(delivered_ - mark.delivered, std::max(now - mark.delivered_time, sent - mark.flight_start), now);
}

void Congestion::note_rate(std::uint64_t bytes, Nanos time, Nanos now) {
  if (now >= rate_until_) {
    rate_before_ = rate_;
    rate_ = 0;
    rate_until_ = now + kRatePeriod;
  }
  if (time == 0) return;
  rate_ = std::max(rate_, bytes * kSecond / time);
}

std::uint64_t Congestion::floor(const RoundTrip& rtt) const {
  const Nanos time = rtt.least() + 2 * tuning_->delay_target;
  return std::max(rate_, rate_before_) / 1'000'000 * time / 1000;
}

void Congestion::on_loss(std::uint64_t bytes) { round_lost_ += bytes; }

void Congestion::end_of_ack(std::uint64_t largest, std::uint64_t next, const RoundTrip& rtt) {
  if (largest < round_end_) return;
  if (round_least_ != kNever) end_round(rtt);
  round_end_ = next;
  round_least_ = kNever;
  round_acked_ = 0;
  round_lost_ = 0;
  round_limited_ = false;
}

void Congestion::end_round(const RoundTrip& rtt) {
  const Nanos queue = round_least_ > rtt.least() ? round_least_ - rtt.least() : 0;
  const Nanos target = tuning_->delay_target;
  if (round_lost_ > kLossBytes && round_lost_ * 100 > (round_acked_ + round_lost_) * kLossPercent) {
    window_ = std::max(window_, floor(rtt)) * 7 / 10;
    rate_ = rate_ * 7 / 10;
    rate_before_ = rate_;
    starting_ = false;
  } else if (queue > target) {
    // Towards the window that would have made just the queue wanted, at most by a third at once.
    window_ -= std::min(window_ / 3, window_ * 4 / 10 * (queue - target) / queue);
    window_ = std::max(window_, floor(rtt));
    starting_ = false;
  } else if (round_limited_) {
    if (starting_ && queue > target / 2) starting_ = false;
    window_ = std::max(window_ + (starting_ ? round_acked_ : kStep), floor(rtt));
  }
  window_ = std::clamp<std::uint64_t>(window_, tuning_->min_window, tuning_->max_window);
}

void Congestion::on_silence() {
  window_ = tuning_->min_window;
  starting_ = true;
}

}  // namespace hpcvmm::net
