// Goal: CPU numbers that all nodes agree on, whoever comes and goes in whatever order.
#include <gtest/gtest.h>

#include <map>
#include <memory>

#include "daemon/cpu_ranges.hh"

namespace hpcvmm::daemon {
namespace {

/// Nodes that hear each other at once.
struct Nodes {
  std::map<Node, std::unique_ptr<CpuRanges>> up;
  std::uint64_t now = 10'000;

  void add(Node id, std::uint32_t cpus, const std::vector<Node>& all) {
    std::vector<Node> seeds;
    for (const Node n : all)
      if (n != id) seeds.push_back(n);
    up[id] = std::make_unique<CpuRanges>(id, cpus, seeds);
  }
  void remove(Node id) {
    up.erase(id);
    for (auto& [other, r] : up) r->on_down(id);
  }
  void talk() {
    for (auto& [from, r] : up) {
      for (auto& [to, other] : up) {
        if (to == from) continue;
        const CpuRange* const own = r->own();
        if (const CpuRange* const yours = r->find(to); yours != nullptr)
          other->on_memory(yours->first, yours->cpus);
        other->on_claim(from, own != nullptr ? own->first : CpuRanges::kNone, own != nullptr ? own->cpus : 2,
                        own != nullptr ? now - own->since_ms : 0, now);
      }
    }
  }
  void run(std::uint64_t ms) {
    for (const std::uint64_t end = now + ms; now < end; now += 100) {
      for (auto& [id, r] : up) r->tick(now);
      talk();
    }
  }
  /// What each node has, if all agree; else the test fails.
  std::map<Node, std::uint32_t> firsts() {
    std::map<Node, std::uint32_t> out;
    for (auto& [id, r] : up) {
      EXPECT_NE(r->own(), nullptr) << "node " << id << " has no numbers";
      if (r->own() != nullptr) out[id] = r->own()->first;
    }
    for (auto& [id, r] : up)
      for (const auto& [other, first] : out) {
        const CpuRange* const seen = r->find(other);
        EXPECT_TRUE(seen != nullptr && seen->online && seen->first == first) << id << " about " << other;
      }
    return out;
  }
};

using Firsts = std::map<Node, std::uint32_t>;

TEST(CpuRanges, NodesThatStartTogetherAreInOrder) {
  Nodes n;
  for (const Node id : {1U, 2U, 3U}) n.add(id, 2, {1, 2, 3});
  n.run(500);
  EXPECT_EQ(n.firsts(), (Firsts{{1, 0}, {2, 2}, {3, 4}}));
}

TEST(CpuRanges, ALonelyNodeWaitsForOthersOnlySoLong) {
  Nodes n;
  n.add(2, 4, {1, 2});
  n.run(1000);
  EXPECT_EQ(n.up[2]->own(), nullptr);
  n.run(1000);
  EXPECT_EQ(n.firsts(), (Firsts{{2, 0}}));
}

TEST(CpuRanges, ALatecomerTakesNobodysNumbers) {
  Nodes n;
  n.add(2, 2, {1, 2, 3});
  n.add(3, 2, {1, 2, 3});
  n.run(3000);
  EXPECT_EQ(n.firsts(), (Firsts{{2, 0}, {3, 2}}));
  n.add(1, 8, {1, 2, 3});
  n.run(3000);
  EXPECT_EQ(n.firsts(), (Firsts{{1, 4}, {2, 0}, {3, 2}}));
}

TEST(CpuRanges, WhoComesBackGetsItsNumbersAgain) {
  Nodes n;
  for (const Node id : {1U, 2U, 3U}) n.add(id, 2, {1, 2, 3});
  n.run(500);
  n.remove(2);
  n.run(500);
  ASSERT_NE(n.up[1]->find(2), nullptr);
  EXPECT_FALSE(n.up[1]->find(2)->online);
  n.add(2, 2, {1, 2, 3});
  n.run(500);
  EXPECT_EQ(n.firsts(), (Firsts{{1, 0}, {2, 2}, {3, 4}}));
  n.remove(2);
  n.add(2, 4, {1, 2, 3});  // grown: its place is too small
  n.run(2500);
  EXPECT_EQ(n.firsts(), (Firsts{{1, 0}, {2, 6}, {3, 4}}));
}

TEST(CpuRanges, TheOlderOfTwoKeepsWhatBothHaveChosen) {
  Nodes a;
  a.add(3, 2, {1, 3});
  a.run(9000);  // alone, CPUs 0 and 1
  a.add(1, 2, {1, 3});
  a.up[1]->tick(a.now);
  a.now += CpuRanges::kPatienceMs + 100;
  a.up[1]->tick(a.now);  // has heard nobody, chooses the same
  ASSERT_EQ(a.up[1]->own()->first, 0U);
  a.run(3000);
  EXPECT_EQ(a.firsts(), (Firsts{{1, 2}, {3, 0}}));
}

}  // namespace
}  // namespace hpcvmm::daemon
