// Goal: a process keeps its clocks on a node whose clocks differ, and two clocks that cannot be told apart
// count as one.
#include "vmm/migrate/clocks.hh"

#include <gtest/gtest.h>

#include <utility>

namespace hpcvmm::migrate {
namespace {

ClockReadings at(std::int64_t ns) { return {ns + 1'000'000'000'000, ns, ns + 5, ns + 7'000, ns + 37'000}; }

/// As at(), on a machine that was started earlier and whose time of day is wrong by `real`.
ClockReadings elsewhere(std::int64_t ns, std::int64_t started, std::int64_t real) {
  ClockReadings r = at(ns);
  r.realtime += real;
  r.tai += real;
  r.monotonic += started;
  r.monotonic_raw += started;
  r.boottime += started;
  return r;
}

TEST(ClockDifference, OfOneMachineIsNoneHoweverLongTheWay) {
  for (const std::int64_t way : {10'000, 300'000, 10'000'000}) {
    ClockDifference d;
    d.learn(at(1'000), at(1'000 + way / 10), at(1'000 + way));
    EXPECT_FALSE(d.offsets().any()) << way;
    EXPECT_FALSE(d.wants_more()) << way;
  }
}

TEST(ClockDifference, OfAnotherMachineIsNeverTooSmallNorLargerThanTheWay) {
  const std::int64_t started = 86'400'000'000'000;
  const std::int64_t wrong = 2'000'000;
  const auto check = [&](const ClockDifference& d, std::int64_t way) {
    const vdso::ClockOffsets& o = d.offsets();
    for (const auto& [offset, real] :
         {std::pair(o.monotonic, -started), std::pair(o.monotonic_raw, -started),
          std::pair(o.boottime, -started), std::pair(o.realtime, -wrong), std::pair(o.tai, -wrong)}) {
      EXPECT_GE(offset, real);
      EXPECT_LE(offset, real + way);
    }
  };
  ClockDifference d;
  d.learn(at(0), elsewhere(70'000, started, wrong), at(80'000));
  check(d, 80'000);
  EXPECT_TRUE(d.wants_more()) << "80 us are much between two machines";
  // A longer way says nothing new, a shorter one does.
  const std::int64_t before = d.offsets().monotonic;
  d.learn(at(0), elsewhere(100'000, started, wrong), at(200'000));
  EXPECT_EQ(d.offsets().monotonic, before);
  d.learn(at(0), elsewhere(10'000, started, wrong), at(20'000));
  check(d, 20'000);
  EXPECT_FALSE(d.wants_more());
}

TEST(ClockDifference, OneClockThatDiffersIsAnotherMachine) {
  ClockDifference d;
  d.learn(at(0), elsewhere(10'000, -5'000'000'000, 0), at(20'000));
  EXPECT_GE(d.offsets().monotonic, 5'000'000'000);
  EXPECT_GE(d.offsets().realtime, 0) << "and the time of day is not behind home's either";
  EXPECT_LE(d.offsets().realtime, 20'000);
}

TEST(ClockDifference, AnAnswerThatTookLongIsNotBelieved) {
  ClockDifference d;
  EXPECT_TRUE(d.wants_more());
  d.learn(at(0), elsewhere(0, 300'000'000, 0), at(1'000'000'000));
  EXPECT_TRUE(d.wants_more());
}

TEST(MostAhead, IsOfTheClockThatIs) {
  const ClockReadings ours = at(1'000'000);
  EXPECT_EQ(most_ahead(at(999'999), ours), 0);
  ClockReadings theirs = at(0);
  theirs.tai = ours.tai + 42;
  EXPECT_EQ(most_ahead(theirs, ours), 42);
}

TEST(ReadClocks, AddsWhatIsBetween) {
  const vdso::ClockOffsets offsets{.realtime = 1'000'000'000'000, .monotonic = -500'000'000'000};
  const ClockReadings plain = read_clocks();
  const ClockReadings moved = read_clocks(offsets);
  EXPECT_GE(moved.realtime - plain.realtime, offsets.realtime);
  EXPECT_LT(moved.monotonic, plain.monotonic);
  EXPECT_GE(moved.boottime, plain.boottime);
}

}  // namespace
}  // namespace hpcvmm::migrate
