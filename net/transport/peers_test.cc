// Goal: nodes find, lose and find each other as promised, and whoever has not the cluster key changes
// nothing.
#include <random>

#include "net/transport/handshake.hh"
#include "net/transport/sim_cluster.hh"

namespace hpcvmm::net {
namespace {

struct Two {
  explicit Two(std::uint64_t seed, const Config& a_config = {}, const Config& b_config = {}) : cluster(seed) {
    cluster.add(1, a_config);
    cluster.add(2, b_config);
    cluster.connect_all();
  }
  SimNode& a() { return *cluster.nodes()[0]; }
  SimNode& b() { return *cluster.nodes()[1]; }
  void cut() { cluster.net.cut(a().driver().local(), b().driver().local()); }
  /// Nothing may have gone wrong that nobody asked for.
  void expect_quiet(SimNode& n) {
    for (std::size_t i = 0; i < kDrops; ++i) {
      EXPECT_EQ(n.transport().stats().drops[i], 0U) << drop_name(static_cast<Drop>(i));
    }
  }
  SimCluster cluster;
};

std::uint64_t drops(SimNode& n, Drop d) { return n.transport().stats().drops[static_cast<std::size_t>(d)]; }

/// Sends `bytes` as `from` would.
void inject(SimNode& from, const Address& to, std::span<const std::byte> bytes) {
  TxPacket p;
  ASSERT_EQ(from.driver().alloc({&p, 1}), 1U);
  std::copy(bytes.begin(), bytes.end(), p.data);
  p.bytes = static_cast<std::uint32_t>(bytes.size());
  ASSERT_EQ(from.driver().send(to, {&p, 1}), 1U);
}

TEST(Peers, ComeUpAndStayUp) {
  Two two(1);
  ASSERT_TRUE(two.cluster.run_until_up(100 * kMillisecond));
  two.cluster.run(60 * kSecond);
  EXPECT_TRUE(two.cluster.all_up());
  EXPECT_TRUE(two.a().downs.empty());
  EXPECT_EQ(two.a().ups[2], 1);
  two.expect_quiet(two.a());
  two.expect_quiet(two.b());
}

TEST(Peers, IdleCostsLittle) {
  Two two(2);
  ASSERT_TRUE(two.cluster.run_until_up());
  two.cluster.run(5 * kSecond);
  const std::uint64_t before = two.cluster.net.counters().sent;
  two.cluster.run(100 * kSecond);
  const std::uint64_t idle = two.cluster.net.counters().sent - before;
  EXPECT_LE(idle, 500U) << "packets in 100 s, both nodes";
  EXPECT_GE(idle, 50U) << "nobody would notice a dead peer";
}

TEST(Peers, SilenceIsNoticedInTime) {
  for (const bool interested : {true, false}) {
    SCOPED_TRACE(interested);
    Two two(3);
    two.a().transport().set_interest(2, interested);
    ASSERT_TRUE(two.cluster.run_until_up());
    two.cluster.run(3 * kSecond);
    two.b().crash();
    const Nanos begin = two.cluster.net.now();
    ASSERT_TRUE(two.cluster.run(20 * kSecond, [&] { return !two.a().up(2); }));
    const Nanos took = two.cluster.net.now() - begin;
    EXPECT_EQ(two.a().downs[2].at(0), DownReason::Silent);
    EXPECT_GT(took, (interested ? 700 : 3900) * kMillisecond);
    EXPECT_LT(took, (interested ? 1100 : 5200) * kMillisecond);
  }
}

TEST(Peers, WaitingDataCountsAsInterest) {
  Two two(4);
  ASSERT_TRUE(two.cluster.run_until_up());
  two.cluster.run(3 * kSecond + 900 * kMillisecond);  // nothing was heard for long
  two.b().crash();
  const Nanos begin = two.cluster.net.now();
  ASSERT_TRUE(two.a().send(2, Priority::Fault, 100));
  ASSERT_TRUE(two.cluster.run(20 * kSecond, [&] { return !two.a().up(2); }));
  EXPECT_GT(two.cluster.net.now() - begin, 900 * kMillisecond)
      << "the silence before the question does not count";
  EXPECT_LT(two.cluster.net.now() - begin, 1200 * kMillisecond);
  expect_no_leak(two.a());
}

TEST(Peers, CutAndHealed) {
  Two two(5);
  two.a().transport().set_interest(2, true);
  two.b().transport().set_interest(1, true);
  ASSERT_TRUE(two.cluster.run_until_up());
  two.cut();
  ASSERT_TRUE(two.cluster.run(1500 * kMillisecond, [&] { return !two.a().up(2) && !two.b().up(1); }));
  two.cluster.run(30 * kSecond);
  EXPECT_FALSE(two.a().up(2));
  two.cluster.net.heal_all();
  EXPECT_TRUE(two.cluster.run_until_up(1500 * kMillisecond))
      << "the longest pause between two tries is a second";
  EXPECT_EQ(two.a().ups[2], 2);
  ASSERT_TRUE(two.a().send(2, Priority::Bulk, 50000));
  EXPECT_TRUE(two.cluster.run(kSecond, [&] { return two.b().received(1, Priority::Bulk) == 1; }));
}

TEST(Peers, ShortCutLosesNothing) {
  Two two(6);
  ASSERT_TRUE(two.cluster.run_until_up());
  for (int i = 0; i < 20; ++i) {
    two.cut();
    while (two.a().sent(2, Priority::Bulk) < 50U * static_cast<unsigned>(i + 1))
      two.a().send(2, Priority::Bulk, 20000);
    two.cluster.run(500 * kMillisecond);
    two.cluster.net.heal_all();
    two.cluster.run(200 * kMillisecond);
  }
  EXPECT_TRUE(two.cluster.run(5 * kSecond, [&] { return two.b().received(1, Priority::Bulk) == 1000; }));
  EXPECT_TRUE(two.a().downs.empty());
}

TEST(Peers, RestartReplacesTheOldSession) {
  Two two(7);
  ASSERT_TRUE(two.cluster.run_until_up());
  two.a().send(2, Priority::Bulk, 100000);
  Config config;
  config.key = test_key();
  two.b().restart(config);
  ASSERT_TRUE(two.b().transport().add_peer(1, two.a().driver().local()));
  ASSERT_TRUE(two.cluster.run(500 * kMillisecond, [&] { return two.a().ups[2] == 2 && two.b().up(1); }))
      << "sooner than silence would be noticed";
  ASSERT_EQ(two.a().downs[2].size(), 1U);
  EXPECT_EQ(two.a().downs[2][0], DownReason::Restarted);
  ASSERT_TRUE(two.b().send(1, Priority::Fault, 4112));
  ASSERT_TRUE(two.a().send(2, Priority::Fault, 4112));
  EXPECT_TRUE(two.cluster.run(kSecond, [&] {
    return two.b().received(1, Priority::Fault) == 1 && two.a().received(2, Priority::Fault) == 1;
  }));
  two.cluster.run(kSecond);
  expect_no_leak(two.a());
}

TEST(Peers, GoodbyeIsHeard) {
  Two two(8);
  ASSERT_TRUE(two.cluster.run_until_up());
  ASSERT_TRUE(two.b().transport().remove_peer(1));
  EXPECT_EQ(two.b().downs[1].at(0), DownReason::Removed);
  ASSERT_TRUE(two.cluster.run(10 * kMillisecond, [&] { return !two.a().up(2); }));
  EXPECT_EQ(two.a().downs[2].at(0), DownReason::Left);
  // It goes on asking, in vain, and the other one is told who asks.
  EXPECT_TRUE(two.cluster.run(5 * kSecond, [&] { return !two.b().unknown.empty(); }));
  EXPECT_EQ(two.b().unknown.at(0), 1U);
  EXPECT_FALSE(two.a().up(2));
  ASSERT_TRUE(two.b().transport().add_peer(1, two.a().driver().local()));
  EXPECT_TRUE(two.cluster.run_until_up());
}

TEST(Peers, MayBeRemovedWhileTheyAreServed) {
  Two two(9);
  ASSERT_TRUE(two.cluster.run_until_up());
  for (int i = 0; i < 50; ++i) two.a().send(2, Priority::Bulk, 30000);
  int seen = 0;
  two.b().raw = [&](const Message& m) {
    if (++seen != 5) return;
    EXPECT_TRUE(two.b().transport().remove_peer(m.from));
    EXPECT_FALSE(two.b().transport().up(m.from));
  };
  two.cluster.run(kSecond);
  EXPECT_EQ(seen, 5) << "nothing is delivered for a peer that was removed";
  EXPECT_EQ(two.b().downs[1].at(0), DownReason::Removed);
  expect_no_leak(two.b());
}

TEST(Peers, WrongKeyIsRefused) {
  Config wrong;
  wrong.key = test_key(0x11);
  Two two(10, {}, wrong);
  EXPECT_FALSE(two.cluster.run_until_up(5 * kSecond));
  EXPECT_GT(drops(two.a(), Drop::WrongKey), 2U);
  EXPECT_GT(drops(two.b(), Drop::WrongKey), 2U);
  EXPECT_EQ(two.a().ups[2] + two.b().ups[1], 0);
  EXPECT_TRUE(two.a().unknown.empty());
}

TEST(Peers, PlainAndSealedDoNotMix) {
  Config plain;
  plain.protection = Protection::PlainUnsafe;
  Two two(11, {}, plain);
  EXPECT_FALSE(two.cluster.run_until_up(5 * kSecond));
  Two both(12, plain, plain);
  ASSERT_TRUE(both.cluster.run_until_up());
  ASSERT_TRUE(both.a().send(2, Priority::Bulk, 100000));
  EXPECT_TRUE(both.cluster.run(kSecond, [&] { return both.b().received(1, Priority::Bulk) == 1; }));
  EXPECT_EQ(both.a().transport().peer_stats(2)->cipher, "plain");
}

TEST(Peers, ManyAtOnce) {
  SimCluster cluster(13);
  SimLink link;
  link.loss = 0.05;
  link.duplicate = 0.05;
  link.delay = kMillisecond;
  cluster.net.set_links(link);
  for (NodeId id = 1; id <= 12; ++id) cluster.add(id);
  cluster.connect_all();
  EXPECT_TRUE(cluster.run_until_up(3 * kSecond));
  for (auto& n : cluster.nodes()) {
    for (auto& [other, reasons] : n->downs) EXPECT_TRUE(reasons.empty()) << n->id() << " lost " << other;
  }
}

TEST(Peers, MeetHalfWay) {
  // Both try at the very same moment, over links with all kinds of delays: one session must remain, the same
  // for both.
  for (std::uint64_t seed = 1; seed <= 400; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937_64 random(seed);
    SimCluster cluster(seed);
    SimLink link;
    link.loss = seed % 2 == 0 ? 0.3 : 0;
    link.duplicate = 0.2;
    link.reorder = 0.3;
    link.delay = random() % (40 * kMillisecond);
    link.reorder_delay = random() % (60 * kMillisecond) + 1;
    cluster.net.set_links(link);
    Config config;
    config.tuning.silence = config.tuning.idle_silence =
        10 * kSecond;  // a bad link is not what is looked for here
    SimNode& a = cluster.add(1, config);
    SimNode& b = cluster.add(2, config);
    ASSERT_TRUE(b.transport().add_peer(1, a.driver().local()));
    cluster.run(random() % (30 * kMillisecond));
    ASSERT_TRUE(a.transport().add_peer(2, b.driver().local()));
    ASSERT_TRUE(cluster.run_until_up(20 * kSecond));
    cluster.run(2 * kSecond);
    const int ups = a.ups[2] + b.ups[1];
    cluster.run(20 * kSecond);
    EXPECT_EQ(a.ups[2] + b.ups[1], ups)
        << "they go on replacing each other's sessions: "
        << down_reason_name(a.downs[2].empty() ? DownReason::Left : a.downs[2].back()) << ", "
        << down_reason_name(b.downs[1].empty() ? DownReason::Left : b.downs[1].back());
    a.send(2, Priority::Control, 1000);
    b.send(1, Priority::Control, 1000);
    EXPECT_TRUE(cluster.run(10 * kSecond, [&] {
      return a.received(2, Priority::Control) == 1 && b.received(1, Priority::Control) == 1;
    }));
  }
}

TEST(Peers, ForgedCutAndReplayedPacketsAreCounted) {
  Two two(14);
  SimLink duplicating;
  duplicating.duplicate = 1;
  two.cluster.net.set_links(duplicating);
  ASSERT_TRUE(two.cluster.run_until_up());
  for (int i = 0; i < 50; ++i) two.a().send(2, Priority::Bulk, 4112);
  ASSERT_TRUE(two.cluster.run(kSecond, [&] { return two.b().received(1, Priority::Bulk) == 50; }));
  EXPECT_GT(drops(two.b(), Drop::Replayed), 40U);
  SimLink corrupting;
  corrupting.corrupt = 1;
  two.cluster.net.set_links(corrupting);
  for (int i = 0; i < 50; ++i) two.a().send(2, Priority::Bulk, 4112);
  two.cluster.run(300 * kMillisecond);
  EXPECT_EQ(two.b().received(1, Priority::Bulk), 50U) << "a changed packet was believed";
  EXPECT_GT(drops(two.b(), Drop::Forged), 10U);
  two.cluster.net.set_links({});
  EXPECT_TRUE(two.cluster.run(5 * kSecond, [&] { return two.b().received(1, Priority::Bulk) == 100; }));
}

TEST(Peers, NoiseIsCountedAndChangesNothing) {
  Two two(15);
  ASSERT_TRUE(two.cluster.run_until_up());
  std::mt19937_64 random(15);
  const Address to = two.b().driver().local();
  std::uint64_t loose = 0;
  for (int i = 0; i < 20000; ++i) {
    std::vector<std::byte> noise(random() % 300);
    for (auto& b : noise) b = static_cast<std::byte>(random());
    if (!noise.empty() && random() % 4 != 0) {
      // Something that looks like ours.
      const Kind kind = random() % 3 == 0 ? Kind::Init : random() % 2 == 0 ? Kind::Answer : Kind::Data;
      if (kind != Kind::Data) noise.resize(kHandshakeBytes);
      noise.resize(std::max<std::size_t>(noise.size(), 2));
      put_kind(noise.data(), kind);
    }
    // What carries no session's mark is for the handler to judge.
    if (noise.size() >= kLooseHeaderBytes && get_kind(noise) == Kind::Loose) ++loose;
    inject(two.a(), to, noise);
    if (i % 100 == 0) two.cluster.run(kMillisecond);
  }
  two.cluster.run(10 * kMillisecond);
  const Stats& s = two.b().transport().stats();
  std::uint64_t dropped = 0;
  for (const std::uint64_t d : s.drops) dropped += d;
  EXPECT_EQ(dropped + loose, 20000U) << "each is counted, once";
  EXPECT_GT(drops(two.b(), Drop::WrongKey), 1000U);
  EXPECT_GT(drops(two.b(), Drop::Truncated), 10U);
  EXPECT_GT(drops(two.b(), Drop::Version), 1000U);
  EXPECT_GT(drops(two.b(), Drop::NoSession), 1000U);
  EXPECT_TRUE(two.a().downs.empty() && two.b().downs.empty());
  ASSERT_TRUE(two.a().send(2, Priority::Bulk, 4112));
  EXPECT_TRUE(two.cluster.run(kSecond, [&] { return two.b().received(1, Priority::Bulk) == 1; }));
}

TEST(Peers, ReplayedHandshakesNeitherDisturbNorDrown) {
  Two two(16);
  ASSERT_TRUE(two.cluster.run_until_up());
  // An authentic Init, as if recorded before, sent a thousand times by somebody who cannot finish it.
  ASSERT_TRUE(crypto_start());
  const ClusterSecret cluster(test_key(), Protection::Auto);
  Hello hello;
  hello.from = 1;
  hello.to = 2;
  hello.session = 4711;
  hello.incarnation = 3;
  const Initiation recorded(cluster, hello);
  const std::uint64_t before = two.b().transport().stats().tx_packets;
  for (int i = 0; i < 1000; ++i) {
    inject(two.a(), two.b().driver().local(), recorded.packet());
    if (i % 100 == 0) two.cluster.run(kMillisecond);
  }
  two.cluster.run(10 * kSecond);
  EXPECT_LE(two.b().transport().stats().tx_packets - before, 80U) << "answers are rationed";
  EXPECT_GT(drops(two.b(), Drop::HandshakeRate) + drops(two.b(), Drop::HandshakeOld), 900U);
  EXPECT_TRUE(two.a().downs.empty() && two.b().downs.empty());
  EXPECT_TRUE(two.a().send(2, Priority::Bulk, 4112));
  EXPECT_TRUE(two.cluster.run(kSecond, [&] { return two.b().received(1, Priority::Bulk) == 1; }));
}

TEST(Peers, OwnStallIsNobodysSilence) {
  Two two(17);
  two.a().transport().set_interest(2, true);
  two.b().transport().set_interest(1, true);
  ASSERT_TRUE(two.cluster.run_until_up());
  two.cluster.run(kSecond);
  // Nobody runs for five seconds, as when the machine is suspended.
  two.cluster.net.advance(two.cluster.net.now() + 5 * kSecond);
  two.cluster.run(3 * kSecond);
  EXPECT_TRUE(two.a().downs.empty() && two.b().downs.empty());
  EXPECT_TRUE(two.cluster.all_up());
}

TEST(Peers, AddressMayChange) {
  Two two(18);
  SimNode& third = two.cluster.add(3);
  ASSERT_TRUE(third.transport().add_peer(1, SimNode::address_of(2)));  // a wrong one
  ASSERT_TRUE(two.a().transport().add_peer(3, third.driver().local()));
  two.cluster.run(300 * kMillisecond);
  ASSERT_TRUE(third.transport().add_peer(1, two.a().driver().local()));
  EXPECT_TRUE(two.cluster.run(2 * kSecond, [&] { return third.up(1) && two.a().up(3); }));
}

}  // namespace
}  // namespace hpcvmm::net
