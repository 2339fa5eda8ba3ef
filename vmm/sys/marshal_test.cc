#include "vmm/sys/marshal.hh"

#include <gtest/gtest.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <cstring>

#include "vmm/sys/passthrough.hh"
#include "vmm/sys/test_gate.hh"

namespace hpcvmm::sys {
namespace {

using test::copy_in;
using test::kFake;

std::uint64_t at(const void* p) { return reinterpret_cast<std::uint64_t>(p); }

Plan plan_of(const char* name, const Args& args, Abi abi = Abi::X64) {
  return marshal_plan(*find_row(name), abi, args, copy_in);
}

TEST(Marshal, WritesTravelOutAndReadsTravelHome) {
  const Plan w = plan_of("write", {1, 0x1000, 100});
  ASSERT_EQ(w.count, 1U);
  EXPECT_EQ(w.areas[0].guest, 0x1000U);
  EXPECT_EQ(w.areas[0].bytes, 100U);
  EXPECT_TRUE(w.areas[0].in);
  EXPECT_FALSE(w.areas[0].out);
  const Plan r = plan_of("read", {0, 0x1000, 4096});
  ASSERT_EQ(r.count, 1U);
  EXPECT_FALSE(r.areas[0].in);
  EXPECT_EQ(r.areas[0].unit, 1U);
}

TEST(Marshal, PathsAreTextsAndStructsAreCompared) {
  const Plan p = plan_of("newfstatat", {0, 0x1000, 0x2000, 0});
  ASSERT_EQ(p.count, 2U);
  EXPECT_TRUE(p.areas[0].text);
  EXPECT_EQ(p.areas[1].bytes, 144U);
  EXPECT_TRUE(p.areas[1].in && p.areas[1].out);
  EXPECT_EQ(p.areas[1].unit, 0U);
}

TEST(Marshal, NullPointersAndNothingToMoveLeaveNothing) {
  EXPECT_EQ(plan_of("write", {1, 0x1000, 0}).count, 0U);
  EXPECT_EQ(plan_of("wait4", {0, 0, 0, 0}).count, 0U);
}

TEST(Marshal, TooLongGoesByPages) {
  EXPECT_EQ(plan_of("write", {1, 0x1000, kMostMarshalled + 1}).count, 0U);
  EXPECT_EQ(plan_of("write", {1, 0x1000, ~std::uint64_t{0}}).count, 0U);
}

TEST(Marshal, AreasThatOverlapGoByPagesWhenOneIsWritten) {
  EXPECT_EQ(plan_of("setitimer", {0, 0x1000, 0x1000}).count, 0U);
  EXPECT_EQ(plan_of("setitimer", {0, 0x1000, 0x1010}).count, 0U);
  EXPECT_EQ(plan_of("setitimer", {0, 0x1000, 0x1020}).count, 2U);
  EXPECT_EQ(plan_of("rename", {0x1000, 0x1000}).count, 2U);
}

TEST(Marshal, CallsWhoseAddressesOutliveThemNeverTravel) {
  for (const char* name : {"nanosleep", "clock_nanosleep", "poll", "futex", "set_robust_list", "execve"})
    EXPECT_FALSE(may_marshal(*find_row(name), Abi::X64)) << name;
}

TEST(Marshal, Ia32CallsNeedATwinOrAHandlerThatCopies) {
  EXPECT_TRUE(may_marshal(*find_row("read"), Abi::Ia32));
  EXPECT_FALSE(may_marshal(*find_row("fstat"), Abi::Ia32));
  EXPECT_FALSE(may_marshal(*find_row("getdents64"), Abi::Ia32));
  EXPECT_TRUE(may_marshal(*find_row("rt_sigaction"), Abi::Ia32));
}

TEST(Marshal, VectorsNameTheirBuffers) {
  char a[10];
  char b[20];
  const iovec iov[2] = {{a, sizeof a}, {b, sizeof b}};
  const Plan p = plan_of("readv", {0, at(iov), 2});
  ASSERT_EQ(p.count, 3U);
  EXPECT_EQ(p.areas[0].bytes, sizeof iov);
  EXPECT_EQ(p.areas[2].guest, at(b));
  EXPECT_EQ(p.areas[2].unit, 1U);
}

TEST(Marshal, PeersHaveNoMoreRoomThanThereAreAddresses) {
  sockaddr_storage peer{};
  std::uint32_t room = 1000;
  const Plan p = plan_of("accept4", {3, at(&peer), at(&room), 0});
  ASSERT_EQ(p.count, 2U);
  EXPECT_EQ(p.areas[0].bytes, 128U);
  EXPECT_EQ(p.areas[1].bytes, 4U);
  room = 0xffff'ffff;
  EXPECT_EQ(plan_of("accept4", {3, at(&peer), at(&room), 0}).count, 0U);
}

TEST(Marshal, KnownRequestsOnly) {
  EXPECT_EQ(plan_of("ioctl", {0, TCGETS, 0x1000}).count, 1U);
  EXPECT_EQ(plan_of("ioctl", {0, 0xdead, 0x1000}).count, 0U);
}

// What the kernel is given: the copy where it is long enough, the guest's address otherwise.
std::uint64_t g_room = 0;  // NOLINT: of the one copy there is
char g_copy[64];           // NOLINT
std::uint64_t staged(unsigned arg, std::uint64_t guest, std::uint64_t bytes) {
  return arg == 1 && guest == 0x1000 && bytes <= g_room ? at(g_copy) : 0;
}
Args g_seen;  // NOLINT
SysRet see(std::uint64_t, const Args& args) {
  g_seen = args;
  return SysRet::ok();
}

TEST(Marshal, TheKernelGetsACopyThatIsLongEnough) {
  HostGate gate = kFake;
  gate.call64 = see;
  gate.staged = staged;
  g_room = 64;
  EXPECT_EQ(pass_through(*find_row("write"), Abi::X64, {1, 0x1000, 64}, gate).value(), 0);
  EXPECT_EQ(g_seen[1], at(g_copy));
  EXPECT_EQ(pass_through(*find_row("write"), Abi::X64, {1, 0x1000, 65}, gate).value(), 0);
  EXPECT_EQ(g_seen[1], 0x1000U);
  EXPECT_EQ(pass_through(*find_row("write"), Abi::Ia32, {1, 0x1000, 64}, gate).value(), 0);
  EXPECT_EQ(g_seen[1], at(g_copy));
}

}  // namespace
}  // namespace hpcvmm::sys
