// Ethernet, IPv4, UDP and ARP as bytes: built and parsed by pure functions that know nothing of DPDK.
//
// What is not spoken: IPv4 options, fragments, VLAN tags, IPv6.  A UDP checksum is neither sent nor checked:
// the transport above authenticates every datagram, and over IPv4 the checksum may be left out (RFC 768).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

namespace hpcvmm::net::dpdk {

using Mac = std::array<std::uint8_t, 6>;

inline constexpr Mac kBroadcast{0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
inline constexpr std::size_t kEthernetBytes = 14;
inline constexpr std::size_t kHeaderBytes = kEthernetBytes + 20 + 8;  ///< in front of a payload
inline constexpr std::size_t kArpBytes = kEthernetBytes + 28;
/// Shortest frame of Ethernet, without its checksum.
inline constexpr std::size_t kMinFrameBytes = 60;
/// A UDP payload cannot be longer.
inline constexpr std::uint32_t kMaxUdpPayload = 65535 - 28;

/// A locally administered address made of an IPv4 address: unique where that is, so it needs no resolution.
Mac mac_of(std::uint32_t ip);

/// The two ends of a datagram; addresses and ports in host byte order.
struct Flow {
  Mac source_mac{};
  Mac target_mac{};
  std::uint32_t source_ip = 0;
  std::uint32_t target_ip = 0;
  std::uint16_t source_port = 0;
  std::uint16_t target_port = 0;
};

/// The headers of one flow, made once; stamp() adds what differs from packet to packet.
class HeaderTemplate {
 public:
  HeaderTemplate() = default;
  explicit HeaderTemplate(const Flow& flow);
  /// Writes kHeaderBytes bytes to `at`, in front of `payload_bytes` (<= kMaxUdpPayload) of payload.
  void stamp(std::byte* at, std::uint32_t payload_bytes) const;

 private:
  std::array<std::byte, kHeaderBytes> bytes_{};
  std::uint32_t sum_ = 0;  // of the constant 16-bit words of the IPv4 header
};

/// Why a frame is none of ours.
enum class Refusal : std::uint8_t {
  None,
  Short,          ///< ends within a header
  OtherMac,       ///< for another station: a switch floods what it has not learnt yet
  OtherType,      ///< neither IPv4 nor ARP
  BadIp,          ///< wrong version, options, or lengths that contradict each other
  BadChecksum,    ///< of the IPv4 header
  Fragment,       ///< of an IPv4 packet: the path's MTU is smaller than the interface's
  OtherIp,        ///< for another address
  OtherProtocol,  ///< not UDP
  BadLength,      ///< UDP and IPv4 lengths contradict each other, or the frame is cut
  OtherPort,      ///< for another UDP port
};
inline constexpr std::size_t kRefusals = static_cast<std::size_t>(Refusal::OtherPort) + 1;
/// "short", "bad_checksum"...: part of a metric's name.
const char* refusal_name(Refusal refusal);
/// Whether it speaks of damage, rather than of somebody else's frame on the same wire.
bool is_damage(Refusal refusal);

/// Who we are, on one port.
struct Station {
  Mac mac{};
  std::uint32_t ip = 0;
  std::uint16_t port = 0;
};

struct Datagram {
  std::size_t offset = 0;  ///< of the payload in the frame
  std::uint32_t bytes = 0;
  std::uint32_t source_ip = 0;
  std::uint16_t source_port = 0;
  Mac source_mac{};
};

/// A received frame: exactly one of a datagram for us, an ARP message (for parse_arp), or a refusal.
struct Parsed {
  Refusal refusal = Refusal::None;
  bool is_arp = false;
  Datagram datagram{};
};
/// Reads at most the bytes of `frame`, whatever its fields say.  Threads: any; pure.
Parsed parse_frame(std::span<const std::byte> frame, const Station& us);

struct Arp {
  bool is_request = false;
  Mac sender_mac{};
  std::uint32_t sender_ip = 0;
  std::uint32_t target_ip = 0;
};
/// Nothing: not an ARP message for IPv4 over Ethernet, or one whose sender cannot be a station.
std::optional<Arp> parse_arp(std::span<const std::byte> frame);
/// An ARP frame from `message.sender_mac` to `target_mac`, padded to the shortest frame.
std::array<std::byte, kMinFrameBytes> build_arp(const Arp& message, const Mac& target_mac);

}  // namespace hpcvmm::net::dpdk
