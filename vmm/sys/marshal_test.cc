#include "vmm/sys/marshal.hh"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "vmm/sys/messages.hh"
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
  for (const char* name : {"nanosleep", "clock_nanosleep", "futex", "set_robust_list", "execve"})
    EXPECT_FALSE(may_marshal(*find_row(name), Abi::X64)) << name;
}

TEST(Marshal, Ia32CallsTravelWithTheirOwnLayouts) {
  for (const char* name :
       {"read", "fstat64", "getdents64", "rt_sigaction", "_llseek", "socketcall", "_newselect"})
    EXPECT_TRUE(may_marshal(*find_row(name), Abi::Ia32)) << name;
  EXPECT_EQ(plan_of("fstat64", {3, 0x1000}, Abi::Ia32).areas[0].bytes, 96U);
  EXPECT_EQ(plan_of("fstat", {3, 0x1000}, Abi::Ia32).areas[0].bytes, 64U);
  EXPECT_EQ(plan_of("fstat", {3, 0x1000}, Abi::X64).areas[0].bytes, 144U);
  const Plan seek = plan_of("_llseek", {3, 0, 0, 0x1000, 0}, Abi::Ia32);
  ASSERT_EQ(seek.count, 1U);
  EXPECT_EQ(seek.areas[0].bytes, 8U);
  EXPECT_EQ(plan_of("fcntl64", {3, 13, 0x1000}, Abi::Ia32).areas[0].bytes, 24U);
  EXPECT_EQ(plan_of("fcntl64", {3, F_SETFD, 1}, Abi::Ia32).count, 0U);
  EXPECT_EQ(plan_of("fcntl", {3, F_SETLK, 0x1000}).areas[0].bytes, 32U);
}

TEST(Marshal, WhatDoesNotFitBelow4GiBGoesByPages) {
  EXPECT_EQ(plan_of("getdents", {3, 0x1000, 2048}, Abi::Ia32).count, 1U);
  EXPECT_EQ(plan_of("getdents", {3, 0x1000, 2049}, Abi::Ia32).count, 0U);
  EXPECT_EQ(plan_of("getdents64", {3, 0x1000, 32768}, Abi::Ia32).count, 1U);
}

