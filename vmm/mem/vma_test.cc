// Goal: VmaList is the kernel's list of mappings, whatever the order of edits.
// Method: random edits of the list and of an array with one entry a page; after each, the list must say the
// same of every page, hold no empty or overlapping entry, and none that its neighbour could have joined where
// the list promises that.  HPCVMM_TEST_SEED=N repeats a run; the seed is printed with a failure.
#include "vmm/mem/vma.hh"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <array>
#include <cstdlib>
#include <optional>
#include <random>

#include "hpcvmm/base/layout.hh"

namespace hpcvmm::mem {
namespace {

constexpr std::uint64_t kBase = 0x7000'0000'0000;
constexpr std::size_t kPages = 64;

std::uint64_t at_page(std::size_t page) { return kBase + page * kPageSize; }

Vma make(std::uint64_t end, std::uint32_t prot, unsigned kind) {
  return {.end = end,
          .prot = prot,
          .shared = (kind & 1) != 0,
          .file = (kind & 2) != 0,
          .grows_down = (kind & 4) != 0};
}

struct PageArray {
  std::array<std::optional<Vma>, kPages> pages;

  void insert(std::size_t begin, std::size_t end, const Vma& v) {
    for (std::size_t i = begin; i < end; ++i) pages[i] = v;
  }
  void erase(std::size_t begin, std::size_t end) {
    for (std::size_t i = begin; i < end; ++i) pages[i].reset();
  }
  void protect(std::size_t begin, std::size_t end, std::uint32_t prot) {
    for (std::size_t i = begin; i < end; ++i)
      if (pages[i]) pages[i]->prot = prot;
  }
};

void expect_same(const VmaList& list, const PageArray& model) {
  for (std::size_t i = 0; i < kPages; ++i) {
    for (const std::uint64_t at : {at_page(i), at_page(i) + kPageSize - 1}) {
      const auto it = list.find(at);
      ASSERT_EQ(it != list.end(), model.pages[i].has_value()) << "page " << i;
      if (it == list.end()) continue;
      ASSERT_TRUE(it->second.same_kind(*model.pages[i])) << "page " << i;
    }
  }
  std::uint64_t last = 0;
  for (const auto& [begin, v] : list) {
    ASSERT_LT(begin, v.end) << "an empty entry";
    ASSERT_GE(begin, last) << "entries overlap";
    ASSERT_GE(begin, at_page(0));
    ASSERT_LE(v.end, at_page(kPages));
    last = v.end;
  }
}

// What insert() and protect() leave must be joined: 2 MiB entries are only made where one entry covers the
// step.
void expect_joined_around(const VmaList& list, std::uint64_t begin, std::uint64_t end) {
  const Vma* before = nullptr;
  for (const auto& [at, v] : list) {
    const bool met = before != nullptr && before->end == at && at >= begin && at <= end;
    ASSERT_FALSE(met && before->same_kind(v)) << "not joined at page " << (at - kBase) / kPageSize;
    before = &v;
  }
}

void grow_somewhere(VmaList& list, PageArray& model, std::mt19937& random) {
  // Linux extends a stack only into free space.
  for (const auto& [begin, v] : list) {
    const std::size_t first = (begin - kBase) / kPageSize;
    if (first == 0 || model.pages[first - 1]) continue;
    std::size_t lowest = first - 1;
    while (lowest > 0 && !model.pages[lowest - 1] && random() % 4 != 0) --lowest;
    model.insert(lowest, first, v);
    list.grow_down(begin, at_page(lowest));
    return;
  }
}

void one_step(VmaList& list, PageArray& model, std::mt19937& random) {
  static constexpr std::array<std::uint32_t, 3> kProts{PROT_NONE, PROT_READ, PROT_READ | PROT_WRITE};
  const std::size_t begin = random() % kPages;
  const std::size_t end = begin + 1 + random() % (kPages - begin);
  const std::uint32_t prot = kProts[random() % kProts.size()];
  switch (random() % 8) {
    case 0:
    case 1:
    case 2: {
      const Vma v = make(at_page(end), prot, random() % 8);
      list.insert(at_page(begin), v);
      model.insert(begin, end, v);
      expect_joined_around(list, at_page(begin), at_page(end));
      break;
    }
    case 3:
    case 4:
      list.erase(at_page(begin), at_page(end));
      model.erase(begin, end);
      break;
    case 5:
    case 6:
      list.protect(at_page(begin), at_page(end), prot);
      model.protect(begin, end, prot);
      expect_joined_around(list, at_page(begin), at_page(end));
      break;
    default: grow_somewhere(list, model, random);
  }
}

TEST(VmaList, IsAnArrayOfPages) {
  const char* const given = std::getenv("HPCVMM_TEST_SEED");
  const auto seed =
      given != nullptr ? static_cast<unsigned>(std::strtoul(given, nullptr, 0)) : std::random_device{}();
  SCOPED_TRACE(testing::Message() << "HPCVMM_TEST_SEED=" << seed);
  std::mt19937 random(seed);
  for (int round = 0; round < 200; ++round) {
    VmaList list;
    PageArray model;
    for (int step = 0; step < 100; ++step) {
      one_step(list, model, random);
      if (!testing::Test::HasFatalFailure()) expect_same(list, model);
      ASSERT_FALSE(testing::Test::HasFatalFailure()) << "round " << round << ", step " << step;
    }
  }
}

TEST(VmaList, AHoleInTheMiddleLeavesBothEnds) {
  VmaList list;
  list.insert(at_page(0), make(at_page(10), PROT_READ, 0));
  list.erase(at_page(3), at_page(5));
  ASSERT_NE(list.find(at_page(2)), list.end());
  EXPECT_EQ(list.find(at_page(2))->second.end, at_page(3));
  EXPECT_EQ(list.find(at_page(3)), list.end());
  EXPECT_EQ(list.find(at_page(5))->first, at_page(5));
  EXPECT_EQ(list.find(at_page(5))->second.end, at_page(10));
}

TEST(VmaList, NeighboursOfOneKindBecomeOne) {
  VmaList list;
  list.insert(at_page(0), make(at_page(2), PROT_READ, 0));
  list.insert(at_page(4), make(at_page(6), PROT_READ, 0));
  list.insert(at_page(2), make(at_page(4), PROT_READ, 0));
  EXPECT_EQ(std::distance(list.begin(), list.end()), 1);
  list.protect(at_page(1), at_page(3), PROT_NONE);
  EXPECT_EQ(std::distance(list.begin(), list.end()), 3);
  list.protect(at_page(1), at_page(3), PROT_READ);
  EXPECT_EQ(std::distance(list.begin(), list.end()), 1);
  EXPECT_EQ(list.begin()->second.end, at_page(6));
}

TEST(VmaList, AStackGrowsButDoesNotShrink) {
  VmaList list;
  list.insert(at_page(10), make(at_page(12), PROT_READ | PROT_WRITE, 4));
  list.grow_down(at_page(10), at_page(7));
  EXPECT_EQ(list.find(at_page(7))->second.end, at_page(12));
  list.grow_down(at_page(7), at_page(9));
  EXPECT_NE(list.find(at_page(7)), list.end());
  list.grow_down(at_page(8), at_page(1));  // no mapping begins there
  EXPECT_EQ(list.find(at_page(6)), list.end());
}

TEST(VmaList, AboveFindsTheNextMapping) {
  VmaList list;
  list.insert(at_page(1), make(at_page(2), PROT_READ, 0));
  list.insert(at_page(5), make(at_page(6), PROT_READ, 0));
  EXPECT_EQ(list.above(at_page(1))->first, at_page(5));
  EXPECT_EQ(list.above(at_page(0))->first, at_page(1));
  EXPECT_EQ(list.above(at_page(5)), list.end());
}

}  // namespace
}  // namespace hpcvmm::mem
