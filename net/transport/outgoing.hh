// Outgoing: the messages of one session that are to be sent, sent, or sent again.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "net/transport/core.hh"
#include "net/transport/wire.hh"

namespace hpcvmm::net {

class Outgoing {
 public:
  explicit Outgoing(Core& core);
  Outgoing(const Outgoing&) = delete;
  Outgoing& operator=(const Outgoing&) = delete;
  /// Needs clear() before.
  ~Outgoing() = default;

  /// EAGAIN: no room; then starved() says so until there is.  The caller has checked sizes.
  Status push(Priority p, std::uint32_t channel, std::span<const Part> parts, bool borrowed,
              std::uint64_t token);
  [[nodiscard]] std::uint64_t room(Priority p) const;
  [[nodiscard]] std::uint64_t queued(Priority p) const { return at(p).queued; }

  /// Whether there is something that the peer's window lets out.
  [[nodiscard]] bool ready(Priority p) const;
  /// Whether only the peer's window holds something back.
  [[nodiscard]] bool stalled(Priority p) const;
  /// Writes one piece of the most pressing message of `p` into the packet, which is the packet's `first` or
  /// not; false: nothing (more) fits.
  bool write(Priority p, FrameWriter& to, Piece& piece, bool first);

  void acked(const Piece& piece);
  /// To be sent again, unless acknowledged meanwhile.
  void lost(const Piece& piece);
  /// To be sent again although it may have arrived; the piece stays where it is.
  void again(const Piece& piece);
  void set_limit(Priority p, std::uint64_t limit);
  /// Priorities that were starved and have room again, one after the other; false: no more.
  bool next_writable(Priority& p);
  /// Gives everything up; borrowed memory is released.  Pieces in records are to be abandon()ed first.
  void clear();
  void abandon(const Piece& piece);

  [[nodiscard]] std::uint64_t resent_bytes() const { return resent_bytes_; }
  [[nodiscard]] std::uint64_t sent_messages(Priority p) const { return at(p).messages; }
  [[nodiscard]] std::uint64_t sent_bytes(Priority p) const { return at(p).bytes; }

 private:
  struct Stream {
    RingQueue<OutMessage*> queue;  ///< not sent completely; only the front has begun
    RingQueue<Piece> resend;
    std::uint64_t seq = 0;
    std::uint64_t charge = 0;
    std::uint64_t limit = 0;
    std::uint64_t queued = 0;
    bool starved = false;
    std::uint64_t messages = 0;
    std::uint64_t bytes = 0;
  };
  Stream& at(Priority p) { return streams_[static_cast<std::size_t>(p)]; }
  [[nodiscard]] const Stream& at(Priority p) const { return streams_[static_cast<std::size_t>(p)]; }
  bool write_again(Stream& stream, FrameWriter& to, Piece& piece, bool first);
  bool write_new(Stream& stream, FrameWriter& to, Piece& piece, bool first);
  static std::uint32_t fit(const OutMessage& m, std::uint32_t offset, std::uint32_t wanted,
                           const FrameWriter& to);
  static void write_piece(OutMessage& m, std::uint32_t offset, std::uint32_t length, FrameWriter& to);
  void release(OutMessage* m);
  void unref(OutMessage* m);

  Core* core_;
  std::array<Stream, kPriorities> streams_;
  std::uint64_t resent_bytes_ = 0;
};

}  // namespace hpcvmm::net
