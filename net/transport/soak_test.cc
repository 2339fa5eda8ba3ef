// Goal: over links of every kind of badness, each message arrives once and in order, nothing leaks, and the
// same seed gives the same run.  Method: whole clusters in the simulated network, many seeds; a failure
// prints its seed.
#include <cstdlib>
#include <random>

#include "net/transport/sim_cluster.hh"

namespace hpcvmm::net {
namespace {

constexpr std::array kAll{Priority::Control, Priority::Fault, Priority::Bulk};

SimLink bad_link(std::mt19937_64& random) {
  SimLink link;
  const auto some = [&random](double most) { return static_cast<double>(random() % 1000) / 1000 * most; };
  link.loss = random() % 3 == 0 ? 0 : some(0.08);
  link.duplicate = random() % 2 == 0 ? 0 : some(0.05);
  link.reorder = random() % 2 == 0 ? 0 : some(0.10);
  link.corrupt = random() % 3 == 0 ? some(0.02) : 0;
  link.delay = (5 + random() % 2000) * kMicrosecond;
  link.jitter = random() % 2 == 0 ? 0 : random() % (200 * kMicrosecond) + 1;
  link.reorder_delay = (50 + random() % 3000) * kMicrosecond;
  constexpr std::array<std::uint64_t, 4> kRates{0, 100'000'000, 1'000'000'000, 40'000'000'000};
  link.bits_per_second = kRates[random() % kRates.size()];
  link.queue = (1 + random() % 20) * kMillisecond;
  if (random() % 4 == 0) link.mtu = 1472;
  return link;
}

std::uint32_t some_size(std::mt19937_64& random) {
  switch (random() % 8) {
    case 0: return 0;
    case 1: return static_cast<std::uint32_t>(random() % kMaxMessage);
    case 2: return 4096 + 16;
    case 3: return 16 * (4096 + 16);
    default: return static_cast<std::uint32_t>(random() % 2000);
  }
}

/// Sends until everybody has sent `messages` on every stream to everybody.
void sender(SimCluster& cluster, std::mt19937_64& random, std::uint64_t messages) {
  for (auto& from : cluster.nodes()) {
    for (auto& to : cluster.nodes()) {
      if (from == to || !from->up(to->id())) continue;
      for (const Priority p : kAll) {
        if (random() % 4 != 0 || from->sent(to->id(), p) >= messages) continue;
        from->send(to->id(), p, some_size(random));
      }
    }
  }
}

bool complete(SimCluster& cluster, std::uint64_t messages) {
  for (auto& from : cluster.nodes()) {
    for (auto& to : cluster.nodes()) {
      if (from == to) continue;
      for (const Priority p : kAll) {
        if (to->received(from->id(), p) != messages) return false;
      }
    }
  }
  return true;
}

struct Outcome {
  Nanos finished = 0;
  SimNetwork::Counters counters;
  std::uint64_t lost = 0;
  std::uint64_t resent = 0;
};

Outcome soak(std::uint64_t seed, std::uint64_t messages) {
  SCOPED_TRACE("HPCVMM_NET_SEED=" + std::to_string(seed));
  std::mt19937_64 random(seed);
  SimCluster cluster(random());
  cluster.net.set_links(bad_link(random));
  Config config;
  if (random() % 2 == 0) config.protection = Protection::ChaCha20;
  if (random() % 3 == 0) config.tuning.rekey_packets = 200;
  // A cut must not be what decides here: links as bad as these may be silent for a second.
  config.tuning.silence = config.tuning.idle_silence = 60 * kSecond;
  const auto count = static_cast<NodeId>(2 + random() % 2);
  for (NodeId id = 1; id <= count; ++id) {
    SimSkew skew;
    skew.ahead = random() % (1000 * kSecond);
    skew.rate = 1 + (static_cast<double>(random() % 400) - 200) / 1e6;
    SimNode& node = cluster.add(id, config, skew);
    node.lend = random() % 2 == 0;
    if (random() % 3 == 0) node.driver().set_send_limit(1 + random() % 8);
    if (random() % 3 == 0) {
      // A handler that has no room now and then.
      node.take = [&cluster, &random, id](const Message& m) {
        if (random() % 5 != 0) return Take::Done;
        cluster.nodes()[id - 1]->transport().resume(m.from, m.priority);
        return Take::Later;
      };
    }
  }
  cluster.connect_all();
  Outcome out;
  EXPECT_TRUE(cluster.run_until_up(30 * kSecond)) << "not up";
  if (::testing::Test::HasFailure()) return out;
  EXPECT_TRUE(cluster.run(
      600 * kSecond, [&] { return complete(cluster, messages); }, [&] { sender(cluster, random, messages); }))
      << "not everything arrived";
  out.finished = cluster.net.now();
  // The last acknowledgements.
  cluster.run(20 * kSecond);
  for (auto& node : cluster.nodes()) {
    expect_no_leak(*node);
    EXPECT_LE(node->driver().buffers_out(), 32U) << "more than the transport's spare buffers";
    for (auto& other : cluster.nodes()) {
      if (node == other) continue;
      const PeerStats stats = *node->transport().peer_stats(other->id());
      for (const DownReason r : node->downs[other->id()]) {
        ADD_FAILURE() << "the link went down: " << down_reason_name(r) << " at " << node->id() << " after "
                      << (node->down_times[0] - kSecond) / kMicrosecond << " us";
      }
      out.lost += stats.lost_packets;
      out.resent += stats.resent_bytes;
    }
  }
  out.counters = cluster.net.counters();
  return out;
}

TEST(Soak, ManySeeds) {
  const char* const given = std::getenv("HPCVMM_NET_SEED");
  if (given != nullptr) {
    soak(std::strtoull(given, nullptr, 0), 60);
    return;
  }
  std::uint64_t lost = 0;
  std::uint64_t overtaken = 0;
  for (std::uint64_t seed = 1; seed <= 80 && !HasFailure(); ++seed) {
    const Outcome out = soak(seed, 60);
    lost += out.counters.lost;
    overtaken += out.counters.overtaken;
  }
  // The links were bad indeed.
  EXPECT_GT(lost, 1000U);
  EXPECT_GT(overtaken, 1000U);
}

TEST(Soak, SameSeedSameRun) {
  for (const std::uint64_t seed : {7001ULL, 7002ULL, 7003ULL}) {
    const Outcome a = soak(seed, 30);
    const Outcome b = soak(seed, 30);
    EXPECT_EQ(a.finished, b.finished);
    EXPECT_EQ(a.counters.sent, b.counters.sent);
    EXPECT_EQ(a.counters.lost, b.counters.lost);
    EXPECT_EQ(a.lost, b.lost);
    EXPECT_EQ(a.resent, b.resent);
  }
}

}  // namespace
}  // namespace hpcvmm::net
