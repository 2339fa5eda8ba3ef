#include "vmm/migrate/asked.hh"

#include <gtest/gtest.h>
#include <sys/syscall.h>

namespace hpcvmm::migrate {
namespace {

using names::Asked;
using names::Layout;

Asked ia32(std::uint64_t number, const std::array<std::uint64_t, 6>& words) {
  GuestRegs r{};
  r.rax = number;
  r.rbx = words[0];
  r.rcx = words[1];
  r.rdx = words[2];
  r.rsi = words[3];
  r.rdi = words[4];
  r.rbp = words[5];
  return asked_of(r, Abi::Ia32);
}

TEST(Asked, X64CallsAreWhatTheyAre) {
  GuestRegs r{};
  r.rax = SYS_openat;
  r.rdi = static_cast<std::uint64_t>(-100);
  r.rdx = 7;
  const Asked a = asked_of(r, Abi::X64);
  EXPECT_EQ(a.number, static_cast<std::uint64_t>(SYS_openat));
  EXPECT_EQ(a.fd(0), -100);
  EXPECT_EQ(a[2], 7U);
  EXPECT_FALSE(a.is_small);
}

TEST(Asked, Ia32CallsHaveTheNumbersOfTheirSisters) {
  EXPECT_EQ(ia32(5, {}).number, static_cast<std::uint64_t>(SYS_open));
  EXPECT_EQ(ia32(3, {}).number, static_cast<std::uint64_t>(SYS_read));
  EXPECT_EQ(ia32(199, {}).number, static_cast<std::uint64_t>(SYS_getuid));  // getuid32
  EXPECT_EQ(ia32(213, {}).number, static_cast<std::uint64_t>(SYS_setuid));  // setuid32
  EXPECT_EQ(ia32(22, {}).number, static_cast<std::uint64_t>(SYS_umount2));  // umount
  EXPECT_EQ(ia32(221, {}).number, static_cast<std::uint64_t>(SYS_fcntl));   // fcntl64
  EXPECT_EQ(ia32(383, {}).number, static_cast<std::uint64_t>(SYS_statx));
  EXPECT_EQ(ia32(102, {}).number, Asked::kOther);  // socketcall
  EXPECT_EQ(ia32(90, {}).number, Asked::kOther);   // mmap with its words in memory
  EXPECT_EQ(ia32(9999, {}).number, Asked::kOther);
  EXPECT_TRUE(ia32(5, {}).is_small);
}

TEST(Asked, StatusHasThreeLayouts) {
  EXPECT_EQ(ia32(195, {}).number, static_cast<std::uint64_t>(SYS_stat));  // stat64
  EXPECT_EQ(ia32(195, {}).layout, Layout::Stat64);
  EXPECT_EQ(ia32(300, {}).number, static_cast<std::uint64_t>(SYS_newfstatat));  // fstatat64
  EXPECT_EQ(ia32(300, {}).layout, Layout::Stat64);
  EXPECT_EQ(ia32(106, {}).number, static_cast<std::uint64_t>(SYS_stat));  // stat
  EXPECT_EQ(ia32(106, {}).layout, Layout::Stat32);
  EXPECT_EQ(ia32(18, {}).number, Asked::kOther);  // oldstat
}

TEST(Asked, WordsAreJoinedAndExtended) {
  const Asked p = ia32(180, {3, 0x1000, 10, 5, 1, 0});  // pread64
  EXPECT_EQ(p[3], 0x1'0000'0005U);
  EXPECT_EQ(ia32(295, {0xffff'ff9c, 0, 0, 0, 0, 0}).fd(0), -100);
  const Asked s = ia32(140, {3, 0xffff'ffff, 0xffff'fffe, 0x2000, 1, 0});  // _llseek
  EXPECT_EQ(s.number, static_cast<std::uint64_t>(SYS_lseek));
  EXPECT_EQ(static_cast<std::int64_t>(s[1]), -2);
  EXPECT_EQ(s[2], 1U);
  EXPECT_EQ(s[3], 0x2000U);
  EXPECT_TRUE(s.seeks_far);
}

}  // namespace
}  // namespace hpcvmm::migrate
