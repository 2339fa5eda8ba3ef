// Goal: what a process used away reaches whoever reaps it, and nobody else, whatever numbers come again.
// Method: one table, processes by number.
#include "vmm/deputy/time_table.hh"

#include <gtest/gtest.h>

#include <memory>

namespace hpcvmm::deputy {
namespace {

bool lives(std::int32_t) { return false; }

class TimeTableTest : public testing::Test {
 protected:
  TimeRow& child(std::int32_t pid, std::int32_t parent, const CpuTime& used) {
    TimeRow* const row = table_->find_or_make(pid, lives);
    row->parent = parent;
    row->set_own(used);
    return *row;
  }
  std::unique_ptr<TimeTable> table_ = std::make_unique<TimeTable>();
};

TEST_F(TimeTableTest, AReapedChildIsCountedOnceWithItsChildren) {
  child(20, 10, {7, 3}).add_children({100, 50});
  const CpuTime all = table_->take(20, 10);
  EXPECT_EQ(all.user, 107U);
  EXPECT_EQ(all.system, 53U);
  EXPECT_EQ(table_->find(20), nullptr);
  EXPECT_EQ(table_->take(20, 10).sum(), 0U);
}

TEST_F(TimeTableTest, AnotherOnesChildCountsNothingAndLeavesNothing) {
  child(20, 10, {7, 3});
  EXPECT_EQ(table_->take(20, 11).sum(), 0U);
  EXPECT_EQ(table_->find(20), nullptr);
}

TEST_F(TimeTableTest, ANumberThatComesAgainBeginsAtZero) {
  child(20, 10, {7, 3}).add_children({1, 1});
  table_->forget(20);
  TimeRow* const row = table_->find_or_make(20, lives);
  EXPECT_EQ(row->own().sum() + row->children().sum(), 0U);
}

TEST_F(TimeTableTest, NumbersThatMeetHavePlacesOfTheirOwn) {
  for (std::int32_t i = 1; i <= 64; ++i) child(i * 8192 + 5, 1, {static_cast<std::uint64_t>(i), 0});
  EXPECT_EQ(table_->find_or_make(5, lives), nullptr) << "all places are taken";
  for (std::int32_t i = 1; i <= 64; ++i)
    EXPECT_EQ(table_->take(i * 8192 + 5, 1).user, static_cast<std::uint64_t>(i));
}

TEST_F(TimeTableTest, WhoIsGoneMakesPlace) {
  for (std::int32_t i = 1; i <= 64; ++i) child(i * 8192 + 5, 1, {9, 9});
  TimeRow* const row = table_->find_or_make(5, [](std::int32_t pid) { return pid == 3 * 8192 + 5; });
  ASSERT_NE(row, nullptr);
  EXPECT_EQ(row->own().sum(), 0U);
  EXPECT_EQ(table_->find(3 * 8192 + 5), nullptr);
}

TEST_F(TimeTableTest, NumbersAreThoseOfOneNamespace) {
  EXPECT_FALSE(table_->is_used());
  EXPECT_TRUE(table_->is_of_namespace(4026531836));
  EXPECT_TRUE(table_->is_used());
  EXPECT_FALSE(table_->is_of_namespace(4026531837));
  EXPECT_TRUE(table_->is_of_namespace(4026531836));
}

TEST(UsedAway, NeverFallsAndKeepsTheSum) {
  migrate::UsedAway used;
  used.begin();
  used.note({100, 0});  // a guess: all of it is user time
  CpuTime t = used.note({90, 15});
  EXPECT_EQ(t.user, 100U);
  EXPECT_EQ(t.system, 5U);
  t = used.note({80, 10});  // an older report
  EXPECT_EQ(t.sum(), 105U);
  t = used.note({200, 20});
  EXPECT_EQ(t.user, 200U);
  EXPECT_EQ(t.system, 20U);
  used.end();
  EXPECT_EQ(used.note({900, 0}).sum(), 220U) << "too late";
  used.begin();
  EXPECT_EQ(used.note({1, 2}).sum(), 223U);
}

}  // namespace
}  // namespace hpcvmm::deputy
