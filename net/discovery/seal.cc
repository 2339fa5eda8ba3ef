#include "net/discovery/seal.hh"

#include <sodium.h>

#include <cstring>
#include <string_view>

namespace hpcvmm::net::discovery {
namespace {

constexpr std::size_t kFormBytes = 4;
constexpr std::size_t kNonceBytes = crypto_aead_xchacha20poly1305_ietf_NPUBBYTES;
constexpr std::size_t kTagBytes = crypto_aead_xchacha20poly1305_ietf_ABYTES;
static_assert(kSealBytes == kFormBytes + kNonceBytes + kTagBytes);
constexpr std::array<std::uint8_t, kFormBytes> kForm{'H', 'd', 'i', 1};
constexpr std::string_view kLabel = "hpcvmm discovery 1";

const std::uint8_t* raw(const std::byte* p) { return reinterpret_cast<const std::uint8_t*>(p); }
std::uint8_t* raw(std::byte* p) { return reinterpret_cast<std::uint8_t*>(p); }

}  // namespace

Sealer::Sealer(const std::array<std::uint8_t, 32>& cluster_key) {
  // Does nothing the second time; without it Transport::create has refused already.
  const int started = ::sodium_init();
  static_cast<void>(started);
  ::crypto_generichash(key_.data(), key_.size(), reinterpret_cast<const std::uint8_t*>(kLabel.data()),
                       kLabel.size(), cluster_key.data(), cluster_key.size());
}

Sealer::~Sealer() { ::sodium_memzero(key_.data(), key_.size()); }

std::vector<std::byte> Sealer::seal(const Packet& packet) const {
  const std::vector<std::byte> plain = encode(packet);
  std::vector<std::byte> out(plain.size() + kSealBytes);
  std::memcpy(out.data(), kForm.data(), kFormBytes);
  std::uint8_t* const nonce = raw(out.data()) + kFormBytes;
  ::randombytes_buf(nonce, kNonceBytes);
  ::crypto_aead_xchacha20poly1305_ietf_encrypt(nonce + kNonceBytes, nullptr, raw(plain.data()), plain.size(),
                                               kForm.data(), kFormBytes, nullptr, nonce, key_.data());
  return out;
}

std::optional<Packet> Sealer::open(std::span<const std::byte> datagram, std::uint64_t wall_ms) {
  const bool whole = datagram.size() > kSealBytes && datagram.size() <= kMaxPacket + kSealBytes &&
                     std::memcmp(datagram.data(), kForm.data(), kFormBytes) == 0;
  if (!whole) {
    ++counters_.malformed;
    return std::nullopt;
  }
  std::array<std::byte, kMaxPacket> plain{};
  const std::uint8_t* const nonce = raw(datagram.data()) + kFormBytes;
  const std::size_t sealed = datagram.size() - kFormBytes - kNonceBytes;
  if (::crypto_aead_xchacha20poly1305_ietf_decrypt(raw(plain.data()), nullptr, nullptr, nonce + kNonceBytes,
                                                   sealed, kForm.data(), kFormBytes, nonce,
                                                   key_.data()) != 0) {
    ++counters_.wrong_key;
    return std::nullopt;
  }
  std::optional<Packet> packet = parse(std::span(plain).first(sealed - kTagBytes));
  if (!packet) {
    ++counters_.malformed;
    return std::nullopt;
  }
  const auto difference = static_cast<std::int64_t>(packet->wall_ms - wall_ms);
  if (difference > static_cast<std::int64_t>(kClockSlackMs) ||
      difference < -static_cast<std::int64_t>(kClockSlackMs)) {
    ++counters_.old;
    difference_ms_ = difference;
    return std::nullopt;
  }
  return packet;
}

}  // namespace hpcvmm::net::discovery