TEST(Marshal, OfPollfdsOnlyWhatHasChangedIsWritten) {
  const Plan p = plan_of("poll", {0x1000, 3, 0});
  ASSERT_EQ(p.count, 1U);
  EXPECT_EQ(p.areas[0].bytes, 24U);
  EXPECT_TRUE(p.areas[0].apart);
  EXPECT_EQ(plan_of("poll", {0x1000, 2000, 0}).count, 0U);
  EXPECT_EQ(plan_of("poll", {0x1000, 0xffff'ffff, 0}).count, 0U);
}

TEST(Marshal, SetsAreAsLongAsTheirDescriptors) {
  EXPECT_EQ(plan_of("select", {20, 0x1000, 0, 0, 0}).areas[0].bytes, 8U);
  EXPECT_EQ(plan_of("_newselect", {20, 0x1000, 0, 0, 0}, Abi::Ia32).areas[0].bytes, 4U);
  EXPECT_EQ(plan_of("select", {1024, 0x1000, 0, 0, 0}).areas[0].bytes, 128U);
  EXPECT_EQ(plan_of("select", {0, 0x1000, 0, 0, 0}).count, 0U);
  EXPECT_EQ(plan_of("select", {0x7fff'ffff, 0x1000, 0, 0, 0}).count, 0U);
  EXPECT_EQ(plan_of("select", {0xffff'ffff, 0x1000, 0, 0, 0}).count, 0U);
  const std::uint64_t mask = 5;
  const std::uint64_t pair[2] = {at(&mask), 8};
  const Plan p = plan_of("pselect6", {20, 0x1000, 0, 0, 0, at(pair)});
  ASSERT_EQ(p.count, 3U);
  EXPECT_EQ(p.areas[2].guest, at(&mask));
}

/// Low memory of the test, as an IA32 program's.
struct Low {
  Low() {
    at = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
  }
  Low(const Low&) = delete;
  Low& operator=(const Low&) = delete;
  ~Low() { ::munmap(at, 4096); }
  template <class T> T* place(std::size_t offset) const {
    return reinterpret_cast<T*>(static_cast<char*>(at) + offset);
  }
  std::uint32_t word(std::size_t offset) const {
    return static_cast<std::uint32_t>(reinterpret_cast<std::uint64_t>(at) + offset);
  }
  void* at;
};

TEST(Marshal, VectorsOfIa32HaveShortWords) {
  const Low low;
  auto* const iov = low.place<Iovec32>(0);
  iov[0] = {low.word(100), 10};
  iov[1] = {low.word(200), 20};
  const Plan p = plan_of("readv", {0, low.word(0), 2}, Abi::Ia32);
  ASSERT_EQ(p.count, 3U);
  EXPECT_EQ(p.areas[0].bytes, 16U);
  EXPECT_EQ(p.areas[2].guest, low.word(200));
  EXPECT_EQ(p.areas[2].bytes, 20U);
  EXPECT_EQ(p.vector_arg, 1U);
  iov[1].len = 0x8000'0000;
  EXPECT_EQ(plan_of("readv", {0, low.word(0), 2}, Abi::Ia32).count, 0U);
  iov[1] = {low.word(105), 20};  // over the first
  EXPECT_EQ(plan_of("readv", {0, low.word(0), 2}, Abi::Ia32).count, 0U);
  EXPECT_EQ(plan_of("writev", {0, low.word(0), 2}, Abi::Ia32).count, 3U);
  EXPECT_EQ(plan_of("readv", {0, low.word(0), 0xffff'ffff}, Abi::Ia32).count, 0U);
  EXPECT_EQ(plan_of("readv", {0, 16, 2}, Abi::Ia32).count, 0U);
}

TEST(Marshal, MessagesNameTheirParts) {
  char name[128];
  char control[64];
  char bytes[40];
  iovec iov{bytes, sizeof bytes};
  msghdr m{name, sizeof name, &iov, 1, control, sizeof control, 0};
  const Plan p = plan_of("recvmsg", {3, at(&m), 0});
  ASSERT_EQ(p.count, 5U);
  EXPECT_EQ(p.areas[0].bytes, sizeof m);
  EXPECT_TRUE(p.areas[0].out && p.areas[1].out && p.areas[2].out);
  EXPECT_FALSE(p.areas[3].out);
  EXPECT_EQ(p.areas[4].unit, 1U);
  EXPECT_FALSE(p.areas[4].in);
  // The result may count more than there is room for.
  EXPECT_EQ(plan_of("recvmsg", {3, at(&m), MSG_TRUNC}).areas[4].unit, 0U);
  const Plan out = plan_of("sendmsg", {3, at(&m), 0});
  ASSERT_EQ(out.count, 5U);
  for (const Area& a : out.all()) EXPECT_FALSE(a.out);
  m.msg_namelen = 129;
  EXPECT_EQ(plan_of("sendmsg", {3, at(&m), 0}).count, 0U);
  EXPECT_EQ(plan_of("recvmsg", {3, at(&m), 0}).areas[1].bytes, 128U);
  m.msg_namelen = 0xffff'ffff;
  EXPECT_EQ(plan_of("recvmsg", {3, at(&m), 0}).count, 0U);
  m.msg_namelen = 128;
  m.msg_controllen = std::size_t{1} << 40U;
  EXPECT_EQ(plan_of("recvmsg", {3, at(&m), 0}).count, 0U);
  m.msg_controllen = sizeof control;
  m.msg_iovlen = ~std::size_t{0};
  EXPECT_EQ(plan_of("recvmsg", {3, at(&m), 0}).count, 0U);
  // The name lies in the buffer: the order of writes would count.
  m.msg_iovlen = 1;
  m.msg_name = bytes;
  EXPECT_EQ(plan_of("recvmsg", {3, at(&m), 0}).count, 0U);
}

TEST(Marshal, MessagesOfIa32BehindSocketcall) {
  const Low low;
  *low.place<Iovec32>(100) = {low.word(1000), 40};
  *low.place<Msghdr32>(0) = {low.word(200), 110, low.word(100), 1, low.word(400), 64, 0};
  const std::array<std::uint32_t, 3> words{3, low.word(0), 0};
  std::memcpy(low.place<char>(900), words.data(), sizeof words);
  const Plan p = plan_of("socketcall", {17, low.word(900)}, Abi::Ia32);
  ASSERT_EQ(p.count, 6U);
  EXPECT_EQ(p.areas[0].bytes, 28U);
  EXPECT_EQ(p.areas[5].guest, low.word(900));
  EXPECT_EQ(p.vector_arg, 1U);
  EXPECT_EQ(plan_of("socketcall", {21, low.word(900)}, Abi::Ia32).count, 0U);
  EXPECT_EQ(plan_of("socketcall", {17, 16}, Abi::Ia32).count, 0U);
  // With control data all of it stands below 4 GiB, without it need not.
  low.place<Iovec32>(100)->len = 3000;
  EXPECT_EQ(plan_of("recvmsg", {3, low.word(0), 0}, Abi::Ia32).count, 0U);
  low.place<Msghdr32>(0)->controllen = 0;
  low.place<Iovec32>(100)->len = 2000;
  EXPECT_EQ(plan_of("recvmsg", {3, low.word(0), 0}, Abi::Ia32).count, 4U);
}

TEST(Marshal, OptionsWithAddressesInThemDoNotTravel) {
  std::uint32_t length = 4;
  EXPECT_EQ(plan_of("getsockopt", {3, SOL_SOCKET, SO_ERROR, 0x1000, at(&length)}).count, 2U);
  EXPECT_EQ(plan_of("getsockopt", {3, SOL_SOCKET, SO_GET_FILTER, 0x1000, at(&length)}).count, 0U);
  EXPECT_EQ(plan_of("setsockopt", {3, SOL_SOCKET, SO_ATTACH_FILTER, 0x1000, 16}).count, 0U);
  EXPECT_EQ(plan_of("setsockopt", {3, SOL_SOCKET, SO_RCVBUF, 0x1000, 4}).count, 1U);
  length = 0xffff'ffff;
  EXPECT_EQ(plan_of("getsockopt", {3, SOL_SOCKET, SO_ERROR, 0x1000, at(&length)}).count, 0U);
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
char g_copy[96];           // NOLINT
unsigned g_asked = 0;      // NOLINT
std::uint64_t staged(unsigned arg, std::uint64_t guest, std::uint64_t bytes) {
  ++g_asked;
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

// --- IA32 calls whose copies are copied below 4 GiB

bool have_copies() { return true; }
char g_low[4096];             // NOLINT: stands for the page below 4 GiB
std::size_t g_low_taken = 0;  // NOLINT
bool g_low_refused = false;   // NOLINT
std::uint64_t take_low(std::size_t bytes) {
  if (g_low_refused || bytes > sizeof g_low) return 0;
  g_low_taken += bytes;
  return at(g_low);
}
void give_low(std::uint64_t, std::size_t bytes) { g_low_taken -= bytes; }
SysRet answers32(std::uint64_t, const Args& args) {
  g_seen = args;
  if (args[1] == at(g_low)) g_low[0] = 'w';
  return SysRet::ok(0);
}
HostGate low_gate() {
  HostGate gate = kFake;
  gate.call32 = answers32;
  gate.staged = staged;
  gate.has_copies = have_copies;
  gate.take_low = take_low;
  gate.give_low = give_low;
  return gate;
}

TEST(Low, TheCallIsMadeWithWhatStandsBelow) {
  const HostGate gate = low_gate();
  g_room = 96;
  g_copy[0] = 'c';
  g_low[0] = 0;
  EXPECT_EQ(pass_through(*find_row("fstat64"), Abi::Ia32, {3, 0x1000, 0, 0, 0, 0}, gate).value(), 0);
  EXPECT_EQ(g_seen[1], at(g_low));
  EXPECT_EQ(g_copy[0], 'w');
  EXPECT_EQ(g_low_taken, 0U);
}

TEST(Low, WithoutACopyOrRoomItIsMadeAsItIs) {
  const HostGate gate = low_gate();
  g_room = 95;
  EXPECT_EQ(pass_through(*find_row("fstat64"), Abi::Ia32, {3, 0x1000, 0, 0, 0, 0}, gate).value(), 0);
  EXPECT_EQ(g_seen[1], 0x1000U);
  g_room = 96;
  g_low_refused = true;
  EXPECT_EQ(pass_through(*find_row("fstat64"), Abi::Ia32, {3, 0x1000, 0, 0, 0, 0}, gate).value(), 0);
  EXPECT_EQ(g_seen[1], 0x1000U);
  for (const char* name : {"getdents64", "getdents"}) {
    g_asked = 0;
    EXPECT_EQ(pass_through(*find_row(name), Abi::Ia32, {3, 0x1000, 90, 0, 0, 0}, gate).value(), 0);
    EXPECT_EQ(g_seen[1], 0x1000U);
    EXPECT_EQ(g_asked, 0U) << "who asks for a copy uses it: " << name;
  }
  g_low_refused = false;
}

// Entries of 24 bytes each, as many as fit, of those that are left.
unsigned g_entries = 0;  // NOLINT
SysRet entries32(std::uint64_t, const Args& args) {
  const auto n = static_cast<unsigned>(std::min<std::uint64_t>(args[2] / 24, g_entries));
  if (n == 0 && g_entries != 0) return SysRet::fail(EINVAL);
  g_entries -= n;
  std::memset(g_low, 'e', n * 24);
  return SysRet::ok(n * 24);
}
char g_list[8192];  // NOLINT
std::uint64_t staged_list(unsigned arg, std::uint64_t guest, std::uint64_t bytes) {
  return arg == 1 && guest == 0x1000 && bytes <= sizeof g_list ? at(g_list) : 0;
}

TEST(Low, ABufferOfEntriesIsFilledAsOneCallWould) {
  HostGate gate = low_gate();
  gate.call32 = entries32;
  gate.staged = staged_list;
  const auto list = [&gate](std::uint64_t room) {
    return pass_through(*find_row("getdents64"), Abi::Ia32, {3, 0x1000, room, 0, 0, 0}, gate).value();
  };
  g_entries = 300;
  EXPECT_EQ(list(5000), 5000 / 24 * 24);
  EXPECT_EQ(g_list[4991], 'e');
  EXPECT_EQ(g_list[4992], 0);
  EXPECT_EQ(list(23), -EINVAL);
  EXPECT_EQ(list(5000), 300 * 24 - 4992);
  EXPECT_EQ(list(5000), 0);
}

}  // namespace
}  // namespace hpcvmm::sys
