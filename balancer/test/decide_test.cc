// Goal: the properties the decision promises.  Method: hand-made views, and small clusters stepped by hand.
#include "balancer/decide.hh"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "balancer/admit.hh"
#include "balancer/cost.hh"
#include "balancer/test/fixture.hh"

namespace hpcvmm::balancer::test {
namespace {

TEST(Decide, AnIdleNodeDrawsWork) {
  const Scene s = Scene::crowded(4, 1);
  const auto moves = s.moves();
  ASSERT_FALSE(moves.empty());
  EXPECT_EQ(moves[0].to, 2U);
  EXPECT_EQ(moves[0].reason, Reason::LowerCost);
  EXPECT_LT(moves[0].best_cost, moves[0].stay_cost);
}

TEST(Decide, BalancedClustersRest) {
  Scene s = Scene::crowded(2, 0);
  s.others = {node(2, 2), node(3, 2)};
  EXPECT_TRUE(s.moves().empty());
  EXPECT_EQ(s.why().forbidden, Forbidden::Hysteresis);
}

TEST(Decide, OneProcessAloneStaysOnEqualNodes) { EXPECT_TRUE(Scene::crowded(1, 3).moves().empty()); }

TEST(Decide, SlowToFast) {
  Scene s = Scene::crowded(1, 0);
  s.others = {node(2, 0, 1), node(3, 0, 2)};
  const auto moves = s.moves();
  ASSERT_EQ(moves.size(), 1U);
  EXPECT_EQ(moves[0].to, 3U);
}

TEST(Decide, CpusCountLikeSpeed) {
  Scene s = Scene::crowded(4, 0);
  s.own.cpus = 4;
  s.others = {node(2)};
  EXPECT_TRUE(s.moves().empty()) << "four processes on four CPUs gain nothing elsewhere";
}

/// A cluster in which every node decides in turn with fresh, exact knowledge, a second apart.
struct Cluster {
  std::vector<NodeLoad> nodes;
  std::vector<Process> processes;
  std::map<ProcessId, NodeId> where;
  Knobs knobs;
  std::map<ProcessId, int> moves;

