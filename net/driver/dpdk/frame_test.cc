// Goal: frames that any IPv4 host accepts, and a parser that takes nothing else.  Method: known bytes, every
// truncation, every single-bit error.
#include "net/driver/dpdk/frame.hh"

#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

namespace hpcvmm::net::dpdk {
namespace {

constexpr std::uint32_t kUsIp = 0x0a4d0001;    // 10.77.0.1
constexpr std::uint32_t kThemIp = 0x0a4d0002;  // 10.77.0.2
const Station kUs{.mac = {2, 0, 0, 0, 0, 1}, .ip = kUsIp, .port = 7000};
const Mac kThem{2, 0, 0, 0, 0, 2};

std::vector<std::byte> datagram(std::string_view payload) {
  std::vector<std::byte> frame(kHeaderBytes + payload.size());
  const HeaderTemplate headers({.source_mac = kThem,
                                .target_mac = kUs.mac,
                                .source_ip = kThemIp,
                                .target_ip = kUsIp,
                                .source_port = 9000,
                                .target_port = 7000});
  headers.stamp(frame.data(), static_cast<std::uint32_t>(payload.size()));
  std::memcpy(frame.data() + kHeaderBytes, payload.data(), payload.size());
  return frame;
}

/// The checksum as RFC 791 defines it, done the slow way.
std::uint16_t checksum(const std::byte* ip) {
  std::uint32_t sum = 0;
  for (std::size_t i = 0; i < 20; ++i) sum += std::to_integer<std::uint32_t>(ip[i]) << (i % 2 == 0 ? 8 : 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<std::uint16_t>(sum);
}

TEST(Frame, HasTheBytesOfTheStandards) {
  const auto frame = datagram("hi");
  static constexpr std::array<unsigned, 42> kExpected{
      2,    0,    0,    0,    0, 1,  2,    0, 0,  0,  0,    2,    8,  0,                       // Ethernet
      0x45, 0,    0,    30,   0, 0,  0x40, 0, 64, 17, 0x26, 0x33, 10, 77, 0, 2, 10, 77, 0, 1,  // IPv4
      0x23, 0x28, 0x1b, 0x58, 0, 10, 0,    0};                                                 // UDP
  for (std::size_t i = 0; i < kExpected.size(); ++i)
    EXPECT_EQ(std::to_integer<unsigned>(frame[i]), kExpected[i]) << "byte " << i;
}

TEST(Frame, ChecksumHoldsForEveryLength) {
  std::vector<std::byte> frame(kHeaderBytes);
  const HeaderTemplate headers({.source_mac = {},
                                .target_mac = {},
                                .source_ip = 0xffffffff,
                                .target_ip = 0xfffffffe,
                                .source_port = 1,
                                .target_port = 2});
  for (std::uint32_t bytes = 0; bytes <= kMaxUdpPayload; ++bytes) {
    headers.stamp(frame.data(), bytes);
    ASSERT_EQ(checksum(frame.data() + kEthernetBytes), 0xffff) << bytes;
  }
}

TEST(Frame, ParsesWhatItBuilds) {
  const auto frame = datagram("a page");
  const Parsed parsed = parse_frame(frame, kUs);
  ASSERT_EQ(parsed.refusal, Refusal::None);
  EXPECT_FALSE(parsed.is_arp);
  EXPECT_EQ(parsed.datagram.offset, kHeaderBytes);
  EXPECT_EQ(parsed.datagram.bytes, 6u);
  EXPECT_EQ(parsed.datagram.source_ip, kThemIp);
  EXPECT_EQ(parsed.datagram.source_port, 9000);
  EXPECT_EQ(parsed.datagram.source_mac, kThem);
}

TEST(Frame, IgnoresThePaddingOfShortFrames) {
  auto frame = datagram("x");
  frame.resize(kMinFrameBytes);
  EXPECT_EQ(parse_frame(frame, kUs).datagram.bytes, 1u);
}

TEST(Frame, RefusesEveryTruncation) {
  const auto frame = datagram("some payload");
  for (std::size_t bytes = 0; bytes < frame.size(); ++bytes)
    EXPECT_NE(parse_frame({frame.data(), bytes}, kUs).refusal, Refusal::None) << bytes;
}

// Each refusal has its reason: the counters of a running node must tell where packets go.
TEST(Frame, SaysWhyItRefuses) {
  struct Case {
    std::size_t at;
    unsigned value;
    Refusal expected;
  };
  static constexpr Case kCases[] = {{0, 4, Refusal::OtherMac},     {12, 0x86, Refusal::OtherType},
                                    {14, 0x46, Refusal::BadIp},    {14, 0x65, Refusal::BadIp},
                                    {16, 1, Refusal::BadChecksum}, {22, 1, Refusal::BadChecksum},
                                    {33, 9, Refusal::OtherIp},     {37, 1, Refusal::OtherPort},
                                    {39, 11, Refusal::BadLength},  {39, 7, Refusal::BadLength}};
  for (const Case& one : kCases) {
    auto frame = datagram("hi");
    frame[one.at] = static_cast<std::byte>(one.value);
    EXPECT_STREQ(refusal_name(parse_frame(frame, kUs).refusal), refusal_name(one.expected))
        << "byte " << one.at;
  }
}

/// With the checksum of the header as it is now.
void mend_checksum(std::vector<std::byte>& frame) {
  std::byte* const ip = frame.data() + kEthernetBytes;
  ip[10] = ip[11] = std::byte{0};
  const auto sum = static_cast<std::uint16_t>(~checksum(ip));
  ip[10] = static_cast<std::byte>(sum >> 8);
  ip[11] = static_cast<std::byte>(sum & 0xff);
}

TEST(Frame, RefusesHeadersThatAreRightButNotForUs) {
  struct Case {
    std::size_t at;
    unsigned value;
    Refusal expected;
  };
  static constexpr Case kCases[] = {{20, 0x20, Refusal::Fragment},   {21, 1, Refusal::Fragment},
                                    {23, 6, Refusal::OtherProtocol}, {17, 27, Refusal::BadIp},
                                    {17, 29, Refusal::BadLength},    {17, 31, Refusal::BadLength},
                                    {16, 0xff, Refusal::BadLength}};
  for (const Case& one : kCases) {
    auto frame = datagram("hi");
    frame[one.at] = static_cast<std::byte>(one.value);
    mend_checksum(frame);
    EXPECT_STREQ(refusal_name(parse_frame(frame, kUs).refusal), refusal_name(one.expected))
        << "byte " << one.at;
  }
}

TEST(Frame, NoSingleBitErrorInTheIpHeaderPasses) {
  const auto good = datagram("hi");
  for (std::size_t bit = kEthernetBytes * 8; bit < (kEthernetBytes + 20) * 8; ++bit) {
    auto frame = good;
    frame[bit / 8] ^= static_cast<std::byte>(1u << (bit % 8));
    EXPECT_NE(parse_frame(frame, kUs).refusal, Refusal::None) << "bit " << bit;
  }
}

TEST(Arp, QuestionAndAnswer) {
  const Arp question{.is_request = true, .sender_mac = kThem, .sender_ip = kThemIp, .target_ip = kUsIp};
  const auto frame = build_arp(question, kBroadcast);
  EXPECT_TRUE(parse_frame(frame, kUs).is_arp);
  const auto parsed = parse_arp(frame);
  ASSERT_TRUE(parsed.has_value());
  EXPECT_TRUE(parsed->is_request);
  EXPECT_EQ(parsed->sender_mac, kThem);
  EXPECT_EQ(parsed->sender_ip, kThemIp);
  EXPECT_EQ(parsed->target_ip, kUsIp);
  const auto answer = build_arp({.sender_mac = kUs.mac, .sender_ip = kUsIp, .target_ip = kThemIp}, kThem);
  EXPECT_FALSE(parse_frame(answer, kUs).is_arp) << "it is for them";
  EXPECT_FALSE(parse_arp(answer)->is_request);
}

TEST(Arp, RefusesWhatCannotBeAStation) {
  const auto good = build_arp(
      {.is_request = true, .sender_mac = kThem, .sender_ip = kThemIp, .target_ip = kUsIp}, kBroadcast);
  for (std::size_t bytes = 0; bytes < kArpBytes; ++bytes)
    EXPECT_FALSE(parse_arp({good.data(), bytes})) << bytes;
  struct Case {
    std::size_t at;
    unsigned value;
  };
  static constexpr Case kCases[] = {{15, 6}, {16, 9}, {18, 8}, {19, 16}, {21, 3}, {22, 1}};
  for (const Case& one : kCases) {
    auto frame = good;
    frame[one.at] = static_cast<std::byte>(one.value);
    EXPECT_FALSE(parse_arp(frame)) << "byte " << one.at;
  }
  auto probe = good;  // an address probe has no sender address: nothing to learn
  std::fill_n(probe.begin() + 28, 4, std::byte{0});
  EXPECT_FALSE(parse_arp(probe));
}

}  // namespace
}  // namespace hpcvmm::net::dpdk
