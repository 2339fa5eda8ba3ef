// Goal: Ranges behaves like a set of numbers.  Method: against std::set, with a printed seed.
#include "net/transport/ranges.hh"

#include <gtest/gtest.h>

#include <random>
#include <set>

namespace hpcvmm::net {
namespace {

TEST(Ranges, LikeASet) {
  for (std::uint64_t seed = 1; seed <= 200; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937_64 random(seed);
    Ranges ranges;
    std::set<std::uint64_t> model;
    for (int step = 0; step < 60; ++step) {
      if (random() % 20 == 0) {
        const std::uint64_t below = random() % 120;
        ranges.drop_below(below);
        model.erase(model.begin(), model.lower_bound(below));
      }
      const std::uint64_t begin = random() % 100;
      const std::uint64_t end = begin + random() % 12;
      std::uint64_t fresh = 0;
      for (std::uint64_t n = begin; n < end; ++n) fresh += model.insert(n).second ? 1 : 0;
      ASSERT_EQ(ranges.add(begin, end), fresh);
      for (std::uint64_t n = 0; n < 115; ++n) ASSERT_EQ(ranges.contains(n), model.contains(n)) << n;
      for (std::size_t i = 1; i < ranges.size(); ++i) {
        ASSERT_LT(ranges.all()[i - 1].end, ranges.all()[i].begin) << "ranges touch";
      }
    }
  }
}

TEST(Ranges, CoveredUntilAndNextBegin) {
  Ranges r;
  r.add(10, 20);
  r.add(30, 40);
  EXPECT_EQ(r.covered_until(10), 20U);
  EXPECT_EQ(r.covered_until(19), 20U);
  EXPECT_EQ(r.covered_until(20), 20U);
  EXPECT_EQ(r.covered_until(35), 40U);
  EXPECT_EQ(r.next_begin(0, 99), 10U);
  EXPECT_EQ(r.next_begin(10, 99), 30U);
  EXPECT_EQ(r.next_begin(30, 99), 99U);
}

}  // namespace
}  // namespace hpcvmm::net
