// Goal: clusters of any size find themselves, agree, and stay quiet.  Method: Membership in the simulated
// network, under a virtual clock, from printed seeds.
#include <gtest/gtest.h>

#include <random>

#include "net/discovery/cluster_sim.hh"

namespace hpcvmm::net::discovery {
namespace {

ClusterSimResult simulate(std::uint32_t nodes, double loss = 0) {
  ClusterSimOptions o;
  o.nodes = nodes;
  o.loss = loss;
  o.seed = std::random_device{}();
  std::fprintf(stderr, "seed %llu\n", static_cast<unsigned long long>(o.seed));
  const ClusterSimResult r = simulate_cluster(o);
  std::fprintf(
      stderr,
      "n %u: all know all %.2f, join known %.2f knows %.2f, crash noticed %.2f known %.2f, heals %.2f; "
      "idle %.0f B/s %.2f p/s most %.0f, busy %.0f B/s, longest %u, false %u\n",
      r.nodes, r.all_know_all_s, r.join_known_s, r.join_knows_s, r.crash_noticed_s, r.crash_known_s,
      r.partition_heals_s, r.idle_bytes_ps, r.idle_packets_ps, r.most_bytes_ps, r.busy_bytes_ps,
      r.longest_packet, r.false_deaths);
  return r;
}

TEST(ClusterSim, ThreeNodesFindEachOtherAtOnce) {
  const ClusterSimResult r = simulate(3);
  EXPECT_GE(r.all_know_all_s, 0);
  EXPECT_LT(r.all_know_all_s, 2);
  EXPECT_GE(r.crash_known_s, 0);
  EXPECT_LT(r.crash_known_s, 12);
  EXPECT_EQ(r.false_deaths, 0U);
}

TEST(ClusterSim, FiftyNodesAgreeAndHeal) {
  const ClusterSimResult r = simulate(50);
  EXPECT_GE(r.all_know_all_s, 0);
  EXPECT_LT(r.all_know_all_s, 5);
  EXPECT_GE(r.join_known_s, 0);
  EXPECT_LT(r.join_known_s, 20);
  EXPECT_GE(r.join_knows_s, 0);
  EXPECT_LT(r.join_knows_s, 2);
  EXPECT_GE(r.crash_known_s, 0);
  EXPECT_LT(r.crash_known_s, 30);
  EXPECT_GE(r.partition_heals_s, 0);
  EXPECT_EQ(r.false_deaths, 0U);
  EXPECT_LE(r.longest_packet, 1280U) << "fits every path";
}

TEST(ClusterSim, TrafficPerNodeDoesNotGrow) {
  const ClusterSimResult small = simulate(10), large = simulate(150);
  EXPECT_LT(large.idle_bytes_ps, small.idle_bytes_ps * 1.2);
}

TEST(ClusterSim, ABadNetworkKillsNobody) {
  const ClusterSimResult r = simulate(30, 0.05);
  EXPECT_GE(r.all_know_all_s, 0);
  EXPECT_GE(r.crash_known_s, 0);
  EXPECT_GE(r.partition_heals_s, 0);
  EXPECT_EQ(r.false_deaths, 0U);
}

}  // namespace
}  // namespace hpcvmm::net::discovery
