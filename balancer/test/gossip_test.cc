// Goal: load information is bounded, merged by age, and dies with its node.
#include "balancer/gossip.hh"

#include <gtest/gtest.h>

#include <limits>

#include "balancer/test/fixture.hh"

namespace hpcvmm::balancer::test {
namespace {

Gossip::Message one(const NodeLoad& n, double age) {
  Gossip::Message m;
  m.count = 1;
  m.entries[0] = n;
  m.entries[0].measured_s = age;
  return m;
}

TEST(Gossip, TheYoungerWins) {
  Gossip g;
  g.merge(one(node(2, 5), 1), 1, 100);
  g.merge(one(node(2, 7), 3), 1, 100);
  ASSERT_EQ(g.known().size(), 1U);
  EXPECT_EQ(g.known()[0].run_queue, 5);
  EXPECT_EQ(g.known()[0].measured_s, 99);
  g.merge(one(node(2, 8), 0.5), 1, 100);
  EXPECT_EQ(g.known()[0].run_queue, 8);
}

TEST(Gossip, ANewLifeReplacesAnOlderOne) {
  Gossip g;
  NodeLoad reborn = node(2, 1);
  reborn.epoch = 2;
  g.merge(one(reborn, 5), 1, 100);
  g.merge(one(node(2, 9), 0), 1, 100);  // its former life, heard late
  EXPECT_EQ(g.known()[0].run_queue, 1);
}

TEST(Gossip, LiesAndOneselfAreIgnored) {
  Gossip g;
  g.merge(one(node(1, 5), 0), 1, 100);
  g.merge(one(node(0, 5), 0), 1, 100);
  g.merge(one(node(2, 5), -10), 1, 100);
  g.merge(one(node(2, 5), std::numeric_limits<double>::quiet_NaN()), 1, 100);
  EXPECT_TRUE(g.known().empty());
  Gossip::Message m = one(node(2, 5), 0);
  m.count = 1000;
  for (NodeLoad& e : m.entries) e = m.entries[0];
  g.merge(m, 1, 100);
  EXPECT_EQ(g.known().size(), 1U);
}

TEST(Gossip, IsBounded) {
  Gossip g;
  for (NodeId n = 2; n < 1002; ++n) g.merge(one(node(n), 2000.0 - n), 1, 2000);
  EXPECT_EQ(g.known().size(), Gossip::kKnown);
  for (const NodeLoad& n : g.known()) EXPECT_GT(n.node, 1001 - Gossip::kKnown) << "the oldest go first";
  Random random(1);
  const Gossip::Message m = g.message(node(1), 2000, random);
  EXPECT_EQ(m.count, Gossip::kInMessage);
  EXPECT_EQ(m.entries[0].node, 1U);
  EXPECT_EQ(m.entries[0].measured_s, 0);
  for (std::uint32_t i = 1; i < m.count; ++i) EXPECT_GE(m.entries[i].measured_s, 0) << "ages, not times";
}

TEST(Gossip, SpeaksOnChangeAndSeldomOtherwise) {
  const GossipKnobs k;
  Gossip g;
  NodeLoad own = node(1, 0);
  double now = 0;
  for (std::uint32_t i = 0; i < k.young; ++i, now += 1) {
    EXPECT_TRUE(g.due(own, now, k));
    g.sent(own, now);
  }
  int sent = 0;
  for (int second = 0; second < 80; ++second, now += 1) {
    if (!g.due(own, now, k)) continue;
    g.sent(own, now);
    ++sent;
  }
  EXPECT_EQ(sent, 20);
  own.run_queue = 1;
  EXPECT_TRUE(g.due(own, now + 1, k));
  own.orders = kQuiet;
  EXPECT_FALSE(g.due(own, now + 100, k));
}

TEST(Gossip, ForgetsTheSilentAndTheGone) {
  Gossip g;
  const GossipKnobs k;
  g.merge(one(node(2), 0), 1, 100);
  g.merge(one(node(3), 0), 1, 120);
  g.merge(one(node(4), 0), 1, 120);
  g.forget(131, k);
  EXPECT_EQ(g.known().size(), 2U);
  g.forget_node(3);
  ASSERT_EQ(g.known().size(), 1U);
  EXPECT_EQ(g.known()[0].node, 4U);
  Random random(1);
  EXPECT_EQ(g.peer(random), 4U);
  g.forget_node(4);
  EXPECT_EQ(g.peer(random), kNoNode);
}

}  // namespace
}  // namespace hpcvmm::balancer::test
