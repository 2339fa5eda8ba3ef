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
    if (slot == RecentPages::kAdded) {
      ASSERT_TRUE(in.add(page.data()));
    }
    if (slot < 0) continue;
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

TEST(RecentPages, WhereNoPageIsLikeAnotherFewAreRemembered) {
  RecentPages out;
  RecentPages in;
  unsigned added = 0;
  for (std::uint64_t i = 0; i < 4096; ++i)
    added += out.find_or_add(page_of_number(i).data()) == RecentPages::kAdded;
  EXPECT_EQ(added, RecentPages::kSlots + (4096 - RecentPages::kSlots) / 16);
  // But one that comes again and again is found soon, and from then on all are remembered.
  const Page page = page_of_number(100'000);
  unsigned sent = 0;
  while (out.find_or_add(page.data()) < 0) ASSERT_LT(++sent, 17U);
  EXPECT_EQ(out.find_or_add(page_of_number(200'000).data()), RecentPages::kAdded);
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
  for_each_run(bytes.data(), bytes.size(), recent, [&](const PageRun& run, std::uint64_t) {
    EXPECT_EQ(run.page, 0x7000U + count * kPageSize);
    EXPECT_EQ(run.flag, kPageData);
    EXPECT_EQ(run.count, 1U);
    EXPECT_EQ(std::memcmp(run.content, page_of_number(5).data(), kPageSize), 0);
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

/// A message of these entries; the page of number i belongs to the i-th that carries data.
std::vector<std::byte> message_of(const std::vector<std::uint64_t>& entries) {
  Pages p{};
  p.head.id = static_cast<std::uint32_t>(entries.size());
  std::vector<std::byte> bytes(sizeof p + entries.size() * sizeof entries[0]);
  std::memcpy(bytes.data(), &p, sizeof p);
  std::memcpy(bytes.data() + sizeof p, entries.data(), entries.size() * sizeof entries[0]);
  std::uint64_t number = 0;
  for (const std::uint64_t e : entries) {
    if (!carries_data(e & kPageFlags)) continue;
    const Page content = page_of_number(number++);
    bytes.insert(bytes.end(), content.begin(), content.end());
  }
  return bytes;
}

TEST(PageRuns, NeighboursWithDataComeTogetherAndNothingElseDoes) {
  const std::vector<std::byte> bytes =
      message_of({0x10000 | kPageData, 0x11000 | kPagePassed, 0x12000 | kPageData, 0x14000 | kPageData,
                  0x15000 | kPageZero, 0x16000 | kPageData, 0x17000 | bulk_flag(0), 0x18000 | kPageWarm,
                  0x19000 | kPageWarmPassed});
  RecentPages in;
  std::vector<std::array<std::uint64_t, 3>> runs;
  std::uint64_t number = 0;
  for_each_run(bytes.data(), bytes.size(), &in, [&](const PageRun& run, std::uint64_t) {
    runs.push_back({run.page, run.flag, run.count});
    for (unsigned i = 0; i < run.count && run.page != 0x15000; ++i) {
      const Page want = page_of_number(run.page == 0x17000 ? 0 : number++);
      EXPECT_EQ(std::memcmp(run.content + i * kPageSize, want.data(), kPageSize), 0) << std::hex << run.page;
    }
  });
  const std::vector<std::array<std::uint64_t, 3>> want = {
      {0x10000, kPageData, 3}, {0x14000, kPageData, 1}, {0x15000, kPageZero, 1}, {0x16000, kPageData, 1},
      {0x17000, kPageData, 1}, {0x18000, kPageWarm, 1}, {0x19000, kPageWarm, 1}};
  EXPECT_EQ(runs, want);
}

TEST(PageRuns, AMessageThatIsCutEndsWhereItIsCut) {
  std::vector<std::byte> bytes = message_of({0x10000 | kPageData, 0x11000 | kPageData, 0x12000 | kPageData});
  bytes.resize(bytes.size() - 1);
  unsigned pages = 0;
  for_each_run(bytes.data(), bytes.size(), nullptr,
               [&](const PageRun& run, std::uint64_t) { pages += run.count; });
  EXPECT_EQ(pages, 2U);
}

}  // namespace
}  // namespace hpcvmm::migrate
