// How much may be under way: the congestion window, and the round trip time it rests on.
//
// A window ruled by delay, as in Swift and Vegas: it grows while the queue it builds in the network stays
// shorter than Tuning::delay_target, and shrinks in proportion when the queue is longer.  Reasons: a faulting
// page waits behind whatever bulk is queued in the network, so that queue must be short, which rules out
// CUBIC; single lost packets say little about congestion (a bad link, a full receive buffer for a moment), so
// loss shrinks the window only when it is more than a few percent; and BBR's model of a bandwidth does not
// hold where both ends share CPUs with others and stall for milliseconds.  The queue is measured as the
// *least* round trip of a round less the least ever seen lately: a stall of one end delays some packets, a
// standing queue delays all.
#pragma once

#include <array>
#include <cstdint>

#include "net/driver/clock.hh"
#include "net/transport/config.hh"

namespace hpcvmm::net {

/// Smoothed round trip time (RFC 6298, with the peer's ack delay taken out) and its least value of late.
class RoundTrip {
 public:
  /// `sample` from sending to the acknowledgement's arrival; `delay` is what the peer says it held it back.
  void add(Nanos sample, Nanos delay, Nanos now);
  [[nodiscard]] bool known() const { return srtt_ != 0; }
  [[nodiscard]] Nanos smoothed() const { return srtt_; }
  [[nodiscard]] Nanos latest() const { return latest_; }
  [[nodiscard]] Nanos least() const { return least_; }
  /// After this time without an acknowledgement something is lost, or the peer is gone.
  [[nodiscard]] Nanos probe_timeout(const Tuning& tuning) const;

 private:
  Nanos srtt_ = 0;
  Nanos variation_ = 0;
  Nanos latest_ = 0;
  // The least of the running and of the previous period, so that old routes are forgotten.
  Nanos least_ = 0;
  Nanos period_least_ = 0;
  Nanos period_end_ = 0;
};

class Congestion {
 public:
  explicit Congestion(const Tuning& tuning) : tuning_(&tuning), window_(tuning.min_window * 4ULL) {}

  [[nodiscard]] std::uint64_t window() const { return window_; }
  /// Nanoseconds that `bytes` bytes take at the pace at which the window is to be spread over a round trip.
  [[nodiscard]] Nanos pace(std::uint64_t bytes, const RoundTrip& rtt) const;

  /// What a packet remembers of the moment it was sent.
  struct Mark {
    std::uint64_t delivered = 0;  ///< bytes acknowledged by then
    Nanos delivered_time = 0;     ///< when the last of them was
    Nanos flight_start = 0;       ///< when the packet was sent whose acknowledgement that was
  };
  /// A packet leaves; `idle`: nothing else is under way.
  Mark on_send(Nanos now, bool idle);
  /// A packet was acknowledged; `limited`: the window, not the sender, was what held data back.
  void on_ack(const Mark& mark, Nanos sent, Nanos now, std::uint64_t bytes, bool limited);
  void on_loss(std::uint64_t bytes);
  /// After the packets of one acknowledgement.  `next`: the number of the next packet to be sent.
  void end_of_ack(std::uint64_t largest, std::uint64_t next, const RoundTrip& rtt);
  /// Nothing comes back at all.
  void on_silence();

 private:
  void end_round(const RoundTrip& rtt);
  void note_rate(std::uint64_t bytes, Nanos time, Nanos now);
  [[nodiscard]] std::uint64_t floor(const RoundTrip& rtt) const;

  const Tuning* tuning_;
  std::uint64_t window_;
  bool starting_ = true;  ///< doubles every round until the first sign of a queue
  std::uint64_t round_end_ = 0;
  Nanos round_least_ = kNever;
  std::uint64_t round_acked_ = 0;
  std::uint64_t round_lost_ = 0;
  bool round_limited_ = false;
  std::uint64_t delivered_ = 0;
  Nanos delivered_time_ = 0;
  Nanos flight_start_ = 0;
  // Bytes per second, the best of the running and of the previous period.
  std::uint64_t rate_ = 0;
  std::uint64_t rate_before_ = 0;
  Nanos rate_until_ = 0;
};

}  // namespace hpcvmm::net
