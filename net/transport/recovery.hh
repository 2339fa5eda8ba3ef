// Recovery: the packets of one session that are under way, and which of them are lost.
//
// A packet is lost when a later one was acknowledged and it is either a number of packets or a time behind
// that one (as in RACK; both grow where packets are seen to overtake each other), or when nothing is
// acknowledged for a probe timeout; then pieces are sent again until something is.
#pragma once

#include <array>
#include <cstdint>

#include "net/transport/congestion.hh"
#include "net/transport/core.hh"
#include "net/transport/outgoing.hh"
#include "net/transport/wire.hh"

namespace hpcvmm::net {

inline constexpr std::size_t kMaxPieces = 8;

struct SentPacket {
  Nanos when = 0;
  std::uint32_t bytes = 0;
  std::uint8_t piece_count = 0;
  bool out = false;  ///< under way: asks for an acknowledgement and has none
  bool key_offer = false;
  bool key_answer = false;
  bool probe = false;    ///< of the path's size: its loss says nothing
  bool limited = false;  ///< the congestion window was full when it was sent
  bool has_ack = false;
  std::uint64_t ack_largest = 0;
  Congestion::Mark mark;
  std::array<Piece, kMaxPieces> pieces{};
};

/// What became of packets, for who keeps the rest of the session.
struct AckOutcome {
  bool progress = false;  ///< something was acknowledged for the first time
  bool bad = false;       ///< it acknowledges what was never sent
  bool offer_lost = false;
  bool answer_lost = false;
  std::uint32_t probe_acked = 0;   ///< bytes of the largest path probe that arrived
  std::uint64_t seen_largest = 0;  ///< largest number that the peer knows we have acknowledged, plus one
};

class Recovery {
 public:
  Recovery(Core& core, Outgoing& outgoing);
  Recovery(const Recovery&) = delete;
  Recovery& operator=(const Recovery&) = delete;
  ~Recovery() = default;

  [[nodiscard]] std::uint64_t next_number() const { return next_; }
  /// The record of packet next_number(), to be filled; valid until the next call.  False: too many are under
  /// way.
  [[nodiscard]] bool room() const { return next_ - base_ < kMaxRecords; }
  SentPacket& begin();
  /// The packet is sealed, `bytes` long, and on its way.
  void sent(SentPacket& packet, std::uint32_t bytes, bool asks, Nanos now);

  AckOutcome on_ack(const AckFrame& ack, Nanos now);
  /// What the timers say; `lost` as in AckOutcome.
  AckOutcome on_time(Nanos now);
  /// When on_time() must be called.
  [[nodiscard]] Nanos deadline() const;
  /// Probes that may be sent although the window is full.
  [[nodiscard]] std::uint32_t probes_due() const { return probes_due_; }
  void probe_sent() {
    if (probes_due_ != 0) --probes_due_;
  }
  /// Probe timeouts since the last acknowledgement.
  [[nodiscard]] unsigned silent_timeouts() const { return timeouts_; }
  void clear();

  [[nodiscard]] std::uint64_t in_flight() const { return in_flight_; }
  [[nodiscard]] bool anything_out() const { return out_ != 0; }
  [[nodiscard]] const RoundTrip& rtt() const { return rtt_; }
  [[nodiscard]] Congestion& congestion() { return congestion_; }
  [[nodiscard]] const Congestion& congestion() const { return congestion_; }

  struct Counts {
    std::uint64_t lost = 0;
    std::uint64_t spurious = 0;
    std::uint64_t timeouts = 0;
  };
  [[nodiscard]] const Counts& counts() const { return counts_; }

 private:
  static constexpr std::uint64_t kMaxRecords = 16384;
  SentPacket& at(std::uint64_t number) { return ring_[number & (ring_.size() - 1)]; }
  void grow();
  void take_acked(std::uint64_t number, const AckFrame& ack, Nanos now, AckOutcome& outcome);
  void take_lost(std::uint64_t number, SentPacket& packet, AckOutcome& outcome);
  void find_spurious(const Range& range);
  void detect(Nanos now, AckOutcome& outcome);
  void requeue_most_urgent();
  void pop();
  [[nodiscard]] Nanos loss_delay() const;
  [[nodiscard]] Nanos patience() const;

  Core* core_;
  Outgoing* outgoing_;
  RoundTrip rtt_;
  Congestion congestion_;
  std::vector<SentPacket> ring_;
  std::uint64_t base_ = 0;  ///< the oldest of interest
  std::uint64_t next_ = 0;
  std::uint64_t largest_acked_ = 0;
  bool any_acked_ = false;
  std::uint64_t in_flight_ = 0;
  std::uint64_t out_ = 0;
  Nanos last_sent_ = 0;  ///< of a packet that asks for an acknowledgement
  Nanos loss_time_ = kNever;
  Nanos probe_time_ = kNever;
  unsigned timeouts_ = 0;
  std::uint32_t probes_due_ = 0;
  // What reordering was seen.
  std::uint64_t reorder_packets_ = 3;
  unsigned reorder_eighths_ = 2;  ///< of a round trip
  struct LostNumber {
    std::uint64_t number = ~std::uint64_t{0};
    std::uint64_t behind = 0;
  };
  std::array<LostNumber, 64> lately_lost_{};
  std::size_t lately_next_ = 0;
  Counts counts_;
};

}  // namespace hpcvmm::net
