// Goal: the parts of the live balancer that are pure do what their headers say.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>

#include <cstdio>
#include <cstring>
#include <ctime>
#include <fstream>

#include "balancer/decide.hh"
#include "balancer/record/record.hh"
#include "daemon/balance/attributes.hh"
#include "daemon/balance/codec.hh"
#include "daemon/balance/meter.hh"
#include "daemon/balance/partners.hh"
#include "daemon/balance/profiles.hh"
#include "daemon/balance/settings.hh"
#include "daemon/balance/speed.hh"
#include "daemon/balance/track.hh"
#include "daemon/facts.hh"

namespace hpcvmm::daemon {
namespace {

using balancer::Decay;
using nlohmann::json;
using testing::HasSubstr;

// --- what people say of a process

TEST(Attributes, AreTakenAndShown) {
  Attributes a;
  EXPECT_EQ(
      take_attributes(json::parse(R"({"locked":true,"home_only":false,"run_on":3,"kind":"io","decay":"slow",
                                            "mask":{"mode":"deny","nodes":[9,2,2]}})"),
                      a),
      "");
  EXPECT_TRUE(a.locked);
  EXPECT_EQ(a.run_on, 3U);
  EXPECT_EQ(a.kind, balancer::Kind::IoJob);
  EXPECT_THAT(a.mask, testing::ElementsAre(2U, 9U)) << "sorted, once each: the rules search it";
  json shown;
  put_attributes(a, shown);
  Attributes again;
  EXPECT_EQ(take_attributes(shown, again), "");
  EXPECT_EQ(again, a);
}

TEST(Attributes, WrongOnesAreNamedAndChangeNothing) {
  const auto wrong = [](const char* text) {
    Attributes a;
    const std::string why = take_attributes(json::parse(text), a);
    EXPECT_EQ(a, Attributes{}) << text;
    return why;
  };
  EXPECT_THAT(wrong(R"({"locked":1})"), HasSubstr("`locked`"));
  EXPECT_THAT(wrong(R"({"run_on":70000})"), HasSubstr("`run_on`"));
  EXPECT_THAT(wrong(R"({"run_on":-1})"), HasSubstr("`run_on`"));
  EXPECT_THAT(wrong(R"({"kind":"idle"})"), HasSubstr("measured, cpu, io"));
  EXPECT_THAT(wrong(R"({"mask":{"mode":"allow","nodes":[0]}})"), HasSubstr("node numbers"));
  EXPECT_THAT(wrong(R"({"locked":true,"colour":1})"), HasSubstr("unknown setting `colour`"));
  json many = {{"mask", {{"mode", "allow"}, {"nodes", json::array()}}}};
  for (std::size_t n = 1; n <= peer::kMostMasked + 1; ++n) many["mask"]["nodes"].push_back(n);
  Attributes a;
  EXPECT_THAT(take_attributes(many, a), HasSubstr("at most"));
}

TEST(Attributes, OfLaunchsOptions) {
  wire::local::Settings s;
  s.given = s.locked = 1;
  s.run_on = 3;
  s.kind = wire::local::Kind::Cpu;
  s.decay = wire::local::Decay::None;
  s.mask_mode = wire::local::MaskMode::Allow;
  s.mask_count = 2;
  s.mask_nodes[0] = 9;
  s.mask_nodes[1] = 2;
  const Attributes a = attributes_of(s);
  EXPECT_TRUE(a.locked);
  EXPECT_FALSE(a.home_only);
  EXPECT_EQ(a.run_on, 3U);
  EXPECT_EQ(a.kind, balancer::Kind::CpuJob);
  EXPECT_EQ(a.decay, DecayChoice::None);
  EXPECT_EQ(a.mask_mode, balancer::MaskMode::Allow);
  EXPECT_THAT(a.mask, testing::ElementsAre(2U, 9U));
}

TEST(Attributes, TravelWithTheirProcess) {
  Attributes a;
  a.locked = true;
  a.run_on = 65535;
  a.kind = balancer::Kind::CpuJob;
  a.decay = DecayChoice::None;
  a.mask_mode = balancer::MaskMode::Allow;
  a.mask = {1, 7, 65535};
  peer::Guest g;
  g.pid = 1;
  put_attributes(a, g);
  const peer::Message m = peer::parse(peer::bytes_of(g));
  ASSERT_TRUE(std::holds_alternative<peer::Guest>(m));
  EXPECT_EQ(attributes_of(std::get<peer::Guest>(m)), a);
}

// --- what people say of a node

TEST(Settings, EverySettingComesBack) {
  Settings s;
  s.orders = balancer::kStay | balancer::kBring;
  s.policy = balancer::Policy::RoundRobin;
  s.knobs.hysteresis = 0.4;
  s.knobs.max_out = 7;
  s.owner_active = true;
  Settings again;
  EXPECT_EQ(take_settings(settings_json(s), again), "");
  EXPECT_EQ(settings_json(again), settings_json(s));
}

TEST(Settings, WrongOnesAreNamedAndChangeNothing) {
  const auto wrong = [](const char* text) {
    Settings s;
    const std::string why = take_settings(json::parse(text), s);
    EXPECT_EQ(settings_json(s), settings_json({})) << text;
    return why;
  };
  EXPECT_THAT(wrong(R"({"stay":true,"expell":true})"), HasSubstr("unknown setting `expell`"));
  EXPECT_THAT(wrong(R"({"hysteresis":2})"), HasSubstr("from 0 to 1"));
  EXPECT_THAT(wrong(R"({"max_in":-1})"), HasSubstr("`max_in`"));
  EXPECT_THAT(wrong(R"({"policy":"best"})"), HasSubstr("round-robin"));
  EXPECT_THAT(wrong(R"({"owner_active":"yes"})"), HasSubstr("auto"));
  EXPECT_THAT(wrong(R"({"block":"true"})"), HasSubstr("true or false"));
  EXPECT_THAT(wrong(R"({"drain":true})"), HasSubstr("unknown")) << "a verb of its own";
}

TEST(Settings, AreRememberedInAFile) {
  const std::string path = testing::TempDir() + "/settings." + std::to_string(::getpid());
  Settings s;
  EXPECT_EQ(read_settings(path, s), "") << "no file: nothing was set";
  s.orders = balancer::kDrain | balancer::kBlock;
  s.knobs.min_age_s = 2.5;
  EXPECT_EQ(write_settings(path, s), "");
  Settings again;
  EXPECT_EQ(read_settings(path, again), "");
  EXPECT_EQ(again.orders, s.orders);
  EXPECT_DOUBLE_EQ(again.knobs.min_age_s, 2.5);
  std::ofstream(path) << "{broken";
  EXPECT_THAT(read_settings(path, again), HasSubstr(path));
  std::remove(path.c_str());
}

// --- statistics

TEST(Track, WhatIsAssumedCountsUntilSomethingIsMeasured) {
  const balancer::DecayKnobs knobs;
  Track t(100, 1);
  EXPECT_FLOAT_EQ(t.cpu_use(), 1);
  t.look(0);
  t.sample(100.5, 0, Decay::Fast, knobs);
  EXPECT_FLOAT_EQ(t.cpu_use(), 1) << "the first look may have come before it ran";
  for (int i = 0; i < 4; ++i) t.look(1);
  t.sample(101.5, 100'000, Decay::Fast, knobs);
  EXPECT_FLOAT_EQ(t.cpu_use(), 1) << "waits for a CPU that it gets a tenth of";
  EXPECT_FLOAT_EQ(t.busy(), 0.1F);
  for (int i = 0; i < 30; ++i) {
    t.look(0);
    t.sample(102.5 + i, 100'000, Decay::Fast, knobs);
  }
  EXPECT_LT(t.cpu_use(), 0.2F) << "sleeps";
  EXPECT_FALSE(t.active());
}

TEST(Track, WhoComesBackWantsWhatItWantedElsewhere) {
  const balancer::DecayKnobs knobs;
  Track t(0, 1);
  for (int i = 1; i <= 20; ++i) t.sample(i, 1000, balancer::Decay::Slow, knobs);  // away: its deputy waits
  EXPECT_LT(t.cpu_use(), 0.1F);
  t.come_back(20, 1);
  EXPECT_EQ(t.cpu_use(), 1.0F);
  t.sample(21, 500'000, balancer::Decay::Slow, knobs);  // what it has used before says nothing
  EXPECT_EQ(t.cpu_use(), 1.0F);
  t.look(1);
  t.sample(22, 1'500'000, balancer::Decay::Slow, knobs);
  EXPECT_NEAR(t.cpu_use(), 1, 0.01);
}

TEST(Track, ManyThreadsAndNoDecay) {
  const balancer::DecayKnobs knobs;
  Track t(0, 1);
  for (int s = 1; s < 5; ++s) {
    t.look(4);
    t.sample(s, static_cast<std::uint64_t>(s) * 2'000'000, Decay::None, knobs);
  }
  EXPECT_FLOAT_EQ(t.cpu_use(), 4);
  t.look(0);
  t.sample(6, 8'000'000, Decay::None, knobs);
  EXPECT_FLOAT_EQ(t.cpu_use(), 4) << "nothing is forgotten";
  EXPECT_DOUBLE_EQ(t.resident_s(7), 7);
}

TEST(CallRate, IsPerSecondOfCpuTime) {
  CallRate r;
  r.sample(1000, 0);
  EXPECT_FLOAT_EQ(r.per_s(), 0) << "calls before it was first counted";
  for (int i = 1; i < 20; ++i) r.sample(1000 + i * 200U, i * 100'000U);
  EXPECT_NEAR(r.per_s(), 2000, 1);
}

TEST(Profiles, CallsThatWentHomeCountWhereTheyHaveBeenSeen) {
  Profiles p;
  p.ended("/bin/cc", false, {1.0, 5000, 0, 0}, 1);
  EXPECT_NEAR(p.find("/bin/cc", false)->went_home_ps(), 5000, 1) << "nobody knows better yet";
  EXPECT_EQ(p.find("/bin/cc", false)->home_share(), 1);
  // Elsewhere its node makes most of them itself.
  p.ended("/bin/cc", false, {0, 0, 1.0, 500}, 2);
  EXPECT_NEAR(p.find("/bin/cc", false)->went_home_ps(), 500, 1);
  EXPECT_NEAR(p.find("/bin/cc", false)->calls_ps, 5000, 1) << "what is seen away says nothing of home";
  EXPECT_NEAR(p.find("/bin/cc", false)->home_share(), 0.1, 0.001);
  EXPECT_NEAR(p.find("/bin/cc", false)->cpu_s, 1, 0.001);
}

TEST(CallTime, FollowsWhatIsMeasuredWithinBounds) {
  CallTime t;
  EXPECT_EQ(t.seconds(), 0) << "not known";
  t.sample(10, 10'000);
  EXPECT_EQ(t.seconds(), 0) << "too few to tell";
  t.sample(100, 30'000);
  EXPECT_NEAR(t.seconds(), 300e-6, 1e-6);
  EXPECT_EQ(t.fresh(), 100U);
  t.sample(100'100, 30'000 + 100'000 * 900);
  EXPECT_NEAR(t.seconds(), 600e-6, 1e-6) << "one sample is not believed whole";
  t.sample(50, 20'000);  // another program, which counts from 0
  EXPECT_EQ(t.fresh(), 0U);
  for (int i = 1; i <= 40; ++i)
    t.sample(50 + 1000U * static_cast<unsigned>(i), 20'000 + 1'000'000'000U * static_cast<std::uint64_t>(i));
  EXPECT_LE(t.seconds(), 20e-3F) << "a second is not the way's";
}

TEST(Partners, ArePairsThatHoldEndsOfOnePipeOrConnection) {
  const std::vector<Held> all{{1, {10, 11, 20}, 0}, {2, {10, 21}, 0}, {3, {30}, 0}, {4, {11, 31}, 2},
                              {5, {11}, 0},         {6, {11}, 0},     {7, {11}, 0}};
  const auto pairs = joined(all, {{20, 21}, {30, 31}, {98, 99}});
  ASSERT_EQ(pairs.size(), 2U) << "11 is held by five: nobody's";
  EXPECT_EQ(pairs[0].a, 1);
  EXPECT_EQ(pairs[0].b, 2);
  EXPECT_EQ(pairs[0].count, 2U) << "a pipe and a connection";
  EXPECT_EQ(pairs[1].a, 3);
  EXPECT_EQ(pairs[1].b, 4);
  const char* const text =
      "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
      "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 50 1 0 100 "
      "0 0 10 0\n"
      "   1: 0100007F:1F90 0100007F:C001 01 00000000:00000000 00:00000000 00000000     0        0 51 1 0 20 "
      "4 30 10 -1\n"
      "   2: 0100007F:C001 0100007F:1F90 01 00000000:00000000 00:00000000 00000000     0        0 52 1 0 20 "
      "4 30 10 -1\n"
      "   3: 0100007F:C002 0100007F:1F90 01 000000";
  const auto ends = connected(text);
  ASSERT_EQ(ends.size(), 1U);
  EXPECT_EQ(ends[0], (std::pair<std::uint64_t, std::uint64_t>{51, 52}));
}

TEST(Track, TheMeanOfItsLifeCountsLooksThatWereNotWorthIt) {
  Track t(0, 1);
  t.look(1);
  t.look_away();
  EXPECT_LT(t.life_mean(), 0) << "too few to tell";
  t.look_away();
  t.look_away();
  EXPECT_FLOAT_EQ(t.life_mean(), 0.25F);
}

TEST(Profiles, WhatWaitsAllItsLifeIsNotTakenForLoad) {
  Profiles p;
  p.ended("/bin/cc", false, {0.02, 100, 0, 0, 0.01}, 1);
  EXPECT_FLOAT_EQ(p.find("/bin/cc", false)->assumed_use(), 1) << "once may be chance";
  p.ended("/bin/cc", false, {0.02, 100, 0, 0, 0.01}, 2);
  EXPECT_FLOAT_EQ(p.find("/bin/cc", false)->assumed_use(), 0.05F) << "never nothing";
  for (int i = 0; i < 20; ++i) p.ended("/bin/cc1", false, {1, 100, 0, 0, i % 2 == 0 ? 4.0 : -1.0}, 3);
  EXPECT_FLOAT_EQ(p.find("/bin/cc1", false)->assumed_use(), 1) << "it begins with one thread";
}

TEST(Profiles, AverageRememberAndForget) {
  Profiles p;
  EXPECT_EQ(p.find("/bin/cc", false), nullptr);
  p.ended("/bin/cc", false, {2.0, 100, 0, 0}, 1);
  p.ended("/bin/cc", false, {1.0, 50, 0, 0}, 2);
  ASSERT_NE(p.find("/bin/cc", false), nullptr);
  EXPECT_DOUBLE_EQ(p.find("/bin/cc", false)->cpu_s, 1.5);
  EXPECT_DOUBLE_EQ(p.find("/bin/cc", false)->calls_ps, 50);
  EXPECT_EQ(p.find("/bin/cc", true), nullptr) << "its children of fork are something else";
  for (int i = 0; i < 50; ++i) p.ended("/bin/cc", false, {0.01, 0, 0, 0}, 3);
  EXPECT_LT(p.find("/bin/cc", false)->cpu_s, Profiles::kShortS) << "old runs are forgotten";
  for (std::size_t i = 0; i < Profiles::kMost + 10; ++i)
    p.ended(std::to_string(i), false, {1, 0, 0, 0}, 10.0 + static_cast<double>(i));
  EXPECT_EQ(p.size(), Profiles::kMost);
  EXPECT_EQ(p.find("/bin/cc", false), nullptr) << "longest not heard of";
}

// --- measuring

TEST(Meter, TextsOfTheKernel) {
  EXPECT_EQ(pressure_us("some avg10=0.00 avg60=0.00 avg300=0.00 total=12345\nfull avg10=0 total=9\n"),
            12345U);
  EXPECT_EQ(pressure_us(""), 0U);
  EXPECT_EQ(stat_value("anon 5\ninactive_file 4096\nfile 3\n", "inactive_file"), 4096U);
  EXPECT_EQ(stat_value("total_inactive_file 1\n", "inactive_file"), 0U);
}

TEST(Meter, SeesThatThisTestRuns) { EXPECT_GE(runnable_threads(::getpid()), 1U); }

TEST(Speed, IsMeasuredOnceAndNoted) {
  const std::string path = testing::TempDir() + "/speed." + std::to_string(::getpid());
  const double first = known_speed(path);
  EXPECT_GT(first, 0.01);
  EXPECT_LT(first, 100);
  EXPECT_DOUBLE_EQ(known_speed(path), first);
  std::remove(path.c_str());
}

// --- between nodes

TEST(Codec, LoadsTravel) {
  balancer::NodeLoad n;
  n.node = 7;
  n.epoch = 99;
  n.measured_s = 1.5;
  n.speed = 0.5F;
  n.run_queue = 12.25F;
  n.urgency = 0.125F;
  n.free_mib = -20;
  n.total_mib = 2048;
  n.orders = balancer::kBlock;
  n.owner_active = true;
  const balancer::NodeLoad m = from_wire(to_wire(n));
  EXPECT_EQ(m.node, 7U);
  EXPECT_EQ(m.epoch, 99U);
  EXPECT_FLOAT_EQ(static_cast<float>(m.measured_s), 1.5F);
  EXPECT_FLOAT_EQ(m.speed, 0.5F);
  EXPECT_FLOAT_EQ(m.run_queue, 12.25F);
  EXPECT_FLOAT_EQ(m.urgency, 0.125F);
  EXPECT_FLOAT_EQ(m.free_mib, -20);
  EXPECT_EQ(m.orders, balancer::kBlock);
  EXPECT_TRUE(m.owner_active);
  n.run_queue = -1;
  n.speed = 0;
  n.total_mib = 0;
  balancer::Gossip::Message message;
  message.count = 1;
  message.answer = true;
  message.entries[0] = n;
  const auto bytes = peer::bytes_of(to_wire(message));
  ASSERT_TRUE(std::holds_alternative<peer::LoadMessage>(peer::parse(bytes)))
      << "even nonsense is sent within its limits";
}

TEST(Codec, ImpossibleLoadsAreRefused) {
  peer::LoadMessage m;
  m.head.count = 1;
  m.entries[0] = to_wire(balancer::NodeLoad{.node = 1});
  EXPECT_TRUE(std::holds_alternative<peer::LoadMessage>(peer::parse(peer::bytes_of(m))));
  for (auto* field : {&m.entries[0].speed_milli, &m.entries[0].total_mib, &m.entries[0].node}) {
    const auto kept = *field;
    *field = 0;
    EXPECT_TRUE(std::holds_alternative<peer::Bad>(peer::parse(peer::bytes_of(m))));
    *field = kept;
  }
}

// --- record and replay

TEST(Record, WhatWasDecidedIsDecidedAgain) {
  balancer::NodeLoad own;
  own.node = 1;
  own.run_queue = 3;
  own.urgency = 0.3F;
  own.total_mib = own.free_mib = 4096;
  balancer::NodeLoad other = own;
  other.node = 2;
  other.run_queue = other.urgency = 0;
  const std::vector<balancer::NodeId> mask{3, 4};
  std::vector<balancer::Process> processes(3);
  for (std::size_t i = 0; i < processes.size(); ++i) {
    processes[i].id = process_id(1, static_cast<std::int32_t>(i + 100));
    processes[i].home = 1;
    processes[i].cpu_used_s = processes[i].resident_s = 8.1F;
  }
  processes[2].mask_mode = balancer::MaskMode::Deny;
  processes[2].mask = mask;
  balancer::View view;
  view.own = own;
  view.others = {&other, 1};
  view.processes = processes;
  const balancer::Knobs knobs;
  const auto moves = balancer::decide(view, balancer::Policy::Mosix, knobs);
  ASSERT_FALSE(moves.empty());
  const std::string line = balancer::record::line(view, balancer::Policy::Mosix, knobs, moves);
  auto round = balancer::record::parse(line);
  ASSERT_NE(round, nullptr);
  EXPECT_EQ(balancer::record::replay(*round), "");
  EXPECT_EQ(balancer::record::line(round->view, round->policy, round->knobs, round->moves), line);
  round->knobs.hysteresis = 1;
  EXPECT_THAT(balancer::record::replay(*round), HasSubstr("now: no moves"));
  // Whatever people can set is recorded, or a replay decides by something else.
  const json set = settings_json(Settings{});
  unsigned knobs_seen = 0;
  for (const auto& [name, value] : set.items()) {
    if (!value.is_number_float() || name == "speed" || name.starts_with("decay")) continue;
    ++knobs_seen;
    EXPECT_THAT(line, HasSubstr("\"" + name + "\""));
  }
  EXPECT_GT(knobs_seen, 20U);
  EXPECT_EQ(balancer::record::parse("{}"), nullptr);
  EXPECT_EQ(balancer::record::parse(line.substr(0, line.size() / 2)), nullptr);
}

TEST(NodeMeter, CountsWhatHpcdItselfTakes) {
  NodeMeter meter({});
  static_cast<void>(meter.sample(0));
  volatile unsigned work = 0;
  for (const std::clock_t end = std::clock() + CLOCKS_PER_SEC / 5; std::clock() < end;) work = work + 1;
  const double busy = meter.sample(1).own_busy;
  EXPECT_GT(busy, 0.02) << "0.2 s of one, of which a part counts at once";
  EXPECT_LT(meter.sample(100).own_busy, busy / 2) << "and is forgotten";
}

}  // namespace
}  // namespace hpcvmm::daemon
