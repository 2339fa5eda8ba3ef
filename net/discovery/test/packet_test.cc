// Goal: packets survive the wire, and nothing else is taken for one.
#include "net/discovery/packet.hh"

#include <gtest/gtest.h>

#include "net/discovery/multicast.hh"
#include "net/discovery/seal.hh"

namespace hpcvmm::net::discovery {
namespace {

Packet sample() {
  Packet p;
  p.type = Type::Ping;
  p.self = {7, State::Alive, kDraining, 3, 1'700'000'000'000, 42, Address::from_v4(0x0a000007, 7200)};
  p.sequence = 9;
  p.wall_ms = 1'700'000'000'500;
  p.about = 5;
  p.members = 12;
  p.load.assign(40, std::byte{1});
  p.records.assign(3, p.self);
  return p;
}

TEST(Packet, ThereAndBack) {
  const Packet p = sample();
  const auto back = parse(encode(p));
  ASSERT_TRUE(back);
  EXPECT_EQ(back->self, p.self);
  EXPECT_EQ(back->records, p.records);
  EXPECT_EQ(back->load, p.load);
  EXPECT_EQ(back->sequence, p.sequence);
  Packet sync = sample();
  sync.type = Type::Sync;
  sync.records.clear();
  sync.buckets.assign(kBuckets, 77);
  ASSERT_TRUE(parse(encode(sync)));
  EXPECT_EQ(parse(encode(sync))->buckets, sync.buckets);
}

TEST(Packet, TheLongestFitsEveryPath) {
  Packet p = sample();
  p.load.assign(1000, std::byte{1});
  p.records.assign(1000, p.self);
  const auto bytes = encode(p);
  EXPECT_LE(bytes.size() + kSealBytes + 4, 1200U);
  ASSERT_TRUE(parse(bytes));
  EXPECT_EQ(parse(bytes)->records.size(), kMaxRecords);
}

TEST(Packet, EveryCutIsRefused) {
  const auto bytes = encode(sample());
  for (std::size_t n = 0; n < bytes.size(); ++n) EXPECT_FALSE(parse(std::span(bytes).first(n))) << n;
  auto longer = bytes;
  longer.push_back(std::byte{0});
  EXPECT_FALSE(parse(longer));
}

TEST(Sealer, OnlyOurKeyOnlyNowOnlyWhole) {
  std::array<std::uint8_t, 32> ours{}, theirs{};
  ours.fill(1);
  theirs.fill(2);
  Sealer a(ours), b(ours), c(theirs);
  const Packet p = sample();
  auto sealed = a.seal(p);
  EXPECT_TRUE(b.open(sealed, p.wall_ms + 1000));
  EXPECT_FALSE(c.open(sealed, p.wall_ms));
  EXPECT_EQ(c.counters().wrong_key, 1U);
  EXPECT_FALSE(b.open(sealed, p.wall_ms + Sealer::kClockSlackMs + 1)) << "a recording";
  EXPECT_FALSE(b.open(sealed, p.wall_ms - Sealer::kClockSlackMs - 1));
  EXPECT_EQ(b.counters().old, 2U);
  for (std::size_t i = 0; i < sealed.size(); ++i) {
    sealed[i] ^= std::byte{0x10};
    EXPECT_FALSE(b.open(sealed, p.wall_ms)) << i;
    sealed[i] ^= std::byte{0x10};
  }
  EXPECT_FALSE(b.open({}, p.wall_ms));
}

TEST(Multicast, SocketsOfAllFamiliesOrAReason) {
  auto m = Multicast::open(
      {{}, {Address::from_v4(0xefc14801, 17201), *Address::parse("[ff02::4850:4356]:17201")}});
  ASSERT_TRUE(m) << m.error().op;
  EXPECT_GE((*m).fds().size(), 1U);
  EXPECT_FALSE(Multicast::open({}));
}

}  // namespace
}  // namespace hpcvmm::net::discovery
