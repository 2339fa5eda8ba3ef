#include "net/driver/dpdk/frame.hh"

#include <algorithm>
#include <cstring>

namespace hpcvmm::net::dpdk {
namespace {

constexpr std::uint16_t kTypeIpv4 = 0x0800;
constexpr std::uint16_t kTypeArp = 0x0806;
constexpr std::uint8_t kProtocolUdp = 17;
constexpr std::size_t kIp = kEthernetBytes;
constexpr std::size_t kUdp = kIp + 20;
constexpr std::size_t kArp = kEthernetBytes;

std::uint16_t get16(const std::byte* at) {
  return static_cast<std::uint16_t>(std::to_integer<unsigned>(at[0]) << 8 | std::to_integer<unsigned>(at[1]));
}
std::uint32_t get32(const std::byte* at) {
  return static_cast<std::uint32_t>(get16(at)) << 16 | get16(at + 2);
}
void put16(std::byte* at, std::uint32_t value) {
  at[0] = static_cast<std::byte>(value >> 8);
  at[1] = static_cast<std::byte>(value);
}
void put32(std::byte* at, std::uint32_t value) {
  put16(at, value >> 16);
  put16(at + 2, value);
}
void put_mac(std::byte* at, const Mac& mac) { std::memcpy(at, mac.data(), mac.size()); }
Mac get_mac(const std::byte* at) {
  Mac mac;
  std::memcpy(mac.data(), at, mac.size());
  return mac;
}

std::uint16_t fold(std::uint32_t sum) {
  sum = (sum & 0xffff) + (sum >> 16);
  sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<std::uint16_t>(sum);
}

std::uint32_t sum_of_header(const std::byte* ip) {
  std::uint32_t sum = 0;
  for (std::size_t i = 0; i < 20; i += 2) sum += get16(ip + i);
  return sum;
}

/// Behind Ethernet: IPv4 and UDP.
Parsed parse_ipv4(std::span<const std::byte> frame, const Station& us) {
  const auto refuse = [](Refusal why) { return Parsed{.refusal = why}; };
  if (frame.size() < kUdp) return refuse(Refusal::Short);
  const std::byte* const ip = frame.data() + kIp;
  if (ip[0] != std::byte{0x45}) return refuse(Refusal::BadIp);
  // Before the checksum: what is for others is not ours to judge (a card or a veth may leave it to be filled
  // in).
  if (get32(ip + 16) != us.ip) return refuse(Refusal::OtherIp);
  if (fold(sum_of_header(ip)) != 0xffff) return refuse(Refusal::BadChecksum);
  if ((get16(ip + 6) & 0x3fff) != 0) return refuse(Refusal::Fragment);
  if (std::to_integer<std::uint8_t>(ip[9]) != kProtocolUdp) return refuse(Refusal::OtherProtocol);
  const std::size_t ip_bytes = get16(ip + 2);
  if (ip_bytes < 28) return refuse(Refusal::BadIp);
  if (frame.size() < kIp + ip_bytes) return refuse(Refusal::BadLength);
  const std::byte* const udp = frame.data() + kUdp;
  const std::size_t udp_bytes = get16(udp + 4);
  // Exactly: a UDP length shorter than IPv4's would be a second, hidden payload.
  if (udp_bytes != ip_bytes - 20) return refuse(Refusal::BadLength);
  if (get16(udp + 2) != us.port) return refuse(Refusal::OtherPort);
  Parsed parsed;
  parsed.datagram = {.offset = kHeaderBytes,
                     .bytes = static_cast<std::uint32_t>(udp_bytes - 8),
                     .source_ip = get32(ip + 12),
                     .source_port = get16(udp),
                     .source_mac = get_mac(frame.data() + 6)};
  return parsed;
}

}  // namespace

Mac mac_of(std::uint32_t ip) {
  return {0x02,
          0x00,
          static_cast<std::uint8_t>(ip >> 24),
          static_cast<std::uint8_t>(ip >> 16),
          static_cast<std::uint8_t>(ip >> 8),
          static_cast<std::uint8_t>(ip)};
}

HeaderTemplate::HeaderTemplate(const Flow& flow) {
  std::byte* const at = bytes_.data();
  put_mac(at, flow.target_mac);
  put_mac(at + 6, flow.source_mac);
  put16(at + 12, kTypeIpv4);
  std::byte* const ip = at + kIp;
  ip[0] = std::byte{0x45};
  put16(ip + 6, 0x4000);  // do not fragment: a router that would have to says so instead of halving our speed
  ip[8] = std::byte{64};
  ip[9] = std::byte{kProtocolUdp};
  put32(ip + 12, flow.source_ip);
  put32(ip + 16, flow.target_ip);
  put16(at + kUdp, flow.source_port);
  put16(at + kUdp + 2, flow.target_port);
  sum_ = sum_of_header(ip);
}

void HeaderTemplate::stamp(std::byte* at, std::uint32_t payload_bytes) const {
  std::memcpy(at, bytes_.data(), kHeaderBytes);
  const std::uint32_t ip_bytes = payload_bytes + 28;
  put16(at + kIp + 2, ip_bytes);
  // The identification stays 0: packets that must not be fragmented need none (RFC 6864).
  put16(at + kIp + 10, 0xffffu ^ fold(sum_ + ip_bytes));
  put16(at + kUdp + 4, payload_bytes + 8);
}

const char* refusal_name(Refusal refusal) {
  static constexpr std::array<const char*, kRefusals> kNames{
      "none",     "short",    "other_mac",      "other_type", "bad_ip",    "bad_checksum",
      "fragment", "other_ip", "other_protocol", "bad_length", "other_port"};
  const auto i = static_cast<std::size_t>(refusal);
  return i < kNames.size() ? kNames[i] : "unknown";
}

bool is_damage(Refusal refusal) {
  switch (refusal) {
    case Refusal::Short:
    case Refusal::BadIp:
    case Refusal::BadChecksum:
    case Refusal::Fragment:
    case Refusal::BadLength: return true;
    default: return false;
  }
}

Parsed parse_frame(std::span<const std::byte> frame, const Station& us) {
  if (frame.size() < kEthernetBytes) return {.refusal = Refusal::Short};
  const bool to_us = std::memcmp(frame.data(), us.mac.data(), us.mac.size()) == 0;
  const std::uint16_t type = get16(frame.data() + 12);
  if (type == kTypeArp) {
    if (!to_us && get_mac(frame.data()) != kBroadcast) return {.refusal = Refusal::OtherMac};
    return {.is_arp = true};
  }
  if (!to_us) return {.refusal = Refusal::OtherMac};
  if (type != kTypeIpv4) return {.refusal = Refusal::OtherType};
  return parse_ipv4(frame, us);
}

std::optional<Arp> parse_arp(std::span<const std::byte> frame) {
  if (frame.size() < kArpBytes || get16(frame.data() + 12) != kTypeArp) return std::nullopt;
  const std::byte* const at = frame.data() + kArp;
  const bool ipv4_over_ethernet = get16(at) == 1 && get16(at + 2) == kTypeIpv4 && get16(at + 4) == 0x0604;
  const std::uint16_t operation = get16(at + 6);
  if (!ipv4_over_ethernet || (operation != 1 && operation != 2)) return std::nullopt;
  const Arp message{.is_request = operation == 1,
                    .sender_mac = get_mac(at + 8),
                    .sender_ip = get32(at + 14),
                    .target_ip = get32(at + 24)};
  // A group address as a sender would turn every answer into a broadcast; none at all is an address probe.
  const bool is_group = (message.sender_mac[0] & 1) != 0;
  const bool is_zero = message.sender_mac == Mac{};
  if (is_group || is_zero || message.sender_ip == 0) return std::nullopt;
  return message;
}

std::array<std::byte, kMinFrameBytes> build_arp(const Arp& message, const Mac& target_mac) {
  std::array<std::byte, kMinFrameBytes> frame{};
  std::byte* const at = frame.data();
  put_mac(at, target_mac);
  put_mac(at + 6, message.sender_mac);
  put16(at + 12, kTypeArp);
  std::byte* const arp = at + kArp;
  put16(arp, 1);
  put16(arp + 2, kTypeIpv4);
  put16(arp + 4, 0x0604);
  put16(arp + 6, message.is_request ? 1 : 2);
  put_mac(arp + 8, message.sender_mac);
  put32(arp + 14, message.sender_ip);
  if (target_mac != kBroadcast) put_mac(arp + 18, target_mac);
  put32(arp + 24, message.target_ip);
  return frame;
}

}  // namespace hpcvmm::net::dpdk
