#include "net/transport/keys.hh"

#include <algorithm>

namespace hpcvmm::net {
namespace {

// How long packets under the keys before may still arrive.
constexpr Nanos kOldKeysLive = 5 * kSecond;

}  // namespace

void ReplayWindow::mark(std::uint64_t number) {
  if (number >= next_) {
    // The bits between were those of numbers that are too old now.
    const std::uint64_t steps = std::min<std::uint64_t>(number - next_ + 1, kPackets);
    if (steps >= kPackets) {
      bits_.fill(0);
    } else {
      for (std::uint64_t n = number + 1 - steps; n <= number; ++n) bits_[word(n)] &= ~bit(n);
    }
    next_ = number + 1;
  }
  bits_[word(number)] |= bit(number);
}

SessionKeys::SessionKeys(const SessionSecrets& secrets, bool initiator, Nanos now)
    : initiator_(initiator), secrets_(secrets), since_(now) {
  tx_.set(secrets.cipher, initiator ? secrets.from_initiator : secrets.from_responder);
  rx_.set(secrets.cipher, initiator ? secrets.from_responder : secrets.from_initiator);
}

std::uint32_t SessionKeys::seal(std::byte* packet, std::uint32_t frames, std::uint32_t session,
                                std::uint64_t number) {
  put_header(packet, {epoch_, session, number});
  tx_.seal(number, {packet, kHeaderBytes}, {packet + kHeaderBytes, frames});
  const std::uint32_t bytes = kHeaderBytes + frames + tag_bytes();
  ++packets_;
  bytes_ += bytes;
  return bytes;
}

std::optional<std::span<std::byte>> SessionKeys::open(std::span<std::byte> packet, const Header& header,
                                                      Nanos now, Drop& why) {
  if (packet.size() < kHeaderBytes + tag_bytes()) return why = Drop::Truncated, std::nullopt;
  if (!replay_.fresh(header.number)) return why = Drop::Replayed, std::nullopt;
  Aead* aead = nullptr;
  const bool ahead = header.epoch == static_cast<std::uint16_t>(epoch_ + 1);
  if (header.epoch == epoch_) aead = &rx_;
  if (ahead && next_) aead = &rx_next_;
  if (header.epoch == static_cast<std::uint16_t>(epoch_ - 1) && rx_old_.set() && now < old_until_)
    aead = &rx_old_;
  if (aead == nullptr) return why = Drop::OldKey, std::nullopt;
  if (!aead->open(header.number, packet.first(kHeaderBytes), packet.subspan(kHeaderBytes))) {
    return why = Drop::Forged, std::nullopt;
  }
  replay_.mark(header.number);
  if (ahead) use_next(now);
  ++packets_;
  bytes_ += packet.size();
  return packet.subspan(kHeaderBytes, packet.size() - kHeaderBytes - tag_bytes());
}

bool SessionKeys::wants_new(const Tuning& tuning, Nanos now) const {
  if (!initiator_ || own_ || cipher() == Cipher::Plain) return false;
  return packets_ >= tuning.rekey_packets || bytes_ >= tuning.rekey_bytes ||
         now - since_ >= tuning.rekey_time;
}

const KeyFrame& SessionKeys::offer() {
  if (!own_) {
    own_.emplace();
    offer_ = {static_cast<std::uint16_t>(epoch_ + 1), own_->open};
  }
  return offer_;
}

bool SessionKeys::answered(const KeyFrame& frame, Nanos now) {
  if (!own_ || frame.epoch != offer_.epoch) return false;
  SessionSecrets next;
  if (!next_secrets(secrets_, *own_, frame.key, true, frame.epoch, next)) return false;
  own_.reset();
  install(next, now);
  return true;
}

std::optional<KeyFrame> SessionKeys::answer(const KeyFrame& frame) {
  if (initiator_) return std::nullopt;
  if (next_ && frame.epoch == offered_.epoch && frame.key == offered_.key) return answer_;
  // Only one offer per epoch, and only for the next: anything else is late.
  if (next_ || frame.epoch != static_cast<std::uint16_t>(epoch_ + 1)) return std::nullopt;
  const Ephemeral own;
  SessionSecrets next;
  if (!next_secrets(secrets_, own, frame.key, false, frame.epoch, next)) return std::nullopt;
  rx_next_.set(next.cipher, next.from_initiator);
  next_ = next;
  offered_ = frame;
  answer_ = {frame.epoch, own.open};
  return answer_;
}

void SessionKeys::install(const SessionSecrets& next, Nanos now) {
  secrets_ = next;
  ++epoch_;
  rx_old_ = std::move(rx_);
  old_until_ = now + kOldKeysLive;
  tx_.set(next.cipher, initiator_ ? next.from_initiator : next.from_responder);
  rx_.set(next.cipher, initiator_ ? next.from_responder : next.from_initiator);
  packets_ = 0;
  bytes_ = 0;
  since_ = now;
}

void SessionKeys::use_next(Nanos now) {
  const SessionSecrets next = *next_;
  next_.reset();
  rx_next_.clear();
  install(next, now);
}

}  // namespace hpcvmm::net
