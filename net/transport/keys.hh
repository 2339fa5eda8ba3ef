// SessionKeys: the keys of one session as they follow each other, its packet numbers, and what was seen of
// the peer's.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>

#include "net/driver/clock.hh"
#include "net/transport/aead.hh"
#include "net/transport/handshake.hh"
#include "net/transport/stats.hh"
#include "net/transport/wire.hh"

namespace hpcvmm::net {

/// Remembers which of the latest packet numbers were seen.
class ReplayWindow {
 public:
  static constexpr std::uint64_t kPackets = 8192;
  [[nodiscard]] bool fresh(std::uint64_t number) const {
    if (number >= next_) return true;
    return next_ - number <= kPackets && (bits_[word(number)] & bit(number)) == 0;
  }
  void mark(std::uint64_t number);

 private:
  static constexpr std::size_t kWords = kPackets / 64;
  static std::size_t word(std::uint64_t n) { return static_cast<std::size_t>(n / 64 % kWords); }
  static std::uint64_t bit(std::uint64_t n) { return std::uint64_t{1} << (n % 64); }
  std::array<std::uint64_t, kWords> bits_{};
  std::uint64_t next_ = 0;  ///< one more than the largest seen
};

class SessionKeys {
 public:
  SessionKeys(const SessionSecrets& secrets, bool initiator, Nanos now);

  /// Bytes that seal() adds to header and frames.
  [[nodiscard]] std::uint32_t tag_bytes() const { return cipher() == Cipher::Plain ? 0 : kTagBytes; }
  [[nodiscard]] Cipher cipher() const { return secrets_.cipher; }
  [[nodiscard]] bool initiator() const { return initiator_; }

  /// Makes a packet of the frames that stand behind kHeaderBytes at `packet`; returns its whole length.
  std::uint32_t seal(std::byte* packet, std::uint32_t frames, std::uint32_t session, std::uint64_t number);
  /// Opens a data packet in place.  The frames, or why it is dropped.
  std::optional<std::span<std::byte>> open(std::span<std::byte> packet, const Header& header, Nanos now,
                                           Drop& why);

  // New keys.  The initiator alone begins: wants_new() -> offer() -> the peer's answer().
  [[nodiscard]] bool wants_new(const Tuning& tuning, Nanos now) const;
  /// The offer that is out, or a new one.
  const KeyFrame& offer();
  [[nodiscard]] bool offering() const { return own_.has_value(); }
  /// The peer's answer to the offer; false: not one.
  bool answered(const KeyFrame& frame, Nanos now);
  /// The answer to the peer's offer, which may come more than once; nothing: it makes no sense now.
  std::optional<KeyFrame> answer(const KeyFrame& frame);
  [[nodiscard]] std::uint16_t epoch() const { return epoch_; }

 private:
  void install(const SessionSecrets& next, Nanos now);
  void use_next(Nanos now);

  bool initiator_;
  SessionSecrets secrets_;
  std::uint16_t epoch_ = 0;  ///< of what is sent
  Aead tx_;
  Aead rx_;
  Aead rx_old_;  ///< for stragglers, for a while after new keys came into use
  Nanos old_until_ = 0;
  ReplayWindow replay_;
  std::uint64_t packets_ = 0;  ///< under these keys, both directions
  std::uint64_t bytes_ = 0;
  Nanos since_ = 0;
  std::optional<Ephemeral> own_;  ///< of the offer that is out
  KeyFrame offer_;
  // The responder's: keys that the initiator may begin to use.
  std::optional<SessionSecrets> next_;
  Aead rx_next_;
  KeyFrame offered_;
  KeyFrame answer_;
};

}  // namespace hpcvmm::net
