// Goal: the transport's fuzz target holds in every build, without libFuzzer.  Method: a bounded number of
// mutations of real packets and frames, with a printed seed.
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <vector>

#include "net/transport/handshake.hh"
#include "tests/fuzz/fuzz_targets.hh"

namespace hpcvmm::fuzz {
namespace {

using Bytes = std::vector<std::uint8_t>;
using namespace net;  // NOLINT(google-build-using-namespace)

template <class T> void append(Bytes& to, const T* from, std::size_t n) {
  const auto* const raw = reinterpret_cast<const std::uint8_t*>(from);
  to.insert(to.end(), raw, raw + n);
}

Bytes handshake(Kind kind) {
  const ClusterSecret cluster(ClusterKey{9}, Protection::Auto);
  Hello hello;
  hello.from = 2;
  hello.to = 1;
  HandshakePacket packet = Initiation(cluster, hello).packet();
  put_kind(packet.data(), kind);
  Bytes out{0};
  append(out, packet.data(), packet.size());
  return out;
}

/// One packet's frames, behind their length.
void add_frames(Bytes& to, std::mt19937& random) {
  std::array<std::byte, 1200> room{};
  FrameWriter writer(room.data(), room.size());
  AckFrame ack;
  ack.largest = random() % 4;
  ack.limits = {random(), 1ULL << 40, random()};
  ack.count = 1;
  ack.ranges[0] = {0, ack.largest + 1};
  if (random() % 2 == 0) writer.ack(ack);
  if (random() % 4 == 0) writer.key(random() % 2 == 0 ? FrameType::KeyOffer : FrameType::KeyAnswer, {1, {7}});
  for (auto i = random() % 3; i != 0; --i) {
    DataFrame data;
    data.priority = static_cast<Priority>(random() % 3);
    data.message = random() % 4;
    data.total = static_cast<std::uint32_t>(random() % 8 == 0 ? random() % 300000 : 300);
    const std::uint32_t length = std::min(data.total, 100 + static_cast<std::uint32_t>(random() % 201));
    if (length != data.total) data.offset = random() % 2 == 0 ? 0 : data.total - length;
    if (std::byte* const at = writer.data(data, length)) std::memset(at, 5, length);
  }
  if (random() % 20 == 0) writer.simple(FrameType::Bye);
  const auto n = static_cast<std::uint16_t>(writer.written());
  append(to, &n, sizeof n);
  append(to, room.data(), n);
}

void mutate(Bytes& input, std::mt19937& random) {
  for (auto i = random() % 5; i != 0; --i) {
    const std::size_t at = 1 + random() % (input.size() - 1);
    switch (random() % 3) {
      case 0: input[at] = static_cast<std::uint8_t>(random()); break;
      case 1: input[at] ^= static_cast<std::uint8_t>(1U << (random() % 8)); break;
      default: {
        const std::uint32_t odd = random() % 2 == 0 ? 0xffffffffU : 0x40000U;
        std::memcpy(&input[at], &odd, std::min<std::size_t>(sizeof odd, input.size() - at));
      }
    }
  }
  if (random() % 8 == 0) input.resize(2 + random() % (input.size() - 1));
}

TEST(Fuzz, Packet) {
  const char* const given = std::getenv("HPCVMM_FUZZ_SEED");
  const auto seed =
      given != nullptr ? static_cast<unsigned>(std::strtoul(given, nullptr, 0)) : std::random_device{}();
  std::fprintf(stderr, "HPCVMM_FUZZ_SEED=%u\n", seed);
  std::mt19937 random(seed);
  ASSERT_TRUE(crypto_start());
  const std::vector<Bytes> datagrams{handshake(Kind::Init), handshake(Kind::Answer), handshake(Kind::Data)};
  for (int i = 0; i < 2000; ++i) {
    Bytes input = datagrams[random() % datagrams.size()];
    mutate(input, random);
    input[0] = 0;
    packet(input.data(), input.size());
  }
  for (int i = 0; i < 20000; ++i) {
    Bytes input{static_cast<std::uint8_t>(random() % 2 == 0 ? 1 : 3)};
    for (auto packets = 1 + random() % 6; packets != 0; --packets) add_frames(input, random);
    const std::uint8_t mode = input[0];
    if (random() % 4 != 0 && input.size() > 2) mutate(input, random);
    input[0] = mode;
    packet(input.data(), input.size());
  }
}

}  // namespace
}  // namespace hpcvmm::fuzz
