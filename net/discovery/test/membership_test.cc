// Goal: who claims what, who lives and who is believed.  Method: single packets by hand.
#include "net/discovery/membership.hh"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>

namespace hpcvmm::net::discovery {
namespace {

Record record(NodeId node, std::uint64_t machine, std::uint64_t life, std::uint32_t host) {
  return {node, State::Alive, 0, 0, life, machine, Address::from_v4(0x0a000000 + host, 7200)};
}

Packet packet(Type type, const Record& self, std::uint64_t sequence) {
  Packet p;
  p.type = type;
  p.self = self;
  p.sequence = sequence;
  return p;
}

class MembershipTest : public testing::Test {
 protected:
  MembershipTest() : m_(record(1, 11, 1000, 1), {}, 1) { m_.tick(0); }
  std::vector<Event::Kind> events() {
    std::vector<Event::Kind> out;
    for (const Event& e : m_.take_events())
      if (e.kind != Event::Kind::Heard) out.push_back(e.kind);
    return out;
  }
  void hear(const Packet& p, std::uint64_t now = 10) { m_.on_packet(p, p.self.address, now); }
  State state(NodeId node) { return m_.find(node)->record.state; }

  Membership m_;
};

TEST_F(MembershipTest, JoinsAreAnsweredAtOnce) {
  m_.take_outgoing();
  Packet join = packet(Type::Join, record(2, 22, 5, 2), 1);
  join.flags = kWantsAnswer;
  hear(join);
  EXPECT_EQ(m_.count(), 2U);
  EXPECT_EQ(events(), std::vector{Event::Kind::Joined});
  const auto out = m_.take_outgoing();
  ASSERT_EQ(out.size(), 1U);
  EXPECT_EQ(out[0].packet.type, Type::Welcome);
  EXPECT_EQ(out[0].to, join.self.address);
}

TEST_F(MembershipTest, AReplayIsDropped) {
  const Packet p = packet(Type::Ping, record(2, 22, 5, 2), 7);
  hear(p);
  EXPECT_EQ(m_.count(), 2U);
  m_.take_outgoing();
  hear(p);
  EXPECT_TRUE(m_.take_outgoing().empty()) << "not even answered";
  EXPECT_EQ(m_.counters().replayed, 1U);
  hear(packet(Type::Ping, record(2, 22, 4, 2), 8));
  EXPECT_EQ(m_.counters().replayed, 2U) << "an earlier life";
}

TEST_F(MembershipTest, AnotherLifeIsARestart) {
  hear(packet(Type::Ping, record(2, 22, 5, 2), 7));
  (void)events();
  hear(packet(Type::Ping, record(2, 22, 6, 2), 1));
  EXPECT_EQ(events(), std::vector{Event::Kind::Restarted});
  EXPECT_EQ(m_.count(), 2U);
}

TEST_F(MembershipTest, WhoHadTheNumberFirstKeepsIt) {
  hear(packet(Type::Join, record(1, 99, 2000, 9), 1));
  EXPECT_EQ(events(), std::vector{Event::Kind::ForeignClaim});
  const auto out = m_.take_outgoing();
  EXPECT_TRUE(
      std::any_of(out.begin(), out.end(), [](const Outgoing& o) { return o.packet.type == Type::Conflict; }));
  hear(packet(Type::Join, record(1, 88, 500, 8), 1));
  EXPECT_EQ(events(), std::vector{Event::Kind::NumberTaken});
}

TEST_F(MembershipTest, WhoOnlyTriesNeverTakesIt) {
  Packet p = packet(Type::Announce, record(1, 88, 500, 8), 1);
  p.flags = kProbation;
  hear(p);
  EXPECT_EQ(events(), std::vector{Event::Kind::ForeignClaim});
}

TEST_F(MembershipTest, ASecondClaimToAnothersNumberIsSentToIt) {
  hear(packet(Type::Ping, record(2, 22, 5, 2), 1));
  m_.take_outgoing();
  hear(packet(Type::Ping, record(2, 33, 9, 3), 1));
  EXPECT_EQ(m_.find(2)->record.machine, 22U) << "the holder is not displaced";
  const auto out = m_.take_outgoing();
  ASSERT_EQ(out.size(), 1U);
  EXPECT_EQ(out[0].packet.type, Type::Conflict);
  ASSERT_EQ(out[0].packet.records.size(), 1U);
  EXPECT_EQ(out[0].packet.records[0].machine, 22U);
}

TEST_F(MembershipTest, ARumourOfDeathIsOnlySuspicion) {
  hear(packet(Type::Ping, record(2, 22, 5, 2), 1));
  Packet rumour = packet(Type::Ping, record(3, 33, 5, 3), 1);
  rumour.records.push_back(record(2, 22, 5, 2));
  rumour.records[0].state = State::Dead;
  hear(rumour);
  EXPECT_EQ(state(2), State::Suspect);
  hear(packet(Type::Ping, record(2, 22, 5, 2), 2));
  EXPECT_EQ(state(2), State::Alive) << "it speaks";
}

TEST_F(MembershipTest, WeObjectToOurOwnDeath) {
  Packet rumour = packet(Type::Ping, record(3, 33, 5, 3), 1);
  rumour.records.push_back(m_.self());
  rumour.records[0].state = State::Suspect;
  hear(rumour);
  EXPECT_EQ(m_.self().version, 1U);
  const auto out = m_.take_outgoing();
  EXPECT_TRUE(
      std::any_of(out.begin(), out.end(), [](const Outgoing& o) { return o.packet.self.version == 1; }));
}

TEST_F(MembershipTest, SilenceIsSuspicionThenDeath) {
  hear(packet(Type::Ping, record(2, 22, 5, 2), 1));
  (void)events();
  std::uint64_t suspected = 0, dead = 0;
  for (std::uint64_t now = 20; now < 30'000 && dead == 0; now += 10) {
    m_.tick(now);
    for (const Event& e : m_.take_events()) {
      if (e.kind == Event::Kind::Suspected) suspected = now;
      if (e.kind == Event::Kind::Failed) dead = now;
    }
  }
  EXPECT_GT(suspected, 0U);
  EXPECT_GE(dead, suspected + 2000) << "time to object";
  EXPECT_EQ(m_.count(), 1U);
}

// Of many, few ask a suspect again; but nobody declares it dead without having asked it at the end.
TEST_F(MembershipTest, NobodyIsDeadUnasked) {
  for (NodeId n = 2; n <= 60; ++n) hear(packet(Type::Ping, record(n, n + 100, 5, n), 1));
  (void)events();
  m_.take_outgoing();
  std::map<NodeId, std::uint64_t> asked;
  unsigned dead = 0;
  for (std::uint64_t now = 20; now < 200'000; now += 10) {
    m_.tick(now);
    for (const Outgoing& o : m_.take_outgoing())
      if (o.packet.type == Type::Ping) asked[o.packet.about] = now;
    for (const Event& e : m_.take_events()) {
      if (e.kind != Event::Kind::Failed) continue;
      ++dead;
      EXPECT_LE(now - asked[e.node], 1100U) << "node " << e.node;
    }
  }
  EXPECT_EQ(dead, 59U);
}

TEST_F(MembershipTest, WhoLeavesIsGoneAtOnce) {
  hear(packet(Type::Ping, record(2, 22, 5, 2), 1));
  (void)events();
  Record left = record(2, 22, 5, 2);
  left.state = State::Left;
  hear(packet(Type::Leave, left, 2));
  EXPECT_EQ(events(), std::vector{Event::Kind::Left});
  EXPECT_EQ(m_.count(), 1U);
}

}  // namespace
}  // namespace hpcvmm::net::discovery
