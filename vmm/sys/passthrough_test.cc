// Goal: no address, descriptor or twin goes wrong on its way to the host.  Method: a gate that only
// remembers, and the real kernel.
#include "vmm/sys/passthrough.hh"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/filter.h>
#include <linux/futex.h>
#include <mqueue.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/sem.h>
#include <sys/socket.h>
#include <termios.h>

#include <csignal>
#include <cstring>

#include "vmm/sys/deep.hh"
#include "vmm/sys/test_gate.hh"

namespace hpcvmm::sys {
namespace {

using test::g_issued;
using test::kFake;
using test::kReal;
using test::word;

constexpr std::uint64_t kOurs = kImageBase + 0x1000;

// Arguments under which pointer argument `i` is looked at; `inner` gets what else must be readable.
Args arguments_for(const Row& r, unsigned i, std::uint64_t address) {
  Args a{};
  for (unsigned k = 0; k < shape_of(r).count; ++k) {
    if (r.args[k].kind == ArgKind::Size || r.args[k].kind == ArgKind::UInt) a[k] = 16;
  }
  if (r.call == Call::ioctl) a[1] = TCGETS;
  if (r.call == Call::fcntl || r.call == Call::fcntl64) a[1] = F_GETLK;
  if (r.call == Call::semctl) a[2] = IPC_STAT;
  if (r.call == Call::futex || r.call == Call::futex_time64) a[1] = i == 4 ? FUTEX_CMP_REQUEUE : FUTEX_WAIT;
  a[i] = address;
  return a;
}

TEST(PassThrough, NoPointerOfAnyRowReachesTheVmm) {
  int tried = 0;
  for (const Row& r : kRows) {
    if (r.nr64 < 0 || r.support == Support::None) continue;
    for (unsigned i = 0; i < shape_of(r).count; ++i) {
      if (!is_pointer(r.args[i].kind)) continue;
      for (const std::uint64_t at : {kZoneBegin, kOurs, kArenaBegin, kZoneEnd - 1}) {
        g_issued.count = 0;
        const SysRet ret = pass_through(r, Abi::X64, arguments_for(r, i, at), kFake);
        EXPECT_EQ(ret.value(), -EFAULT) << r.name << " argument " << i;
        EXPECT_EQ(g_issued.count, 0) << r.name << " argument " << i;
        ++tried;
      }
    }
  }
  EXPECT_GT(tried, 1000);
}

TEST(PassThrough, WhatTheRequestDoesNotUseMayHoldAnything) {
  const Row& futex = row_of(Call::futex);
  for (const std::uint64_t op :
       {FUTEX_WAKE, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, FUTEX_WAKE_BITSET, FUTEX_UNLOCK_PI})
    EXPECT_EQ(pass_through(futex, Abi::X64, {0x1000, op, 1, kOurs, kOurs, 0}, kFake).value(), 0) << op;
  const std::uint64_t wait = FUTEX_WAIT_BITSET_PRIVATE | FUTEX_CLOCK_REALTIME;
  EXPECT_EQ(pass_through(futex, Abi::X64, {0x1000, wait, 1, 0, kOurs, ~0U}, kFake).value(), 0);
  EXPECT_EQ(pass_through(futex, Abi::X64, {0x1000, wait, 1, kOurs, 0, ~0U}, kFake).value(), -EFAULT);
  EXPECT_EQ(pass_through(futex, Abi::X64, {0x1000, FUTEX_CMP_REQUEUE, 1, kOurs, 0x2000, 0}, kFake).value(),
            0);
  EXPECT_EQ(pass_through(futex, Abi::X64, {0x1000, FUTEX_CMP_REQUEUE, 1, 1, kOurs, 0}, kFake).value(),
            -EFAULT);
  EXPECT_EQ(pass_through(futex, Abi::X64, {kOurs, FUTEX_WAKE, 1, 0, 0, 0}, kFake).value(), -EFAULT);
  const Row& prctl = row_of(Call::prctl);
  EXPECT_EQ(pass_through(prctl, Abi::X64, {PR_SET_NAME, 0x1000, kOurs, kOurs, kOurs}, kFake).value(), 0);
  EXPECT_EQ(pass_through(prctl, Abi::X64, {PR_SET_NAME, kOurs, 0, 0, 0}, kFake).value(), -EFAULT);
  EXPECT_EQ(pass_through(prctl, Abi::X64, {PR_SET_SECCOMP, 2, kOurs, 0, 0}, kFake).value(), -EFAULT);
}

TEST(PassThrough, ABufferMayNotReachIntoTheZone) {
  const Row& r = row_of(Call::read);
  EXPECT_EQ(pass_through(r, Abi::X64, {0, kZoneBegin - 16, 17}, kFake).value(), -EFAULT);
  EXPECT_EQ(pass_through(r, Abi::X64, {0, kZoneBegin - 16, 16}, kFake).value(), 0);
  EXPECT_EQ(pass_through(r, Abi::X64, {0, kZoneEnd, 16}, kFake).value(), 0);
  // "As much as you like" is the caller's business, not an address of ours.
  EXPECT_EQ(pass_through(r, Abi::X64, {0, 0x400000, ~0ULL}, kFake).value(), 0);
}

TEST(PassThrough, HiddenDescriptorsAreNotThere) {
  for (const Row& r : kRows) {
    if (r.support == Support::None) continue;
    for (unsigned i = 0; i < shape_of(r).count; ++i) {
      if (r.args[i].kind != ArgKind::Fd && r.args[i].kind != ArgKind::DirFd) continue;
      Args a{};
      a[i] = 0x5'0000'0000ULL + test::kHiddenFd;  // the kernel takes the low half only
      g_issued.count = 0;
      if (r.nr64 >= 0) {
        EXPECT_EQ(pass_through(r, Abi::X64, a, kFake).value(), -EBADF) << r.name << " argument " << i;
      }
      EXPECT_EQ(g_issued.count, 0) << r.name;
    }
  }
}

TEST(PassThrough, RefusedRowsNeverReachTheHost) {
  g_issued.count = 0;
  for (const Row& r : kRows) {
    if (r.support != Support::None) continue;
    EXPECT_LT(pass_through(r, Abi::X64, {}, kFake).value(), 0) << r.name;
  }
  EXPECT_EQ(g_issued.count, 0);
  EXPECT_EQ(pass_through(row_of(Call::bpf), Abi::X64, {}, kFake).value(), -EPERM);
  EXPECT_EQ(pass_through(row_of(Call::io_uring_setup), Abi::X64, {}, kFake).value(), -ENOSYS);
}

TEST(PassThrough, Ia32TakesTheTwinOrInt80) {
  (void)pass_through(row_of(Call::lseek), Abi::Ia32, {3, 0xffff'fff0, 2}, kFake);
  EXPECT_EQ(g_issued.abi, Abi::X64);
  EXPECT_EQ(g_issued.nr, 8U);
  EXPECT_EQ(g_issued.args[1], ~0xfULL);
  (void)pass_through(row_of(Call::pwrite64), Abi::Ia32, {3, 0x8000'0000, 5, 7, 1}, kFake);
  EXPECT_EQ(g_issued.nr, 18U);
  EXPECT_EQ(g_issued.args, (Args{3, 0x8000'0000, 5, 0x1'0000'0007}));
  (void)pass_through(row_of(Call::getuid32), Abi::Ia32, {}, kFake);
  EXPECT_EQ(g_issued.abi, Abi::X64);
  EXPECT_EQ(g_issued.nr, 102U);
  (void)pass_through(row_of(Call::getuid), Abi::Ia32, {}, kFake);
  EXPECT_EQ(g_issued.abi, Abi::Ia32);
  EXPECT_EQ(g_issued.nr, 24U);
  (void)pass_through(row_of(Call::fstat64), Abi::Ia32, {3, 0x1000}, kFake);
  EXPECT_EQ(g_issued.abi, Abi::Ia32);
  EXPECT_EQ(g_issued.nr, 197U);
}

TEST(PassThrough, FutexHasATwinOnlyWithoutATimeout) {
  const Row& r = row_of(Call::futex);
  (void)pass_through(r, Abi::Ia32, {0x1000, 128 /* WAIT_PRIVATE */, 1, 0}, kFake);
  EXPECT_EQ(g_issued.abi, Abi::X64);
  (void)pass_through(r, Abi::Ia32, {0x1000, 128, 1, 0x2000}, kFake);
  EXPECT_EQ(g_issued.abi, Abi::Ia32);
  (void)pass_through(r, Abi::Ia32, {0x1000, 129 /* WAKE_PRIVATE */, 1, 0x2000}, kFake);
  EXPECT_EQ(g_issued.abi, Abi::X64);
  (void)pass_through(row_of(Call::futex_time64), Abi::Ia32, {0x1000, 132, 1, 5, 0x2000, 0}, kFake);
  EXPECT_EQ(g_issued.nr, 202U);
}

TEST(PassThrough, ACallOfTheOtherAbiDoesNotExist) {
  EXPECT_EQ(pass_through(row_of(Call::fstat64), Abi::X64, {}, kFake).value(), -ENOSYS);
  EXPECT_EQ(pass_through(row_of(Call::accept), Abi::Ia32, {}, kFake).value(), -ENOSYS);
}

TEST(PassThrough, VectorsAreCopiedBeforeTheyAreUsed) {
  std::array<iovec, 2> iov{{{std::bit_cast<void*>(0x1000ULL), 8}, {std::bit_cast<void*>(kOurs), 8}}};
  g_issued.count = 0;
  for (const Call c :
       {Call::readv, Call::writev, Call::preadv, Call::pwritev, Call::preadv2, Call::vmsplice}) {
    EXPECT_EQ(pass_through(row_of(c), Abi::X64, {0, word(iov.data()), 2}, kFake).value(), -EFAULT);
  }
  EXPECT_EQ(g_issued.count, 0);
  EXPECT_EQ(pass_through(row_of(Call::readv), Abi::X64, {0, word(iov.data()), 1}, kFake).value(), 0);
  EXPECT_NE(g_issued.args[1], word(iov.data())) << "the kernel must not read the guest's array again";
  EXPECT_EQ(pass_through(row_of(Call::readv), Abi::X64, {0, word(iov.data()), 1025}, kFake).value(), -EINVAL);
  EXPECT_EQ(pass_through(row_of(Call::readv), Abi::X64, {0, 8, 1}, kFake).value(), -EFAULT);
  EXPECT_EQ(pass_through(row_of(Call::process_vm_readv), Abi::X64,
                         {1, word(iov.data()), 1, word(iov.data()), 2}, kFake)
                .value(),
            -EFAULT);
}

TEST(PassThrough, ReadvThroughTheKernel) {
  int fds[2];
  ASSERT_EQ(::pipe(fds), 0);
  ASSERT_EQ(::write(fds[1], "hello world", 11), 11);
  char a[6] = {};
  char b[6] = {};
  std::array<iovec, 2> iov{{{a, 5}, {b, 6}}};
  const Args args{static_cast<std::uint64_t>(fds[0]), word(iov.data()), 2};
  EXPECT_EQ(pass_through(row_of(Call::readv), Abi::X64, args, kReal).value(), 11);
  EXPECT_STREQ(a, "hello");
  EXPECT_EQ(std::string(b, 6), " world");
  ::close(fds[0]);
  ::close(fds[1]);
}

TEST(PassThrough, Ia32CallsThroughTheKernel) {
  void* low = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
  ASSERT_NE(low, MAP_FAILED);
  const SysRet pid = pass_through(row_of(Call::getpid), Abi::Ia32, {}, kReal);
  EXPECT_EQ(pid.value(), ::getpid());
  const SysRet bad = pass_through(row_of(Call::fstat64), Abi::Ia32, {0xffff'ffff, word(low)}, kReal);
  if (bad.value() == -ENOSYS) GTEST_SKIP() << "this kernel has no IA32 entry";
  EXPECT_EQ(bad.value(), -EBADF);
  int fds[2];
  ASSERT_EQ(::pipe(fds), 0);
  std::memcpy(low, "abc", 3);
  auto* iov32 = static_cast<std::uint32_t*>(low) + 16;
  iov32[0] = static_cast<std::uint32_t>(word(low));
  iov32[1] = 3;
  const Args args{static_cast<std::uint64_t>(fds[1]), word(iov32), 1};
  EXPECT_EQ(pass_through(row_of(Call::writev), Abi::Ia32, args, kReal).value(), 3);
  char got[4] = {};
  EXPECT_EQ(::read(fds[0], got, 3), 3);
  EXPECT_STREQ(got, "abc");
  ::close(fds[0]);
  ::close(fds[1]);
  ::munmap(low, 4096);
}

TEST(PassThrough, FcntlAndSemctlCommandsDecide) {
  EXPECT_EQ(pass_through(row_of(Call::fcntl), Abi::X64, {0, F_SETFL, kOurs}, kFake).value(), 0);
  EXPECT_EQ(pass_through(row_of(Call::fcntl), Abi::X64, {0, F_SETLKW, kOurs}, kFake).value(), -EFAULT);
  EXPECT_EQ(pass_through(row_of(Call::fcntl), Abi::X64, {0, 4711, kOurs}, kFake).value(), -EFAULT);
  EXPECT_EQ(pass_through(row_of(Call::semctl), Abi::X64, {0, 0, SETVAL, kOurs}, kFake).value(), 0);
  EXPECT_EQ(pass_through(row_of(Call::semctl), Abi::X64, {0, 0, SETALL, kOurs}, kFake).value(), -EFAULT);
}

TEST(PassThrough, SocketFiltersAreLookedInto) {
  sock_fprog prog{1, std::bit_cast<sock_filter*>(kOurs)};
  Args a{0, SOL_SOCKET, SO_ATTACH_FILTER, word(&prog), sizeof prog};
  EXPECT_EQ(pass_through(row_of(Call::setsockopt), Abi::X64, a, kFake).value(), -EFAULT);
  prog.filter = nullptr;
  EXPECT_EQ(pass_through(row_of(Call::setsockopt), Abi::X64, a, kFake).value(), 0);
  EXPECT_NE(g_issued.args[3], word(&prog));
  a = {0, 0 /* SOL_IP */, 64 /* IPT_SO_SET_REPLACE */, word(&prog), sizeof prog};
  EXPECT_EQ(pass_through(row_of(Call::setsockopt), Abi::X64, a, kFake).value(), -ENOPROTOOPT);
}

TEST(PassThrough, IoctlsWithInnerAddresses) {
  const Row& r = row_of(Call::ioctl);
  ifconf conf{};
  conf.ifc_len = 400;
  conf.ifc_ifcu.ifcu_buf = std::bit_cast<char*>(kOurs);
  EXPECT_EQ(pass_through(r, Abi::X64, {0, SIOCGIFCONF, word(&conf)}, kFake).value(), -EFAULT);
  std::array<ifreq, 16> list{};
  conf.ifc_ifcu.ifcu_req = list.data();
  conf.ifc_len = sizeof list;
  const int s = ::socket(AF_INET, SOCK_DGRAM, 0);
  ASSERT_GE(s, 0);
  EXPECT_EQ(
      pass_through(r, Abi::X64, {static_cast<std::uint64_t>(s), SIOCGIFCONF, word(&conf)}, kReal).value(), 0);
  EXPECT_EQ(static_cast<std::size_t>(conf.ifc_len) % sizeof(ifreq), 0U);
  EXPECT_LT(static_cast<std::size_t>(conf.ifc_len), sizeof list);
  ::close(s);
  EXPECT_EQ(pass_through(r, Abi::X64, {0, 0xae00 /* KVM_GET_API_VERSION */, 0}, kFake).value(), -ENOTTY);
  EXPECT_EQ(pass_through(r, Abi::X64, {0, 0x2285 /* SG_IO */, 0x1000}, kFake).value(), -ENOTTY);
  EXPECT_EQ(pass_through(r, Abi::X64, {0, FIOCLEX, kOurs}, kFake).value(), 0) << "no pointer";
  EXPECT_EQ(pass_through(r, Abi::X64, {0, 0x80ff'7a01, kOurs}, kFake).value(), -EFAULT) << "unknown request";
  EXPECT_EQ(pass_through(r, Abi::X64, {0, 0x40049409 /* FICLONE */, test::kHiddenFd}, kFake).value(), -EBADF);
}

TEST(PassThrough, FutexVectorsCarry64BitAddressesInBothAbis) {
  struct Waiter {
    std::uint64_t val, uaddr;
    std::uint32_t flags, reserved;
  };
  auto* w = static_cast<Waiter*>(
      ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0));
  ASSERT_NE(w, MAP_FAILED);
  *w = {0, kOurs, 2, 0};
  for (const Abi abi : {Abi::X64, Abi::Ia32}) {
    EXPECT_EQ(pass_through(row_of(Call::futex_waitv), abi, {word(w), 1}, kFake).value(), -EFAULT);
  }
  w->uaddr = word(w);
  EXPECT_EQ(pass_through(row_of(Call::futex_waitv), Abi::Ia32, {word(w), 1}, kFake).value(), 0);
  EXPECT_EQ(g_issued.abi, Abi::X64);
  ::munmap(w, 4096);
}

TEST(PassThrough, TheCookieOfMqNotifyIsChecked) {
  sigevent ev{};
  ev.sigev_notify = SIGEV_THREAD;
  ev.sigev_value.sival_ptr = std::bit_cast<void*>(kOurs);
  EXPECT_EQ(pass_through(row_of(Call::mq_notify), Abi::X64, {0, word(&ev)}, kFake).value(), -EFAULT);
  ev.sigev_notify = SIGEV_SIGNAL;
  EXPECT_EQ(pass_through(row_of(Call::mq_notify), Abi::X64, {0, word(&ev)}, kFake).value(), 0);
}

}  // namespace
}  // namespace hpcvmm::sys