  NodeLoad load(NodeId id) const {
    NodeLoad n = nodes[id - 1];
    for (const Process& p : processes)
      if (where.at(p.id) == id) n = with(n, p, 1, knobs);
    return n;
  }
  void step() {
    for (Process& p : processes) {
      p.resident_s += 1;
      p.cpu_used_s += static_cast<float>(1 / stretch(nodes[where[p.id] - 1], load(where[p.id]).run_queue));
    }
    for (const NodeLoad& self : nodes) {
      Scene s;
      s.knobs = knobs;
      s.own = load(self.node);
      for (const NodeLoad& other : nodes)
        if (other.node != self.node) s.others.push_back(load(other.node));
      for (const Process& p : processes)
        if (where[p.id] == self.node) s.processes.push_back(p);
      for (const Decision& d : s.moves()) {
        where[d.process] = d.to;
        ++moves[d.process];
        const auto p = std::find_if(processes.begin(), processes.end(),
                                    [&](const Process& x) { return x.id == d.process; });
        p->resident_s = 0;
        ++p->moves;
      }
    }
  }
};

TEST(Decide, NoPingPong) {
  Cluster c;
  c.nodes = {node(1), node(2), node(3)};
  for (ProcessId i = 1; i <= 7; ++i) {
    c.processes.push_back(process(i));
    c.where[i] = 1;
  }
  for (int second = 0; second < 60; ++second) c.step();
  c.moves.clear();
  for (int second = 0; second < 600; ++second) c.step();
  EXPECT_TRUE(c.moves.empty()) << "a cluster that cannot be balanced better still moves";
  for (NodeId n = 1; n <= 3; ++n) EXPECT_LE(std::abs(c.load(n).run_queue - 7.0F / 3), 1.0F);
}

TEST(Decide, NobodyMovesMoreThanAHandful) {
  Cluster c;
  c.nodes = {node(1, 0, 1), node(2, 0, 2), node(3, 0, 0.5), node(4, 0, 1)};
  for (ProcessId i = 1; i <= 24; ++i) {
    c.processes.push_back(process(i));
    c.where[i] = 1;
  }
  for (int second = 0; second < 900; ++second) c.step();
  for (const auto& [id, count] : c.moves) EXPECT_LE(count, 5) << "process " << id;
  EXPECT_NEAR(c.load(2).run_queue / c.load(1).run_queue, 2, 0.8);
}

TEST(Decide, NoStampede) {
  // 30 crowded nodes all see node 99 idle, at the same moment.
  const NodeLoad idle = node(99);
  Reservations door;
  Knobs knobs;
  knobs.max_in = 100;  // the cost alone must stop them
  int entered = 0;
  for (NodeId source = 1; source <= 30; ++source) {
    Scene s = Scene::crowded(3, 0);
    s.knobs = knobs;
    s.knobs.max_out = 1;
    s.own.node = source;
    for (Process& p : s.processes) {
      p.home = source;
      p.id += source * 100ULL;
    }
    s.others = {idle};
    const auto moves = s.moves();
    ASSERT_EQ(moves.size(), 1U);
    const auto p = std::find_if(s.processes.begin(), s.processes.end(),
                                [&](const Process& x) { return x.id == moves[0].process; });
    if (door.ask(idle, *p, moves[0].stay_cost, 0, knobs) == Forbidden::Nothing) ++entered;
  }
  EXPECT_GE(entered, 1);
  EXPECT_LE(entered, 3) << "more than a source holds itself";
}

TEST(Reservation, LimitsRoomAndTime) {
  Reservations door;
  Knobs knobs;
  const NodeLoad idle = node(9);
  EXPECT_EQ(door.ask(idle, process(1), 10, 0, knobs), Forbidden::Nothing);
  EXPECT_EQ(door.ask(idle, process(2), 10, 0, knobs), Forbidden::Nothing);
  EXPECT_EQ(door.ask(idle, process(3), 10, 0, knobs), Forbidden::InFlight);
  EXPECT_FLOAT_EQ(door.with_promises(idle, 1, knobs).run_queue, 2);
  door.settle(1);
  EXPECT_FLOAT_EQ(door.with_promises(idle, 1, knobs).run_queue, 1);
  EXPECT_FLOAT_EQ(door.with_promises(idle, 1 + knobs.reservation_s, knobs).run_queue, 0)
      << "a promise lapses";
  door.settle(2);
  EXPECT_EQ(door.ask(idle, process(7), 10, 15, knobs), Forbidden::Nothing);
  EXPECT_EQ(door.ask(idle, process(8), 10, 15, knobs), Forbidden::Nothing);
  door.land(7, 15, knobs);
  EXPECT_FLOAT_EQ(door.with_promises(idle, 15, knobs).run_queue, 1) << "it is measured load from now on";
  EXPECT_EQ(door.ask(idle, process(9), 10, 15, knobs), Forbidden::InFlight) << "its pages are on their way";
  Process fresh = process(10);
  fresh.working_set_mib = 0;
  EXPECT_EQ(door.ask(idle, fresh, 10, 15, knobs), Forbidden::Nothing) << "what starts here brings nothing";
  door.settle(10);
  EXPECT_EQ(door.ask(idle, process(9), 10, 17, knobs), Forbidden::Nothing) << "it should have come by now";
  door.settle(8);
  door.settle(9);
  Process big = process(4);
  big.working_set_mib = 5000;
  EXPECT_EQ(door.ask(idle, big, 10, 20, knobs), Forbidden::NoMemory);
  NodeLoad own_home = node(1);
  own_home.free_mib = 0;
  EXPECT_EQ(door.ask(own_home, process(5, 1), 0, 20, knobs), Forbidden::Nothing)
      << "home takes its own always";
}

TEST(Memory, UshersBeforeItPages) {
  Scene s = Scene::crowded(3, 1);
  s.others[0].run_queue = 6;  // busier: balance alone would never go there
  s.others[0].urgency = 0.6F;
  s.own.free_mib = 100;
  s.processes[0].working_set_mib = 3000;
  s.processes[1].working_set_mib = 200;
  s.processes[2].working_set_mib = 20;
  for (Process& p : s.processes) {
    p.moves = 1;
    p.resident_s = 0;  // residency does not hold against memory
  }
  const auto moves = s.moves();
  ASSERT_EQ(moves.size(), 1U);
  EXPECT_EQ(moves[0].reason, Reason::Memory);
  EXPECT_EQ(moves[0].process, 2U) << "the smallest that ends the shortage";
}

TEST(Memory, OnlyWhereThereIsRoom) {
  Scene s = Scene::crowded(1, 2);
  s.own.paging = 0.5F;
  s.processes[0].working_set_mib = 1000;
  s.others[0].free_mib = 1000;  // would leave nothing
  EXPECT_EQ(s.moves().at(0).to, 3U);
  s.others[1].free_mib = 500;
  EXPECT_TRUE(s.moves().empty());
  EXPECT_EQ(s.why().forbidden, Forbidden::NoMemory);
}

TEST(Memory, LockedHogStays) {
  Scene s = Scene::crowded(1, 1);
  s.own.paging = 0.5F;
  s.processes[0].locked = true;
  EXPECT_TRUE(s.moves().empty());
}

TEST(Cost, MemoryAndCpuMeetInOneNumber) {
  Knobs k;
  NodeLoad half = node(2);
  half.free_mib = 2000;
  NodeLoad tight = node(3);
  tight.free_mib = 300;
  Process p = process(1);
  p.working_set_mib = 250;
  EXPECT_LT(cost_of_adding(half, p, k), cost_of_adding(tight, p, k));
  EXPECT_LT(cost_of_adding(node(4), p, k), cost_of_adding(half, p, k));
  EXPECT_NEAR(cost_of_keeping(with(half, p, 1, k), p, k), cost_of_adding(half, p, k), 1e-6);
}

TEST(Cost, TheMoveWeighsMoreForYoungAndLarge) {
  Knobs k;
  Process young = process(1), old = process(2), large = process(3);
  young.cpu_used_s = 1;
  old.cpu_used_s = 1000;
  large.working_set_mib = 3000;
  EXPECT_GT(move_cost(young, k), move_cost(old, k));
  EXPECT_GT(move_cost(large, k), move_cost(process(1), k));
  k.bandwidth_mib_ps = 0;
  EXPECT_EQ(move_cost(large, k), 0);
}

TEST(Affinity, ACallerOfHomeGoesHome) {
  Scene s = Scene::crowded(1, 0);
  s.own = node(2, 1);
  s.processes[0] = process(1, 1);
  s.others = {node(1, 1)};
  EXPECT_TRUE(s.moves().empty()) << "without calls, equal nodes are equal";
  s.processes[0].home_calls_ps = 50000;  // 5 s of round trips for each second of work
  const auto moves = s.moves();
  ASSERT_EQ(moves.size(), 1U);
  EXPECT_EQ(moves[0].to, 1U);
}

TEST(Affinity, PartnersStayTogether) {
  Scene s = Scene::crowded(3, 1);
  const std::vector<Partner> talk{{1, 100000}};
  for (Process& p : s.processes) p.partners = talk;
  EXPECT_TRUE(s.moves().empty());
  const std::vector<Partner> elsewhere{{2, 100000}};
  s.processes[1].partners = elsewhere;
  ASSERT_EQ(s.moves().size(), 1U);
  EXPECT_EQ(s.moves()[0].process, 2U);
}

TEST(Affinity, TheWayHomeCostsWhatWasMeasured) {
  // Away from a home that is as good, with some calls: stays by the knob's round trip, goes by a slow one.
  Scene s = Scene::crowded(1, 0);
  s.own = node(2, 1);
  s.processes[0] = process(1, 1);
  s.processes[0].home_calls_ps = 1500;
  s.others = {node(1, 1)};
  EXPECT_TRUE(s.moves().empty());
  s.processes[0].round_trip_s = 0.005F;
  ASSERT_EQ(s.moves().size(), 1U);
  EXPECT_EQ(s.moves()[0].to, 1U);
  s.knobs.round_trip_s = 0.005;
  s.processes[0].round_trip_s = 20e-6F;
  EXPECT_TRUE(s.moves().empty()) << "what is measured counts, not the knob";
}

TEST(Affinity, CallsLoadTheirHomeWhereverTheCallerRuns) {
  // What crowds home is not relieved by sending a caller away whose calls take as much of it as it does.
  Scene s = Scene::crowded(3, 1);
  for (Process& p : s.processes) p.home_calls_ps = 5000, p.round_trip_s = 1e-6F;
  EXPECT_FALSE(s.moves().empty());
  s.knobs.call_cpu_s = 400e-6;
  EXPECT_TRUE(s.moves().empty());
  const Process& p = s.processes[0];
  EXPECT_GT(distance_cost(node(2, 0), p, s.knobs, &s.own), distance_cost(node(2, 0), p, s.knobs))
      << "home's own processes pay";
}

TEST(Affinity, WhoWaitsForItsCallsMoreThanItRunsGoesHomeYoung) {
  Scene s = Scene::crowded(1, 0);
  s.own = node(2, 1);
  s.others = {node(1, 0), node(3, 0)};
  Process& p = s.processes[0] = process(1, 1);
  p.cpu_used_s = 0.2F;
  p.moves = 1;
  p.resident_s = 1.5F;
  p.home_calls_ps = 6000;
  p.round_trip_s = 100e-6F;  // 0.6 s for each second it runs
  EXPECT_TRUE(s.moves().empty());
  p.round_trip_s = 1e-3F;
  ASSERT_EQ(s.moves().size(), 1U);
  EXPECT_EQ(s.moves()[0].to, 1U);
  p.resident_s = 0.5F;
  EXPECT_TRUE(s.moves().empty()) << "it has just come";
  p.resident_s = 1.5F;
  s.others = {node(3, 0)};
  EXPECT_TRUE(s.moves().empty()) << "only home is open so early";
}

TEST(Affinity, DataCostMoreOverABusyNetwork) {
  const Knobs k;
  Process p = process(1, 1);
  p.home_mib_ps = 60;
  NodeLoad quiet = node(2);
  NodeLoad busy = quiet;
  busy.network_bytes_ps = static_cast<float>((k.bandwidth_mib_ps - 120) * 1048576);
  EXPECT_NEAR(distance_cost(busy, p, k), 5 * distance_cost(quiet, p, k), 1e-6);
  EXPECT_EQ(distance_cost(node(1), p, k), 0) << "at home";
}

TEST(Place, GoesWhereItIsCheapest) {
  Scene s = Scene::crowded(2, 0);
  s.others = {node(2, 3), node(3, 0)};
  Random random(1);
  std::uint64_t turn = 0;
  Process p = process(9);
  p.cpu_used_s = 0;
  EXPECT_EQ(place(s.view(), p, Policy::Mosix, s.knobs, random, turn).to, 3U);
  EXPECT_EQ(place(s.view(), p, Policy::Static, s.knobs, random, turn).to, 1U);
  std::vector<NodeId> seen;
  for (int i = 0; i < 3; ++i)
    seen.push_back(place(s.view(), p, Policy::RoundRobin, s.knobs, random, turn).to);
  EXPECT_EQ(seen, (std::vector<NodeId>{1, 2, 3}));
  std::map<NodeId, int> drawn;
  for (int i = 0; i < 300; ++i) ++drawn[place(s.view(), p, Policy::Random, s.knobs, random, turn).to];
  for (NodeId n = 1; n <= 3; ++n) EXPECT_GT(drawn[n], 60);
}

TEST(Why, NamesCostsAndWhatKeptIt) {
  Scene s = Scene::crowded(3, 2);
  s.processes[0].locked = true;
  const Decision d = s.why();
  EXPECT_FALSE(d.moves());
  EXPECT_EQ(d.best, 2U);
  EXPECT_EQ(d.next_best, 3U);
  const std::string text = describe(d);
  EXPECT_NE(text.find("stays on node 1"), std::string::npos) << text;
  EXPECT_NE(text.find("next best node 3"), std::string::npos) << text;
  EXPECT_NE(text.find("kept by: locked"), std::string::npos) << text;
}

}  // namespace
}  // namespace hpcvmm::balancer::test
