// Goal: memory is handed out where the kernel would, within what was granted, and told in order.
// Method: the rules of brk(2) and mmap(2) against a grant.
#include "vmm/migrate/growth.hh"

#include <gtest/gtest.h>
#include <sys/mman.h>

namespace hpcvmm::migrate {
namespace {

using Answer = Growth::Answer;
constexpr std::uint64_t kStart = 0x500000, kEnd = 0x600000;
constexpr std::uint64_t kLow = 0x7f0000000000, kTop = 0x7f0000400000;
constexpr std::uint64_t kRw = PROT_READ | PROT_WRITE, kPlain = MAP_PRIVATE | MAP_ANONYMOUS;

class GrowthTest : public testing::Test {
 protected:
  GrowthTest() { growth_.grant({{}, kStart, kStart + 0x10, kEnd, kLow, kTop}); }
  Answer brk(std::uint64_t to) {
    fresh_ = {};
    return growth_.brk(to, result_, fresh_);
  }
  Answer map(std::uint64_t bytes, std::uint64_t prot = kRw, std::uint64_t flags = kPlain,
             std::uint64_t at = 0) {
    fresh_ = {};
    return growth_.map({at, bytes, prot, flags, ~std::uint64_t{0}, 0}, result_, fresh_);
  }
  Growth growth_;
  std::uint64_t result_ = 0;
  Growth::Pages fresh_;
};

TEST_F(GrowthTest, NothingWithoutAGrant) {
  growth_.grant({});
  EXPECT_EQ(brk(0), Answer::AskHome);
  EXPECT_EQ(map(kPageSize), Answer::AskHome);
  EXPECT_TRUE(growth_.untold().empty());
}

TEST_F(GrowthTest, TheBreakGrowsByBytesAndMakesPages) {
  ASSERT_EQ(brk(0), Answer::Done);
  EXPECT_EQ(result_, kStart + 0x10) << "where it is";
  EXPECT_EQ(fresh_.begin, fresh_.end);
  ASSERT_EQ(brk(kStart + 0x20), Answer::Done);
  EXPECT_EQ(result_, kStart + 0x20);
  EXPECT_EQ(fresh_.begin, fresh_.end) << "its page is there";
  ASSERT_EQ(brk(kStart + 0x1001), Answer::Done);
  EXPECT_EQ(fresh_.begin, kStart + 0x1000);
  EXPECT_EQ(fresh_.end, kStart + 0x2000);
  ASSERT_EQ(brk(kEnd), Answer::Done);
  ASSERT_EQ(growth_.untold().size(), 1U);
  EXPECT_EQ(growth_.untold()[0].end, kEnd);
  EXPECT_EQ(growth_.untold()[0].kind, kGrownBreak);
}

TEST_F(GrowthTest, TheBreakShrinksAtHomeAndDoesNotPassItsRoom) {
  EXPECT_EQ(brk(kStart), Answer::AskHome);
  EXPECT_EQ(brk(kEnd + 1), Answer::AskHome);
  ASSERT_EQ(brk(kStart - 1), Answer::Done);
  EXPECT_EQ(result_, kStart + 0x10) << "a failing brk returns the old one";
  EXPECT_TRUE(growth_.untold().empty());
}

TEST_F(GrowthTest, MappingsGoDownFromTheTopAndNeighboursAreOne) {
  ASSERT_EQ(map(1), Answer::Done);
  EXPECT_EQ(result_, kTop - kPageSize);
  EXPECT_EQ(fresh_.end, kTop);
  ASSERT_EQ(map(3 * kPageSize), Answer::Done);
  EXPECT_EQ(result_, kTop - 4 * kPageSize);
  ASSERT_EQ(growth_.untold().size(), 1U);
  EXPECT_EQ(growth_.untold()[0].begin, kTop - 4 * kPageSize);
  EXPECT_EQ(growth_.untold()[0].end, kTop);
  growth_.told();
  ASSERT_EQ(map(kPageSize), Answer::Done);
  ASSERT_EQ(growth_.untold().size(), 1U);
  EXPECT_EQ(growth_.untold()[0].end, kTop - 4 * kPageSize);
}

TEST_F(GrowthTest, WhatIsNotPlainIsForHome) {
  EXPECT_EQ(map(0), Answer::AskHome) << "EINVAL";
  EXPECT_EQ(map(kMostGrownBytes + 1), Answer::AskHome);
  EXPECT_EQ(map(~std::uint64_t{0}), Answer::AskHome) << "ENOMEM";
  EXPECT_EQ(map(kPageSize, PROT_READ), Answer::AskHome);
  EXPECT_EQ(map(kPageSize, kRw | PROT_EXEC), Answer::AskHome);
  EXPECT_EQ(map(kPageSize, kRw, kPlain | MAP_FIXED, kLow), Answer::AskHome);
  EXPECT_EQ(map(kPageSize, kRw, kPlain, kLow), Answer::AskHome) << "a hint";
  EXPECT_EQ(map(kPageSize, kRw, kPlain | MAP_LOCKED), Answer::AskHome);
  EXPECT_EQ(map(kPageSize, kRw, MAP_SHARED | MAP_ANONYMOUS), Answer::AskHome);
  for (int i = 0; i < 4; ++i) ASSERT_EQ(map(kMostGrownBytes), Answer::Done);
  EXPECT_EQ(map(kPageSize), Answer::AskHome) << "the area is full";
}

}  // namespace
}  // namespace hpcvmm::migrate
