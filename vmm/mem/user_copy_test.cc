// Goal: no address of a guest makes the VMM fault, read its own zone or copy past what is mapped.
// Method: the copies run in this process with the SIGSEGV/SIGBUS handler they need, around page borders,
// holes, the zone, the end of a file, and addresses that wrap.
#include "vmm/mem/user_copy.hh"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "hpcvmm/base/layout.hh"

namespace hpcvmm::mem {
namespace {

volatile int g_faults = 0;

void on_fault(int sig, siginfo_t*, void* context) {
  auto& rip = static_cast<ucontext_t*>(context)->uc_mcontext.gregs[REG_RIP];
  const std::uint64_t next = fix_user_copy(static_cast<std::uint64_t>(rip));
  if (next == 0) {
    std::signal(sig, SIG_DFL);  // not the copy's: end as without a handler
    return;
  }
  g_faults = g_faults + 1;
  rip = static_cast<greg_t>(next);
}

class UserCopy : public testing::Test {
 protected:
  void SetUp() override {
    struct sigaction action = {};
    action.sa_sigaction = on_fault;
    action.sa_flags = SA_SIGINFO;
    sigaction(SIGSEGV, &action, &old_segv_);
    sigaction(SIGBUS, &action, &old_bus_);
    g_faults = 0;
    // readable, hole, readable, read-only
    auto* p = static_cast<char*>(
        ::mmap(nullptr, 4 * kPageSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    ASSERT_NE(p, MAP_FAILED);
    std::memset(p, 'x', 4 * kPageSize);
    ::munmap(p + kPageSize, kPageSize);
    ::mprotect(p + 3 * kPageSize, kPageSize, PROT_READ);
    base_ = reinterpret_cast<std::uint64_t>(p);
  }
  void TearDown() override {
    ::munmap(reinterpret_cast<void*>(base_), 4 * kPageSize);
    sigaction(SIGSEGV, &old_segv_, nullptr);
    sigaction(SIGBUS, &old_bus_, nullptr);
  }
  [[nodiscard]] std::uint64_t page(unsigned n) const { return base_ + n * kPageSize; }
  char* text(std::uint64_t at) { return reinterpret_cast<char*>(at); }

  std::uint64_t base_ = 0;
  struct sigaction old_segv_ = {};
  struct sigaction old_bus_ = {};
};

TEST_F(UserCopy, CopiesBothWays) {
  const std::uint64_t value = 0x0123'4567'89ab'cdef;
  ASSERT_TRUE(put(page(0) + 5, value));
  std::uint64_t back = 0;
  ASSERT_TRUE(get(back, page(0) + 5));
  EXPECT_EQ(back, value);
  EXPECT_EQ(*text(page(0) + 4), 'x');
  EXPECT_EQ(*text(page(0) + 13), 'x');
  EXPECT_EQ(g_faults, 0);
}

TEST_F(UserCopy, EndsAtTheHole) {
  std::array<char, 16> buffer{};
  EXPECT_TRUE(copy_in(buffer.data(), page(1) - 16, 16));
  EXPECT_EQ(g_faults, 0);
  EXPECT_FALSE(copy_in(buffer.data(), page(1) - 15, 16));
  EXPECT_FALSE(copy_in(buffer.data(), page(2) - 1, 2));
  EXPECT_FALSE(copy_out(page(1) - 15, buffer.data(), 16));
  EXPECT_EQ(g_faults, 3);
}

TEST_F(UserCopy, WhatCannotBeWrittenIsRefused) {
  const char byte = 'y';
  EXPECT_FALSE(copy_out(page(3), &byte, 1));
  char back = 0;
  EXPECT_TRUE(copy_in(&back, page(3), 1));
  EXPECT_EQ(back, 'x');
}

TEST_F(UserCopy, AddressesThatNoGuestHas) {
  std::array<char, 64> buffer{};
  const std::uint64_t bad[] = {0,
                               8,
                               kTaskSize64,
                               kTaskSize64 - 8,
                               std::uint64_t{1} << 47,
                               std::uint64_t{1} << 63,
                               0xffff'8000'0000'0000,
                               ~std::uint64_t{0},
                               ~std::uint64_t{0} - 15,
                               ~std::uint64_t{0} - 31};
  for (const std::uint64_t at : bad) {
    EXPECT_FALSE(copy_in(buffer.data(), at, 32)) << std::hex << at;
    EXPECT_FALSE(copy_out(at, buffer.data(), 32)) << std::hex << at;
    EXPECT_EQ(copy_in_string(buffer.data(), at, 32), -1) << std::hex << at;
  }
}

TEST_F(UserCopy, TheZoneIsRefusedThoughItIsMapped) {
  void* const in_zone = ::mmap(reinterpret_cast<void*>(kArenaBegin), kPageSize, PROT_READ | PROT_WRITE,
                               MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
  ASSERT_EQ(in_zone, reinterpret_cast<void*>(kArenaBegin));
  std::array<char, 8> buffer{};
  EXPECT_FALSE(copy_in(buffer.data(), kArenaBegin, 8));
  EXPECT_FALSE(copy_out(kArenaBegin, buffer.data(), 8));
  EXPECT_EQ(copy_in_string(buffer.data(), kArenaBegin, 8), -1);
  EXPECT_EQ(g_faults, 0) << "the zone must not even be touched";
  ::munmap(in_zone, kPageSize);

  // The last bytes in front of it are the guest's, the first of it are not.
  void* const below =
      ::mmap(reinterpret_cast<void*>(kZoneBegin - kPageSize), 2 * kPageSize, PROT_READ | PROT_WRITE,
             MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
  ASSERT_NE(below, MAP_FAILED);
  EXPECT_TRUE(copy_in(buffer.data(), kZoneBegin - 8, 8));
  EXPECT_FALSE(copy_in(buffer.data(), kZoneBegin - 7, 8));
  EXPECT_FALSE(copy_out(kZoneBegin - 7, buffer.data(), 8));
  ::munmap(below, 2 * kPageSize);
}

TEST_F(UserCopy, NothingToCopyIsNeverBad) {
  EXPECT_TRUE(copy_in(nullptr, ~std::uint64_t{0}, 0));
  EXPECT_TRUE(copy_out(kZoneBegin, nullptr, 0));
}

TEST_F(UserCopy, StringsEndAtTheNulOrTheRoomOrTheHole) {
  std::array<char, 8192> buffer{};
  // Right before the hole: the byte behind the NUL must not be asked for.
  std::memcpy(text(page(1) - 4), "abc", 4);
  EXPECT_EQ(copy_in_string(buffer.data(), page(1) - 4, buffer.size()), 3);
  EXPECT_STREQ(buffer.data(), "abc");
  EXPECT_EQ(g_faults, 0);
  // Without a NUL before the hole.
  *text(page(1) - 1) = 'd';
  EXPECT_EQ(copy_in_string(buffer.data(), page(1) - 4, buffer.size()), -1);
  // Without a NUL in the room there is.
  EXPECT_EQ(copy_in_string(buffer.data(), page(1) - 4, 4), 4);
  EXPECT_EQ(copy_in_string(buffer.data(), page(0), 0), 0);
  // Across a page border.
  ::mprotect(text(page(3)), kPageSize, PROT_READ | PROT_WRITE);
  *text(page(3) + 2) = 0;
  EXPECT_EQ(copy_in_string(buffer.data(), page(3) - 3, buffer.size()), 5);
  EXPECT_STREQ(buffer.data(), "xxxxx");
  EXPECT_EQ(copy_in_string(buffer.data(), page(3) + 2, buffer.size()), 0);
}

TEST_F(UserCopy, BeyondTheEndOfAFile) {
  const int fd = ::memfd_create("short", MFD_CLOEXEC);
  ASSERT_EQ(::ftruncate(fd, 100), 0);
  void* const map = ::mmap(nullptr, 2 * kPageSize, PROT_READ, MAP_SHARED, fd, 0);
  ASSERT_NE(map, MAP_FAILED);
  const auto at = reinterpret_cast<std::uint64_t>(map);
  char byte = 1;
  EXPECT_TRUE(copy_in(&byte, at + kPageSize - 1, 1));  // the rest of the last page is zero
  EXPECT_EQ(byte, 0);
  EXPECT_FALSE(copy_in(&byte, at + kPageSize, 1));
  EXPECT_EQ(g_faults, 1);
  ::munmap(map, 2 * kPageSize);
  ::close(fd);
}

TEST_F(UserCopy, OnlyTheCopyItselfIsMended) {
  EXPECT_EQ(fix_user_copy(0), 0U);
  EXPECT_EQ(fix_user_copy(reinterpret_cast<std::uint64_t>(&on_fault)), 0U);
  EXPECT_EQ(fix_user_copy(reinterpret_cast<std::uint64_t>(&fix_user_copy)), 0U);
}

}  // namespace
}  // namespace hpcvmm::mem
