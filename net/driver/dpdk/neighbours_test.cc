// Goal: an address is asked for no more often than need be, and never believed for ever.  Method: a clock of
// our own.
#include "net/driver/dpdk/neighbours.hh"

#include <gtest/gtest.h>

namespace hpcvmm::net::dpdk {
namespace {

const Mac kOne{2, 0, 0, 0, 0, 1};
const Mac kTwo{2, 0, 0, 0, 0, 2};

TEST(Neighbours, AsksAtOnceAndThenNowAndThen) {
  Neighbours table;
  Nanos now = 5 * kSecond;
  EXPECT_TRUE(table.find(1, now).ask);
  EXPECT_FALSE(table.find(1, now + kAskAgain - 1).ask);
  EXPECT_TRUE(table.find(1, now + kAskAgain).ask);
  EXPECT_FALSE(table.find(1, now + kAskAgain).mac);
}

TEST(Neighbours, RemembersAnAnswerAndRenewsItWhileUsed) {
  Neighbours table;
  table.find(1, 0);
  EXPECT_TRUE(table.learn(1, kOne, true, 1));
  EXPECT_EQ(table.find(1, 2).mac, kOne);
  EXPECT_FALSE(table.find(1, kFresh).ask);
  const auto stale = table.find(1, kFresh + 2);
  EXPECT_TRUE(stale.ask);
  EXPECT_EQ(stale.mac, kOne) << "used while the question is under way";
  EXPECT_FALSE(table.learn(1, kOne, true, kFresh + 3)) << "the same answer is no news";
  EXPECT_FALSE(table.find(1, kFresh + 4).ask);
}

TEST(Neighbours, ForgetsWhatNobodyConfirms) {
  Neighbours table;
  table.find(1, 0);
  table.learn(1, kOne, true, 0);
  EXPECT_FALSE(table.find(1, kForget + 1).mac);
}

TEST(Neighbours, FollowsAStationThatMoves) {
  Neighbours table;
  table.find(1, 0);
  table.learn(1, kOne, true, 0);
  EXPECT_TRUE(table.learn(1, kTwo, false, 1));
  EXPECT_EQ(table.find(1, 2).mac, kTwo);
}

// Gossip between others must not fill our memory, nor be believed about stations we never asked for.
TEST(Neighbours, LearnsNothingFromTalkOfOthers) {
  Neighbours table;
  EXPECT_FALSE(table.learn(1, kOne, false, 0));
  EXPECT_EQ(table.size(), 0u);
}

TEST(Neighbours, IsBounded) {
  Neighbours table;
  for (std::uint32_t ip = 1; ip <= kMaxNeighbours + 100; ++ip) table.learn(ip, kOne, true, 0);
  EXPECT_EQ(table.size(), kMaxNeighbours);
  EXPECT_FALSE(table.find(kMaxNeighbours + 50, 1).ask);
  table.learn(kMaxNeighbours + 200, kOne, true, kForget + 1);
  EXPECT_EQ(table.size(), 1u) << "the old ones made room";
}

}  // namespace
}  // namespace hpcvmm::net::dpdk
