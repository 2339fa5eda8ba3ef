// Goal: each knob and each order of a person does what its name says.  Method: a view in which it alone
// decides.
#include <gtest/gtest.h>

#include <algorithm>

#include "balancer/admit.hh"
#include "balancer/decay.hh"
#include "balancer/test/fixture.hh"

namespace hpcvmm::balancer::test {
namespace {

/// Node 2 holds one guest of node 1 and one process of its own; nodes 1 and 3 are idle.
Scene host() {
  Scene s;
  s.own = node(2, 2);
  s.own.cpus = 2;  // nobody has to move for speed
  s.others = {node(1), node(3)};
  s.processes = {process(1, 1), process(2, 2)};
  return s;
}

std::vector<ProcessId> movers(const Scene& s) {
  std::vector<ProcessId> ids;
  for (const Decision& d : s.moves()) ids.push_back(d.process);
  std::sort(ids.begin(), ids.end());
  return ids;
}

TEST(Orders, NothingMovesWithoutThem) { EXPECT_TRUE(host().moves().empty()); }

TEST(Orders, Stay) {
  Scene s = Scene::crowded(4, 1);
  s.own.orders = kStay;
  EXPECT_TRUE(s.moves().empty());
  EXPECT_EQ(s.why().forbidden, Forbidden::NodeStays);
}

TEST(Orders, LocalStayLetsGuestsGo) {
  Scene s = Scene::crowded(4, 1);
  s.processes[3].home = 7;
  s.own.orders = kLocalStay;
  EXPECT_EQ(movers(s), (std::vector<ProcessId>{4}));
  EXPECT_EQ(s.why(0).forbidden, Forbidden::LocalStays);
}

TEST(Orders, BlockKeepsGuestsOutAndLetsOwnHome) {
  Scene s = Scene::crowded(4, 1);
  s.others[0].orders = kBlock;
  EXPECT_TRUE(s.moves().empty());
  EXPECT_EQ(s.why().forbidden, Forbidden::Blocked);
  s.processes[0].home = 2;
  EXPECT_EQ(movers(s), (std::vector<ProcessId>{1}));
  Reservations door;
  EXPECT_EQ(door.ask(s.others[0], process(9, 1), 10, 0, s.knobs), Forbidden::Blocked);
}

TEST(Orders, ExpelSendsGuestsOnly) {
  Scene s = host();
  s.own.orders = kExpel;
  ASSERT_EQ(movers(s), (std::vector<ProcessId>{1}));
  EXPECT_EQ(s.moves()[0].reason, Reason::Expelled);
  s.others.clear();  // nobody is known: home must take it
  ASSERT_EQ(movers(s), (std::vector<ProcessId>{1}));
  EXPECT_EQ(s.moves()[0].to, 1U);
}

TEST(Orders, DrainSendsAll) {
  Scene s = host();
  s.own.orders = kDrain;
  s.processes[1].locked = true;  // a locked process still leaves when the node goes
  EXPECT_EQ(movers(s), (std::vector<ProcessId>{1, 2}));
  EXPECT_EQ(s.moves()[0].reason, Reason::Drained);
}

TEST(Orders, BringComesFromTheHomeNode) {
  Scene s = host();
  s.others[0].orders = kBring;
  ASSERT_EQ(movers(s), (std::vector<ProcessId>{1}));
  EXPECT_EQ(s.moves()[0].to, 1U);
  EXPECT_EQ(s.moves()[0].reason, Reason::Brought);
}

TEST(Orders, OwnerPriority) {
  Scene s = host();
  s.own.owner_active = true;
  ASSERT_EQ(movers(s), (std::vector<ProcessId>{1}));
  EXPECT_EQ(s.moves()[0].reason, Reason::Owner);
  s.knobs.owner_priority = false;
  EXPECT_TRUE(s.moves().empty());
  Scene crowd = Scene::crowded(4, 1);
  crowd.others[0].owner_active = true;
  EXPECT_TRUE(crowd.moves().empty()) << "no guests to a node its owner uses";
  EXPECT_EQ(crowd.why().forbidden, Forbidden::Owner);
}

TEST(PerProcess, LockCannotMoveAndMoving) {
  Scene s = Scene::crowded(3, 1);
  s.processes[0].locked = true;
  s.processes[1].cannot_move = true;
  s.processes[2].moving = true;
  EXPECT_TRUE(s.moves().empty());
  EXPECT_EQ(s.why(0).forbidden, Forbidden::Locked);
  EXPECT_EQ(s.why(1).forbidden, Forbidden::CannotMove);
  EXPECT_EQ(s.why(2).forbidden, Forbidden::Moving);
}

TEST(PerProcess, RunOnAndHomeOnly) {
  Scene s = host();
  s.processes[1].run_on = 3;
  s.processes[0].home_only = true;
  const auto moves = s.moves();
  ASSERT_EQ(moves.size(), 2U);
  for (const Decision& d : moves) EXPECT_EQ(d.to, d.process == 1 ? 1U : 3U);
  Random random(1);
  std::uint64_t turn = 0;
  EXPECT_EQ(place(s.view(), s.processes[1], Policy::Mosix, s.knobs, random, turn).to, 3U);
  EXPECT_EQ(place(s.view(), s.processes[0], Policy::Mosix, s.knobs, random, turn).to, 1U);
}

TEST(PerProcess, Masks) {
  Scene s = Scene::crowded(4, 3);
  const std::vector<NodeId> three{3};
  for (Process& p : s.processes) {
    p.mask = three;
    p.mask_mode = MaskMode::Allow;
  }
  for (const Decision& d : s.moves()) EXPECT_EQ(d.to, 3U);
  const std::vector<NodeId> deny{2, 3, 4};
  for (Process& p : s.processes) {
    p.mask = deny;
    p.mask_mode = MaskMode::Deny;
  }
  EXPECT_TRUE(s.moves().empty());
  EXPECT_EQ(s.why().forbidden, Forbidden::Masked);
}

TEST(PerProcess, CpuJobAndIoJob) {
  Scene s = Scene::crowded(3, 1);
  for (Process& p : s.processes) p.home_calls_ps = 50000;
  EXPECT_TRUE(s.moves().empty());
  for (Process& p : s.processes) p.kind = Kind::CpuJob;
  EXPECT_FALSE(s.moves().empty());
  s = Scene::crowded(3, 1);
  s.knobs.io_job_calls_ps = 50000;
  EXPECT_FALSE(s.moves().empty());
  for (Process& p : s.processes) p.kind = Kind::IoJob;
  EXPECT_TRUE(s.moves().empty());
}

TEST(Knobs, Hysteresis) {
  Scene s = Scene::crowded(3, 1);
  ASSERT_FALSE(s.moves().empty());
  s.knobs.hysteresis = 0.99;
  EXPECT_TRUE(s.moves().empty());
}

TEST(Knobs, MinGain) {
  Scene s = Scene::crowded(3, 1);
  s.knobs.min_gain_stretch = 100;
  EXPECT_TRUE(s.moves().empty());
}

TEST(Knobs, ResidencyGrowsWithMoves) {
  // A process that hardly works, such as make, is never old: 90 s saw it move 11 times.
  Scene s = Scene::crowded(4, 1);
  s.processes.resize(1);
  Process& p = s.processes[0];
  p.cpu_used_s = 2;
  unsigned moves = 0;
  double came = 0;
  for (double now = 0; now < 90; now += 1) {
    p.moves = moves;
    p.resident_s = static_cast<float>(now - came);
    if (s.moves().empty()) continue;
    ++moves;
    came = now;
  }
  EXPECT_GE(moves, 2U);
  EXPECT_LE(moves, 5U) << "a handful";
}

TEST(Knobs, ResidencyGrowsWithAge) {
  Scene s = Scene::crowded(3, 1);
  for (Process& p : s.processes) {
    p.moves = 1;
    p.resident_s = 10;
    p.cpu_used_s = 100;
  }
  EXPECT_TRUE(s.moves().empty());
  EXPECT_EQ(s.why().forbidden, Forbidden::Residency);
  for (Process& p : s.processes) p.resident_s = 60;
  EXPECT_FALSE(s.moves().empty());
  s.knobs.residency_s = 70;
  EXPECT_TRUE(s.moves().empty());
}

TEST(Knobs, MinAge) {
  Scene s = Scene::crowded(3, 1);
  for (Process& p : s.processes) {
    p.cpu_used_s = 0.5F;
    p.resident_s = 2;
  }
  EXPECT_TRUE(s.moves().empty());
  EXPECT_EQ(s.why().forbidden, Forbidden::TooYoung);
  // On a crowded node a process may wait for long before it has used that much.
  for (Process& p : s.processes) p.resident_s = 3.5;
  EXPECT_FALSE(s.moves().empty());
}

TEST(Knobs, MaxOut) {
  Scene s = Scene::crowded(20, 10);
  EXPECT_EQ(s.moves().size(), 2U);
  s.knobs.max_out = 5;
  EXPECT_EQ(s.moves().size(), 5U);
  s.in_flight = 3;
  EXPECT_EQ(s.moves().size(), 2U);
  s.in_flight = 5;
  EXPECT_TRUE(s.moves().empty());
  EXPECT_EQ(s.why().forbidden, Forbidden::InFlight);
}

TEST(Knobs, Staleness) {
  Scene s = Scene::crowded(3, 2);
  s.others[0].measured_s = -15;
  EXPECT_EQ(s.moves().at(0).to, 3U) << "fresh information wins among equals";
  for (NodeLoad& n : s.others) n.measured_s = -21;
  EXPECT_TRUE(s.moves().empty());
  EXPECT_EQ(s.why().forbidden, Forbidden::Stale);
}

TEST(Knobs, ReserveAndBandwidth) {
  Scene s = Scene::crowded(3, 1);
  s.knobs.reserve_mib = 5000;
  EXPECT_TRUE(s.moves().empty());
  s.knobs.reserve_mib = 64;
  s.knobs.bandwidth_mib_ps = 0.1;  // 640 s for 64 MiB
  EXPECT_TRUE(s.moves().empty());
}

TEST(Knobs, PoliciesButMosixNeverMove) {
  for (const Policy policy : {Policy::Static, Policy::RoundRobin, Policy::Random}) {
    Scene s = Scene::crowded(5, 3);
    s.policy = policy;
    EXPECT_TRUE(s.moves().empty());
    EXPECT_EQ(s.why().forbidden, Forbidden::Policy);
    s.processes[0].run_on = 3;
    EXPECT_EQ(s.moves().size(), 1U) << "people are obeyed under every policy";
  }
}

TEST(Decay, KeepsItsShare) {
  const DecayKnobs k;
  EXPECT_NEAR(decayed(1, 0, 1, Decay::Slow, k), 0.975, 1e-12);
  EXPECT_NEAR(decayed(1, 0, 1, Decay::Fast, k), 0.926, 1e-12);
  EXPECT_NEAR(decayed(0, 1, 2, Decay::Fast, k), 1 - 0.926 * 0.926, 1e-12);
  EXPECT_EQ(decayed(1, 0, 100, Decay::None, k), 1);
}

}  // namespace
}  // namespace hpcvmm::balancer::test
