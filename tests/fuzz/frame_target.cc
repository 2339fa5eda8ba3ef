// Threat model: whoever is on the same wire, or is the other end of a memif port, sends any bytes as a frame.
// The parser must not read outside the frame, must hand out only payload that lies within it, and must not
// take for ours what is not.  Input grammar: one byte (bit 0 our MAC is put in, 1 our IP, 2 the IP header's
// checksum is mended, 3 the UDP length is made to agree, 4 ARP is answered), then the frame.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "net/driver/dpdk/frame.hh"
#include "tests/fuzz/fuzz_targets.hh"

namespace hpcvmm::fuzz {
namespace {

using namespace net::dpdk;  // NOLINT(google-build-using-namespace): the code under test

constexpr Station kUs{.mac = {2, 0, 10, 77, 0, 1}, .ip = 0x0a4d0001, .port = 7000};

void require(bool holds, const char* promise) {
  if (holds) return;
  std::fprintf(stderr, "broken promise: %s\n", promise);
  std::abort();
}

std::uint32_t word16(const std::vector<std::byte>& frame, std::size_t at) {
  return std::to_integer<std::uint32_t>(frame[at]) << 8 | std::to_integer<std::uint32_t>(frame[at + 1]);
}

void put16(std::vector<std::byte>& frame, std::size_t at, std::uint32_t value) {
  frame[at] = static_cast<std::byte>(value >> 8);
  frame[at + 1] = static_cast<std::byte>(value);
}

std::uint32_t header_sum(const std::vector<std::byte>& frame) {
  std::uint32_t sum = 0;
  for (std::size_t i = 14; i < 34; i += 2) sum += word16(frame, i);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
  return sum;
}

/// Lets a mutated frame come past the first checks.
void help(std::vector<std::byte>& frame, unsigned mood) {
  if (frame.size() < kHeaderBytes) return;
  if ((mood & 1) != 0) std::memcpy(frame.data(), kUs.mac.data(), kUs.mac.size());
  if ((mood & 2) != 0) {
    put16(frame, 30, kUs.ip >> 16);
    put16(frame, 32, kUs.ip & 0xffff);
  }
  if ((mood & 8) != 0) put16(frame, 38, word16(frame, 16) - 20);
  if ((mood & 4) == 0) return;
  put16(frame, 24, 0);
  put16(frame, 24, ~header_sum(frame));
}

void check_datagram(const std::vector<std::byte>& frame, const Datagram& datagram) {
  require(datagram.offset == kHeaderBytes, "the payload is behind the headers");
  require(datagram.offset + datagram.bytes <= frame.size(), "the payload is within the frame");
  require(header_sum(frame) == 0xffff, "the header's checksum holds");
  require(std::memcmp(frame.data(), kUs.mac.data(), 6) == 0, "it is for our MAC");
  require(word16(frame, 36) == kUs.port, "it is for our port");
  // Our own headers for the same flow must agree with it in all that has one right value.
  const HeaderTemplate headers({.source_mac = datagram.source_mac,
                                .target_mac = kUs.mac,
                                .source_ip = datagram.source_ip,
                                .target_ip = kUs.ip,
                                .source_port = datagram.source_port,
                                .target_port = kUs.port});
  std::vector<std::byte> ours(kHeaderBytes);
  headers.stamp(ours.data(), datagram.bytes);
  require(std::memcmp(ours.data(), frame.data(), 15) == 0, "Ethernet and version");
  require(word16(ours, 16) == word16(frame, 16), "IPv4 length");
  require(std::memcmp(ours.data() + 26, frame.data() + 26, 14) == 0, "addresses, ports, UDP length");
}

}  // namespace

void frame(const std::uint8_t* data, std::size_t bytes) {
  if (bytes < 1) return;
  // A copy of exactly the frame's length, so that AddressSanitizer sees a read behind it.
  std::vector<std::byte> copy(bytes - 1);
  if (bytes > 1) std::memcpy(copy.data(), data + 1, bytes - 1);
  help(copy, data[0]);
  const Parsed parsed = parse_frame(copy, kUs);
  require(!(parsed.is_arp && parsed.refusal != Refusal::None), "refused or ARP, not both");
  require(refusal_name(parsed.refusal) != nullptr, "a refusal has a name");
  const auto arp = parse_arp(copy);
  if (arp) {
    require(copy.size() >= kArpBytes && (arp->sender_mac[0] & 1) == 0, "an ARP sender is one station");
    const auto answer = build_arp(
        {.is_request = false, .sender_mac = kUs.mac, .sender_ip = kUs.ip, .target_ip = arp->sender_ip},
        arp->sender_mac);
    require(parse_arp(answer).has_value(), "our answer is ARP");
  }
  if (parsed.refusal == Refusal::None && !parsed.is_arp) check_datagram(copy, parsed.datagram);
}

}  // namespace hpcvmm::fuzz
