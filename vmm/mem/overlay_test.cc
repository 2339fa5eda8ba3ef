#include "vmm/mem/overlay.hh"

#include <gtest/gtest.h>

#include <array>
#include <cstring>

#include "vmm/mem/user_copy.hh"

namespace hpcvmm::mem {
namespace {

std::uint64_t at(const void* p) { return reinterpret_cast<std::uint64_t>(p); }
std::byte* bytes(char* p) { return reinterpret_cast<std::byte*>(p); }

class OverlayTest : public testing::Test {
 protected:
  void SetUp() override { set_overlay(&over_); }
  void TearDown() override { set_overlay(nullptr); }
  Overlay over_;
  char guest_[32] = "guest memory, thirty-one bytes.";
  char copy_[32] = "COPY";
  char before_[32] = "COPY";
};

TEST_F(OverlayTest, CopiesSeeTheOverlayWhereItCovers) {
  ASSERT_TRUE(over_.add({at(guest_) + 6, 3, 0, 0, false, false, bytes(copy_), nullptr}));
  char seen[32] = {};
  ASSERT_TRUE(copy_in(seen, at(guest_), 13));
  EXPECT_STREQ(seen, "guest COPory,");
  ASSERT_TRUE(copy_out(at(guest_), "GUEST xyz___,", 13));
  EXPECT_EQ(std::string(guest_, 13), "GUEST mem___,");
  EXPECT_EQ(std::string(copy_, 3), "xyz");
}

TEST_F(OverlayTest, StringsEndInTheirCopy) {
  ASSERT_TRUE(over_.add({at(guest_), 5, 0, 0, false, true, bytes(copy_), nullptr}));
  char seen[32] = {};
  EXPECT_EQ(copy_in_string(seen, at(guest_), sizeof seen), 4);
  EXPECT_STREQ(seen, "COPY");
}

TEST_F(OverlayTest, OnlyTheRightArgumentAndLengthIsStaged) {
  ASSERT_TRUE(over_.add({0x1000, 8, 1, 0, false, false, bytes(copy_), nullptr}));
  EXPECT_EQ(over_.staged(1, 0x1000, 8), at(copy_));
  EXPECT_EQ(over_.staged(1, 0x1000, 9), 0U);
  EXPECT_EQ(over_.staged(2, 0x1000, 8), 0U);
  EXPECT_EQ(over_.staged(1, 0x1001, 4), 0U);
  EXPECT_EQ(over_.staged(1, 0x1000, 0), 0U);
}

TEST_F(OverlayTest, WhatTheResultCountsIsWritten) {
  char second[8] = "SECOND";
  ASSERT_TRUE(over_.add({at(guest_), 4, 1, 1, true, false, bytes(copy_), nullptr}));
  ASSERT_TRUE(over_.add({at(guest_) + 8, 6, 1, 1, true, false, bytes(second), nullptr}));
  EXPECT_NE(over_.staged(1, at(guest_), 4), 0U);
  EXPECT_NE(over_.staged(1, at(guest_) + 8, 6), 0U);
  over_.finish(7);
  ASSERT_EQ(over_.pieces(), 2U);
  EXPECT_EQ(over_.piece(1).bytes, 3U);
  ASSERT_TRUE(over_.flush());
  EXPECT_EQ(std::string(guest_, 14), "COPYt meSECy, ");
  EXPECT_EQ(over_.pieces(), 0U);
}

TEST_F(OverlayTest, AnErrorWritesNothingOfABuffer) {
  ASSERT_TRUE(over_.add({at(guest_), 4, 1, 1, true, false, bytes(copy_), nullptr}));
  over_.finish(-5);
  EXPECT_EQ(over_.pieces(), 0U);
}

TEST_F(OverlayTest, OnlyWhatHasChangedOfAStructIsWritten) {
  auto* const before = reinterpret_cast<const std::byte*>(before_);
  ASSERT_TRUE(over_.add({at(guest_), 8, 1, 0, true, false, bytes(copy_), before}));
  copy_[2] = 'x';
  copy_[3] = 'y';
  over_.finish(-4);
  ASSERT_EQ(over_.pieces(), 1U);
  EXPECT_EQ(over_.piece(0).guest, at(guest_) + 2);
  EXPECT_EQ(over_.piece(0).bytes, 2U);
}

TEST_F(OverlayTest, WhatTheKernelWroteElsewhereIsNotWrittenFromTheCopy) {
  char second[8] = "SECOND";
  ASSERT_TRUE(over_.add({at(guest_), 4, 1, 1, true, false, bytes(copy_), nullptr}));
  ASSERT_TRUE(over_.add({at(guest_) + 8, 6, 1, 1, true, false, bytes(second), nullptr}));
  EXPECT_NE(over_.staged(1, at(guest_) + 8, 6), 0U);
  over_.finish(7);
  ASSERT_EQ(over_.pieces(), 1U);
  EXPECT_EQ(over_.piece(0).guest, at(guest_) + 8);
  EXPECT_EQ(over_.piece(0).bytes, 3U);
}

TEST_F(OverlayTest, WhatLiesApartIsWrittenApart) {
  auto* const before = reinterpret_cast<const std::byte*>(before_);
  ASSERT_TRUE(over_.add({at(guest_), 8, 1, 0, true, false, bytes(copy_), before, true}));
  copy_[0] = copy_[4] = 'x';
  over_.finish(1);
  ASSERT_EQ(over_.pieces(), 2U);
  EXPECT_EQ(over_.piece(0).bytes, 1U);
  EXPECT_EQ(over_.piece(1).guest, at(guest_) + 4);
}

TEST_F(OverlayTest, MorePiecesThanThereArePlacesForBecomeOne) {
  static char many[512];
  static const char old[512] = {};
  for (unsigned i = 0; i < sizeof many; i += 2) many[i] = 1;
  ASSERT_TRUE(over_.add(
      {0x1000, sizeof many, 1, 0, true, false, bytes(many), reinterpret_cast<const std::byte*>(old), true}));
  ASSERT_TRUE(
      over_.add({0x2000, 4, 1, 0, true, false, bytes(copy_), reinterpret_cast<const std::byte*>(old)}));
  over_.finish(1);
  ASSERT_EQ(over_.pieces(), Overlay::kMostPieces);
  EXPECT_EQ(over_.piece(62).guest, 0x1000U + 124);
  EXPECT_EQ(over_.piece(62).bytes, 511U - 124);
  EXPECT_EQ(over_.piece(63).guest, 0x2000U);
}

TEST(Writable, ProbesWithoutWriting) {
  char word[2] = {'a', 'b'};
  EXPECT_TRUE(is_writable(at(word), 2));
  EXPECT_EQ(word[0], 'a');
}

}  // namespace
}  // namespace hpcvmm::mem
