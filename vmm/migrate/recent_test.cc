// Goal: what the receiver takes out of a slot is what the sender meant, whatever was sent before.
#include "vmm/migrate/recent.hh"

#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "vmm/migrate/bytes.hh"

namespace hpcvmm::migrate {
namespace {

using Page = std::vector<std::byte>;

Page page_of_number(std::uint64_t number) {
  Page page(kPageSize);
  // Every other one differs from others in a word that the hash does not see.
  std::memset(page.data(), static_cast<int>(number % 3), page.size());
  std::memcpy(page.data() + (number % 2 != 0 ? 1000 : 1056), &number, sizeof number);
  return page;
}

TEST(RecentPages, BothEndsRememberTheSame) {
  RecentPages out;
  RecentPages in;
  std::mt19937_64 random(20261128);
  unsigned again = 0;
  for (int i = 0; i < 20'000; ++i) {
    const Page page = page_of_number(random() % (i % 5 == 0 ? 100'000 : 40));
    const int slot = out.find_or_add(page.data());
    if (slot < 0) {
      ASSERT_TRUE(in.add(page.data()));
      continue;
    }
    ++again;
    const std::byte* const there = in.at(static_cast<unsigned>(slot));
    ASSERT_NE(there, nullptr);
    ASSERT_EQ(std::memcmp(there, page.data(), kPageSize), 0) << "step " << i;
  }
  EXPECT_GT(again, 4000U);
}

TEST(RecentPages, OnePageOverAndOverIsSentOnce) {
  RecentPages out;
  const Page page = page_of_number(7);
  EXPECT_EQ(out.find_or_add(page.data()), -1);
  for (int i = 0; i < 1000; ++i) EXPECT_EQ(out.find_or_add(page.data()), 0);
  out.clear();
  EXPECT_EQ(out.find_or_add(page.data()), -1);
}

TEST(RecentPages, ASlotThatWasNeverFilledHasNothing) {
  RecentPages in;
  EXPECT_EQ(in.at(0), nullptr);
  in.add(page_of_number(1).data());
  EXPECT_NE(in.at(0), nullptr);
  EXPECT_EQ(in.at(1), nullptr);
  EXPECT_EQ(in.at(RecentPages::kSlots), nullptr);
  EXPECT_EQ(in.at(65535), nullptr);
}

/// A message with one page and its content, and one that is like it.
std::vector<std::byte> message(std::uint64_t second) {
  Pages p{};
  p.head.id = 2;
  const std::uint64_t entries[] = {0x7000 | kPageData, second};
  const Page content = page_of_number(5);
  std::vector<std::byte> bytes(sizeof p + sizeof entries + content.size());
  std::memcpy(bytes.data(), &p, sizeof p);
  std::memcpy(bytes.data() + sizeof p, entries, sizeof entries);
  std::memcpy(bytes.data() + sizeof p + sizeof entries, content.data(), content.size());
  return bytes;
}

unsigned count_pages(const std::vector<std::byte>& bytes, RecentPages* recent) {
  unsigned count = 0;
  for_each_page(bytes.data(), bytes.size(), recent,
                [&](std::uint64_t page, std::uint64_t flag, const std::byte* content, std::uint64_t) {
                  EXPECT_EQ(page, 0x7000U + count * kPageSize);
                  EXPECT_EQ(flag, kPageData);
                  EXPECT_EQ(std::memcmp(content, page_of_number(5).data(), kPageSize), 0);
                  ++count;
                });
  return count;
}

TEST(RecentPages, AMessageMayReferToItself) {
  RecentPages in;
  EXPECT_EQ(count_pages(message(0x8000 | bulk_flag(0)), &in), 2U);
}

TEST(RecentPages, WhatRefersToNothingIsNotTaken) {
  RecentPages in;
  EXPECT_EQ(count_pages(message(0x8000 | bulk_flag(9)), &in), 1U);
  EXPECT_EQ(count_pages(message(0x8000 | bulk_flag(60'000)), &in), 1U);
  EXPECT_EQ(count_pages(message(0x8000 | bulk_flag(0)), nullptr), 1U) << "not of a bulk stream";
}

}  // namespace
}  // namespace hpcvmm::migrate
