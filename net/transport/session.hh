// Session: everything between two nodes from one handshake to the loss of the other.
#pragma once

#include <array>
#include <cstdint>
#include <memory>

#include "net/transport/core.hh"
#include "net/transport/incoming.hh"
#include "net/transport/keys.hh"
#include "net/transport/outgoing.hh"
#include "net/transport/path_size.hh"
#include "net/transport/recovery.hh"

namespace hpcvmm::net {

/// What a handshake has agreed on.
struct SessionBegin {
  NodeId node = 0;
  Address address;
  std::uint64_t incarnation = 0;
  std::uint32_t local_id = 0;   ///< on packets to us
  std::uint32_t remote_id = 0;  ///< on packets to the peer
  Nanos since = 0;
};

class Session {
 public:
  Session(Core& core, const SessionBegin& begin, std::unique_ptr<SessionKeys> keys, Nanos now);
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;
  /// Releases everything, see Outgoing::clear and Incoming::clear.
  ~Session();

  [[nodiscard]] const SessionBegin& begin() const { return begin_; }
  void set_address(const Address& a) { begin_.address = a; }
  Outgoing& outgoing() { return outgoing_; }
  SessionKeys& keys() { return *keys_; }

  /// Takes the frames of an authentic packet.
  void receive(std::span<const std::byte> frames, std::uint64_t number, Nanos now);
  /// What the timers say.
  void on_time(Nanos now);
  /// Sends what may be sent, some bursts of it at most.  True: there is more for right now.
  bool transmit(Nanos now);
  /// When on_time() and transmit() must be called at the latest.
  [[nodiscard]] Nanos deadline(Nanos now) const;
  /// Says goodbye, once.
  void send_bye(Nanos now);

  void set_interest(bool interested) { interested_ = interested; }
  void want_resume(Priority p) { resume_[static_cast<std::size_t>(p)] = true; }
  void run_resumes();
  void tell_writable();
  /// This node itself was not running: nobody was silent meanwhile.
  void excuse(Nanos time) { last_heard_ += time; }
  [[nodiscard]] bool silent(Nanos now) const { return now >= silent_at(); }
  [[nodiscard]] bool left() const { return left_; }
  /// The handler has taken the peer away: no more calls for it.
  void kill() { dead_ = true; }
  [[nodiscard]] bool dead() const { return dead_; }

  void fill(PeerStats& out) const;

 private:
  static constexpr std::size_t kBurst = 32;
  void take_frame(const Frame& frame, Nanos now, bool& good);
  void take_outcome(const AckOutcome& outcome, Nanos now);
  void note_received(std::uint64_t number, bool asks, Nanos now);
  [[nodiscard]] bool demand() const;
  void note_demand(Nanos now);
  [[nodiscard]] Nanos silent_at() const;
  [[nodiscard]] Nanos ping_at() const;
  [[nodiscard]] bool may_send(Priority p) const;
  [[nodiscard]] bool wants_packet(Nanos now) const;
  [[nodiscard]] bool ack_due(Nanos now) const { return unacked_ != 0 && now >= ack_time_; }
  std::uint32_t build(TxPacket& packet, Nanos now);
  std::uint32_t build_probe(TxPacket& packet, std::uint32_t size, Nanos now);
  void write_control(FrameWriter& writer, SentPacket& record, bool& asks, Nanos now);
  bool write_pieces(FrameWriter& writer, SentPacket& record, Nanos now);
  bool write_ack(FrameWriter& writer, SentPacket& record, Nanos now);
  std::uint32_t finish(TxPacket& packet, const FrameWriter& writer, SentPacket& record, bool asks, Nanos now);
  bool push(std::span<TxPacket> burst);
  bool push_backlog();
  [[nodiscard]] std::uint32_t frame_room(std::uint32_t payload) const {
    return payload - kHeaderBytes - keys_->tag_bytes();
  }

  Core* core_;
  SessionBegin begin_;
  std::unique_ptr<SessionKeys> keys_;
  bool dead_ = false;
  bool left_ = false;
  Outgoing outgoing_;
  Incoming incoming_;
  Recovery recovery_;
  PathSize path_;

  // Towards acknowledgements.
  Ranges received_;
  std::uint64_t largest_ = 0;
  Nanos largest_time_ = 0;
  std::uint32_t unacked_ = 0;  ///< packets that ask for an acknowledgement and have none
  Nanos ack_time_ = kNever;
  Nanos last_nudge_ = 0;  ///< when an acknowledgement itself asked for one

  Nanos last_heard_;
  Nanos last_ping_ = 0;
  Nanos demand_since_ = kNever;
  bool interested_ = false;
  bool ping_ = false;
  Nanos pace_time_ = 0;
  bool offer_pending_ = false;
  bool answer_pending_ = false;
  KeyFrame answer_;
  std::array<bool, kPriorities> resume_{};
  bool was_stalled_ = false;

  // Sealed packets that the device did not take.
  std::array<TxPacket, kBurst> backlog_{};
  std::size_t backlog_count_ = 0;
  bool starved_ = false;  ///< the device had no buffer

  std::uint64_t tx_packets_ = 0;
  std::uint64_t rx_packets_ = 0;
  std::uint64_t stalls_ = 0;
};

}  // namespace hpcvmm::net
