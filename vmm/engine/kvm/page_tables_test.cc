// Goal: what the CPU finds in the tables is what was asked for, after any order of edits.
// Method: no KVM: the test keeps the chunks that would become memory slots and walks the tables as the CPU
// does. Random edits against a map of pages.  HPCVMM_TEST_SEED=N repeats a run; the seed is printed with a
// failure.
#include "vmm/engine/kvm/page_tables.hh"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <optional>
#include <random>
#include <vector>

#include "vmm/mem/arena.hh"

namespace hpcvmm::mem {
// In place of the arena, which belongs to the VMM's fixed image.
void* arena_map(std::size_t bytes, std::size_t) {
  void* const p = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return p == MAP_FAILED ? nullptr : p;
}
}  // namespace hpcvmm::mem

namespace hpcvmm::engine::kvm {
namespace {

constexpr std::uint64_t kStep = std::uint64_t{2} << 20;
constexpr std::uint64_t kFrame = 0x000f'ffff'ffff'f000;

struct Slots {
  struct Chunk {
    std::uint64_t gpa;
    char* host;
    std::uint64_t bytes;
  };
  std::vector<Chunk> chunks;
  int refuse = 0;  // errno for the next one

  ~Slots() {
    for (const Chunk& c : chunks) ::munmap(c.host, c.bytes);
  }
  static Status add(void* self, std::uint64_t gpa, void* host, std::uint64_t bytes) {
    auto& slots = *static_cast<Slots*>(self);
    if (slots.refuse != 0) return Error::of(slots.refuse, "test");
    slots.chunks.push_back({gpa, static_cast<char*>(host), bytes});
    return Unit{};
  }
  [[nodiscard]] const std::uint64_t* host_of(std::uint64_t gpa) const {
    for (const Chunk& c : chunks)
      if (gpa >= c.gpa && gpa - c.gpa < c.bytes)
        return reinterpret_cast<const std::uint64_t*>(c.host + (gpa - c.gpa));
    return nullptr;
  }
};

struct Translation {
  std::uint64_t gpa = 0;
  std::uint64_t bits = 0;  // of the last entry, without its address
};

/// The CPU's walk.  Source: Intel SDM vol. 3, 4.5.
std::optional<Translation> walk(const Slots& slots, std::uint64_t root, std::uint64_t va) {
  std::uint64_t table = root;
  for (unsigned level = 3;; --level) {
    const std::uint64_t* const host = slots.host_of(table);
    if (host == nullptr) {
      ADD_FAILURE() << "a table at gpa " << std::hex << table << ", which no slot has";
      return std::nullopt;
    }
    const std::uint64_t entry = host[va >> (12 + 9 * level) & 511];
    if ((entry & kPresent) == 0) return std::nullopt;
    if (level == 0) return Translation{(entry & kFrame) + va % kPageSize, entry & ~kFrame};
    if ((entry & kLarge) != 0) {
      EXPECT_EQ(level, 1U);
      EXPECT_EQ(entry & kFrame & (kStep - 1), 0U) << "reserved bits of a 2 MiB entry";
      return Translation{(entry & kFrame) + va % kStep, entry & ~kFrame};
    }
    EXPECT_EQ(entry & (kWritable | kUser | kNoExec), kWritable | kUser) << "upper levels limit nothing";
    table = entry & kFrame;
  }
}

class PageTablesTest : public testing::Test {
 protected:
  void SetUp() override { ASSERT_TRUE(tables_.start(Slots::add, &slots_)); }
  [[nodiscard]] std::optional<Translation> at(std::uint64_t va) const {
    return walk(slots_, tables_.root_gpa(), va);
  }
  Slots slots_;
  PageTables tables_;
};

TEST_F(PageTablesTest, OnePage) {
  const std::uint64_t va = 0x7fff'1234'5000;
  ASSERT_TRUE(tables_.set_page(va, 0x5'4321'0000, kWritable | kUser | kNoExec));
  const auto t = at(va + 0x123);
  ASSERT_TRUE(t);
  EXPECT_EQ(t->gpa, 0x5'4321'0123U);
  EXPECT_EQ(t->bits, kPresent | kAccessed | kDirty | kWritable | kUser | kNoExec);
  EXPECT_FALSE(at(va - 1));
  EXPECT_FALSE(at(va + kPageSize));
  EXPECT_FALSE(at(va ^ (std::uint64_t{1} << 39)));
  tables_.clear(va, va + kPageSize);
  EXPECT_FALSE(at(va));
}

TEST_F(PageTablesTest, ClearingTakesALargeEntryWhole) {
  const std::uint64_t va = 0x10'0000'0000;
  ASSERT_TRUE(tables_.set_large(va, 0x8'0000'0000, kUser));
  EXPECT_EQ(at(va + kStep - 1)->gpa, 0x8'0000'0000 + kStep - 1);
  tables_.clear(va + 5 * kPageSize, va + 6 * kPageSize);
  EXPECT_FALSE(at(va));
  EXPECT_FALSE(at(va + kStep - kPageSize));
}

TEST_F(PageTablesTest, SmallEntriesReplaceALargeOne) {
  const std::uint64_t va = 0x10'0000'0000;
  ASSERT_TRUE(tables_.set_large(va, 0x8'0000'0000, kUser | kWritable));
  ASSERT_TRUE(tables_.set_run(va + kPageSize, 0x9'0000'0000, 2, kUser));
  EXPECT_FALSE(at(va)) << "to be filled again by its own fault";
  EXPECT_EQ(at(va + 2 * kPageSize)->gpa, 0x9'0000'1000U);
  EXPECT_EQ(at(va + 2 * kPageSize)->bits & kWritable, 0U);
}

TEST_F(PageTablesTest, ClearingReachesTheEndOfTheAddressSpace) {
  const std::uint64_t last = kTaskSize64 - kPageSize;
  ASSERT_TRUE(tables_.set_page(0, 0x5'0000'0000, kUser));
  ASSERT_TRUE(tables_.set_page(last, 0x6'0000'0000, kUser));
  tables_.clear(0, kTaskSize64);
  EXPECT_FALSE(at(0));
  EXPECT_FALSE(at(last));
}

TEST_F(PageTablesTest, TablesAreUsedAgain) {
  const std::uint64_t va = 0x10'0000'0000;
  ASSERT_TRUE(tables_.set_page(va, 0x5'0000'0000, kUser));
  const std::uint64_t used = tables_.pages_used();
  EXPECT_EQ(used, 4U);
  for (unsigned i = 0; i < 100; ++i) {
    tables_.clear(va, va + kStep);
    ASSERT_TRUE(tables_.set_run(va, 0x5'0000'0000, 512, kUser));
  }
  EXPECT_EQ(tables_.pages_used(), used);
}

TEST_F(PageTablesTest, MoreThanOneChunk) {
  // A table for each 2 MiB: 600 tables are more than the first chunk holds.
  for (std::uint64_t i = 0; i < 600; ++i)
    ASSERT_TRUE(tables_.set_page(i * kStep, 0x5'0000'0000 + i * kPageSize, kUser));
  ASSERT_EQ(slots_.chunks.size(), 2U);
  EXPECT_EQ(slots_.chunks[0].bytes, kSystemFirstBytes);
  EXPECT_EQ(slots_.chunks[1].gpa, kSystemGpa + kSystemChunkBytes);
  for (std::uint64_t i = 0; i < 600; ++i) {
    const auto t = at(i * kStep);
    ASSERT_TRUE(t) << i;
    ASSERT_EQ(t->gpa, 0x5'0000'0000 + i * kPageSize);
  }
}

TEST_F(PageTablesTest, ARefusedSlotIsAnErrorAndNoEntry) {
  const std::uint64_t pages = kSystemFirstBytes / kPageSize;
  while (tables_.pages_used() < pages) ASSERT_TRUE(tables_.take_page());
  slots_.refuse = ENOSPC;
  const Status refused = tables_.set_page(0x10'0000'0000, 0x5'0000'0000, kUser);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ENOSPC);
  EXPECT_FALSE(at(0x10'0000'0000));
  slots_.refuse = 0;
  EXPECT_TRUE(tables_.set_page(0x10'0000'0000, 0x5'0000'0000, kUser));
  EXPECT_TRUE(at(0x10'0000'0000));
}

/// What the tables should say, page by page, of a few regions of eight steps each.
class Model {
 public:
  static constexpr std::uint64_t kSteps = 8;
  /// A region across a 1 GiB border, one across a 512 GiB border, one at the bottom.
  static constexpr std::uint64_t kRegions[] = {0x40000000 - 4 * kStep, (std::uint64_t{1} << 39) - 4 * kStep,
                                               0};

