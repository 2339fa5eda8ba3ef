// Goal: the heap that replaces libc's gives every block whole, aligned, to one owner, and from the arena
// only. Method: this program is linked like the VMM, so malloc is the arena's, for GoogleTest, too.  Random
// operations of several threads; each block is filled with a pattern of its own and checked before it goes.
// HPCVMM_TEST_SEED=N repeats a run of one thread; the seed is printed with a failure.
#include "vmm/mem/arena.hh"

#include <gtest/gtest.h>
#include <malloc.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <random>
#include <thread>
#include <vector>

#include "hpcvmm/base/layout.hh"

namespace hpcvmm::mem {
namespace {

std::uint64_t number(const void* p) { return reinterpret_cast<std::uint64_t>(p); }

bool in_arena(const void* p, std::size_t bytes) {
  return number(p) >= kArenaBegin && number(p) + bytes <= kArenaEnd;
}

struct Held {
  unsigned char* at = nullptr;
  std::size_t bytes = 0;
  unsigned char mark = 0;
};

void fill(const Held& h) { std::memset(h.at, h.mark, h.bytes); }

bool whole(const Held& h, std::size_t bytes) {
  for (std::size_t i = 0; i < bytes; ++i)
    if (h.at[i] != h.mark) return false;
  return true;
}

std::size_t pick_size(std::mt19937& random) {
  // Around powers of two, where the size classes change; now and then a block with a mapping of its own.
  const std::size_t bits = random() % (random() % 64 == 0 ? 20 : 13);
  const std::size_t around = std::size_t{1} << bits;
  return around - std::min<std::size_t>(around, random() % 20) + random() % 20;
}

/// Returns what went wrong, "" if nothing.  No assertions: it runs on many threads.
const char* shake(unsigned seed, int steps) {
  std::mt19937 random(seed);
  std::vector<Held> held(64);
  for (int i = 0; i < steps; ++i) {
    Held& h = held[random() % held.size()];
    if (h.at != nullptr && !whole(h, h.bytes)) return "somebody wrote into a block";
    const std::size_t bytes = pick_size(random);
    switch (random() % 4) {
      case 0:
        std::free(h.at);
        h = {};
        break;
      case 1: {
        auto* const fresh = static_cast<unsigned char*>(std::realloc(h.at, bytes));
        if (fresh == nullptr) return "realloc gave nothing";
        h.at = fresh;
        if (!whole(h, std::min(h.bytes, bytes))) return "realloc lost content";
        h.bytes = bytes;
        break;
      }
      case 2: {
        std::free(h.at);
        h.at = static_cast<unsigned char*>(std::calloc(1, bytes));
        if (h.at == nullptr) return "calloc gave nothing";
        h.mark = 0;
        h.bytes = bytes;
        if (!whole(h, bytes)) return "calloc gave old content";
        break;
      }
      default: {
        std::free(h.at);
        const std::size_t align = std::size_t{16} << random() % 9;
        void* p = nullptr;
        if (::posix_memalign(&p, align, bytes) != 0) return "posix_memalign gave nothing";
        if (number(p) % align != 0) return "not aligned";
        h.at = static_cast<unsigned char*>(p);
        h.bytes = bytes;
      }
    }
    if (h.at == nullptr) continue;
    if (number(h.at) % 16 != 0) return "not aligned for any type";
    if (!in_arena(h.at, h.bytes)) return "outside the arena";
    if (::malloc_usable_size(h.at) < h.bytes) return "usable size below what was asked for";
    h.bytes = ::malloc_usable_size(h.at);  // all of it may be used
    h.mark = static_cast<unsigned char>(random());
    fill(h);
  }
  for (const Held& h : held) {
    if (h.at != nullptr && !whole(h, h.bytes)) return "somebody wrote into a block";
    std::free(h.at);
  }
  return "";
}

TEST(Arena, RandomOperations) {
  const char* const given = std::getenv("HPCVMM_TEST_SEED");
  const auto seed =
      given != nullptr ? static_cast<unsigned>(std::strtoul(given, nullptr, 0)) : std::random_device{}();
  EXPECT_STREQ(shake(seed, 20'000), "") << "HPCVMM_TEST_SEED=" << seed;
}

TEST(Arena, Threads) {
  const auto seed = std::random_device{}();
  std::atomic<const char*> wrong{""};
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < 4; ++i) {
    threads.emplace_back([&wrong, seed, i] {
      const char* const said = shake(seed + i, 5'000);
      if (*said != 0) wrong = said;
    });
  }
  for (std::thread& t : threads) t.join();
  EXPECT_STREQ(wrong.load(), "") << "seeds from " << seed;
}

TEST(Arena, RefusesWhatCannotBe) {
  volatile std::size_t huge = SIZE_MAX;  // volatile: the compiler knows that it is too much
  EXPECT_EQ(std::malloc(huge), nullptr);
  EXPECT_EQ(std::malloc(huge - 64), nullptr);
  EXPECT_EQ(std::calloc(huge / 2, 4), nullptr);
  void* const kept = std::malloc(10);
  std::memset(kept, 'k', 10);
  EXPECT_EQ(std::realloc(kept, huge), nullptr);
  EXPECT_EQ(static_cast<char*>(kept)[9], 'k') << "a refused realloc leaves the block alone";
  std::free(kept);
  std::free(nullptr);
}

TEST(Arena, BlocksOfNoBytesDiffer) {
  void* const a = std::malloc(0);
  void* const b = std::malloc(0);
  ASSERT_NE(a, nullptr);
  EXPECT_NE(a, b);
  std::free(a);
  std::free(b);
}

TEST(Arena, FreedBlocksComeBack) {
  // 1 GiB in all: the arena's addresses last only because blocks are used again.
  const std::uint64_t before = arena_reserve(kPageSize);
  for (int i = 0; i < 100'000; ++i) {
    void* const p = std::malloc(10'000);
    ASSERT_NE(p, nullptr);
    std::free(p);
  }
  EXPECT_LT(arena_reserve(kPageSize) - before, std::uint64_t{1} << 20);
}

TEST(Arena, MappingsAreZeroedAlignedAndGuarded) {
  for (const std::size_t align : {std::size_t{4096}, std::size_t{1} << 16, std::size_t{2} << 20}) {
    auto* const p = static_cast<char*>(arena_map(5000, align));
    ASSERT_NE(p, nullptr);
    EXPECT_EQ(number(p) % align, 0U);
    EXPECT_TRUE(in_arena(p, 8192));
    for (int i = 0; i < 8192; ++i) ASSERT_EQ(p[i], 0);
    // The guard: no mapping at all, so mincore() says ENOMEM.
    unsigned char resident = 0;
    EXPECT_EQ(::mincore(p + 4096, 1, &resident), 0);
    EXPECT_NE(::mincore(p + 8192, 1, &resident), 0);
    arena_unmap(p, 5000);
    EXPECT_NE(::mincore(p, 1, &resident), 0);
  }
}

TEST(Arena, TheHeapIsUsableInAForkChild) {
  heap_lock();
  // The raw call, as the deputy's: libc's fork() would take the locks of the malloc that is not there.
  const auto child = static_cast<pid_t>(::syscall(SYS_fork));
  heap_unlock();
  ASSERT_GE(child, 0);
  if (child == 0) {
    void* const p = std::malloc(100);
    ::_exit(p != nullptr ? 0 : 1);
  }
  int status = -1;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

TEST(Arena, LibcKeepsAwayFromBrk) {
  void* const before = ::sbrk(0);
  std::vector<void*> blocks;
  for (int i = 0; i < 1000; ++i) blocks.push_back(std::malloc(1000));
  EXPECT_EQ(::sbrk(0), before);
  for (void* p : blocks) std::free(p);
}

}  // namespace
}  // namespace hpcvmm::mem
