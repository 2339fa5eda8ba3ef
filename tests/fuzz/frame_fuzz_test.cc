// Goal: the frame parser's fuzz target holds in every build, without libFuzzer.  Method: a bounded number of
// mutations of real frames, with a printed seed.
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <vector>

#include "net/driver/dpdk/frame.hh"
#include "tests/fuzz/fuzz_targets.hh"

namespace hpcvmm::fuzz {
namespace {

using Bytes = std::vector<std::uint8_t>;
using namespace net::dpdk;  // NOLINT(google-build-using-namespace)

Bytes datagram(std::uint32_t payload) {
  Bytes frame(kHeaderBytes + payload);
  const HeaderTemplate headers({.source_mac = {2, 0, 10, 77, 0, 2},
                                .target_mac = {2, 0, 10, 77, 0, 1},
                                .source_ip = 0x0a4d0002,
                                .target_ip = 0x0a4d0001,
                                .source_port = 7000,
                                .target_port = 7000});
  headers.stamp(reinterpret_cast<std::byte*>(frame.data()), payload);
  return frame;
}

Bytes question() {
  const auto built = build_arp({.is_request = true,
                                .sender_mac = {2, 0, 10, 77, 0, 2},
                                .sender_ip = 0x0a4d0002,
                                .target_ip = 0x0a4d0001},
                               kBroadcast);
  Bytes frame(built.size());
  std::memcpy(frame.data(), built.data(), built.size());
  return frame;
}

void mutate(Bytes& input, std::mt19937& random) {
  const auto changes = random() % 5;
  for (std::size_t i = 0; i < changes; ++i) {
    const std::size_t at = random() % std::min<std::size_t>(input.size(), 64);
    if (random() % 2 == 0)
      input[at] = static_cast<std::uint8_t>(random());
    else
      input[at] ^= static_cast<std::uint8_t>(1U << (random() % 8));
  }
  if (random() % 4 == 0) input.resize(1 + random() % input.size());
}

TEST(Fuzz, Frame) {
  const char* const given = std::getenv("HPCVMM_FUZZ_SEED");
  const auto seed =
      given != nullptr ? static_cast<unsigned>(std::strtoul(given, nullptr, 0)) : std::random_device{}();
  std::fprintf(stderr, "HPCVMM_FUZZ_SEED=%u\n", seed);
  std::mt19937 random(seed);
  const std::vector<Bytes> seeds{datagram(0), datagram(1), datagram(18), datagram(1400), question()};
  for (int i = 0; i < 300'000; ++i) {
    Bytes input = seeds[random() % seeds.size()];
    input.insert(input.begin(), static_cast<std::uint8_t>(random()));
    mutate(input, random);
    frame(input.data(), input.size());
  }
}

}  // namespace
}  // namespace hpcvmm::fuzz