  std::map<std::uint64_t, Translation> pages;
  std::map<std::uint64_t, bool> large;  // by step

  void set_run(std::uint64_t va, std::uint64_t gpa, unsigned count, std::uint64_t bits) {
    forget_large(va);
    for (unsigned i = 0; i < count; ++i) pages[va + i * kPageSize] = {gpa + i * kPageSize, bits};
  }
  void set_large(std::uint64_t va, std::uint64_t gpa, std::uint64_t bits) {
    erase(va, va + kStep);
    large[va] = true;
    for (std::uint64_t o = 0; o < kStep; o += kPageSize) pages[va + o] = {gpa + o, bits | kLarge};
  }
  void clear(std::uint64_t begin, std::uint64_t end) {
    for (std::uint64_t step = begin / kStep * kStep; step < end; step += kStep) forget_large(step);
    erase(begin, end);
  }

 private:
  void erase(std::uint64_t begin, std::uint64_t end) {
    pages.erase(pages.lower_bound(begin), pages.lower_bound(end));
  }
  void forget_large(std::uint64_t va) {
    const std::uint64_t step = va / kStep * kStep;
    if (large.erase(step) != 0) erase(step, step + kStep);
  }
};

void one_step(PageTables& tables, Model& model, std::mt19937_64& random) {
  const std::uint64_t region = Model::kRegions[random() % std::size(Model::kRegions)];
  const std::uint64_t step = region + random() % Model::kSteps * kStep;
  const std::uint64_t bits = (random() % 2 != 0 ? kWritable : 0) | (random() % 2 != 0 ? kNoExec : 0) | kUser;
  switch (random() % 4) {
    case 0: {
      const unsigned first = static_cast<unsigned>(random() % 512);
      const unsigned count = static_cast<unsigned>(1 + random() % (512 - first));
      const std::uint64_t gpa = kWindowGpa + random() % 10000 * kPageSize;
      ASSERT_TRUE(tables.set_run(step + first * kPageSize, gpa, count, bits));
      model.set_run(step + first * kPageSize, gpa, count, bits);
      break;
    }
    case 1: {
      const std::uint64_t gpa = kWindowGpa + random() % 10000 * kStep;
      ASSERT_TRUE(tables.set_large(step, gpa, bits));
      model.set_large(step, gpa, bits);
      break;
    }
    default: {
      const std::uint64_t all = Model::kSteps * kStep / kPageSize;
      const std::uint64_t first = random() % all;
      const std::uint64_t last = first + 1 + random() % (all - first);
      tables.clear(region + first * kPageSize, region + last * kPageSize);
      model.clear(region + first * kPageSize, region + last * kPageSize);
    }
  }
}

void expect_same(const Slots& slots, const PageTables& tables, const Model& model) {
  for (const std::uint64_t region : Model::kRegions) {
    for (std::uint64_t o = 0; o < Model::kSteps * kStep; o += kPageSize) {
      const auto found = walk(slots, tables.root_gpa(), region + o);
      const auto wanted = model.pages.find(region + o);
      ASSERT_EQ(found.has_value(), wanted != model.pages.end()) << std::hex << region + o;
      if (!found) continue;
      ASSERT_EQ(found->gpa, wanted->second.gpa) << std::hex << region + o;
      ASSERT_EQ(found->bits, wanted->second.bits | kPresent | kAccessed | kDirty) << std::hex << region + o;
    }
  }
}

TEST_F(PageTablesTest, IsAMapOfPages) {
  const char* const given = std::getenv("HPCVMM_TEST_SEED");
  const auto seed = given != nullptr ? std::strtoull(given, nullptr, 0) : std::random_device{}();
  SCOPED_TRACE(testing::Message() << "HPCVMM_TEST_SEED=" << seed);
  std::mt19937_64 random(seed);
  Model model;
  for (int step = 0; step < 400; ++step) {
    one_step(tables_, model, random);
    expect_same(slots_, tables_, model);
    ASSERT_FALSE(testing::Test::HasFailure()) << "step " << step;
  }
}

}  // namespace
}  // namespace hpcvmm::engine::kvm
