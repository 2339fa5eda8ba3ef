// Goal: each layout carries its fields between the ABIs, and nothing else.  Method: a native info with every
// byte set is converted, and read back through glibc's own accessors.  The real kernel's IA32 infos:
// sigframe_kernel_test.cc.
#include "vmm/sys/siginfo.hh"

#include <gtest/gtest.h>

#include <cstring>

namespace hpcvmm::sys {
namespace {

constexpr int kSegvBnd = 3, kSegvPku = 4, kTrapPerf = 6;

siginfo_t full(int signo, int code) {
  siginfo_t info;
  for (std::size_t i = 0; i < sizeof(info); ++i) {
    reinterpret_cast<std::uint8_t*>(&info)[i] = static_cast<std::uint8_t>(i + 1);
  }
  info.si_signo = signo;
  info.si_errno = 7;
  info.si_code = code;
  return info;
}

layout::SigInfo32 compat_of(const siginfo_t& info) {
  layout::SigInfo32 out;
  to_compat(info, out);
  EXPECT_EQ(out.signo, info.si_signo);
  EXPECT_EQ(out.err, info.si_errno);
  EXPECT_EQ(out.code, info.si_code);
  return out;
}

/// Bytes behind the header up to `end` may be set, those above must be zero.
void expect_nothing_above(const layout::SigInfo32& info, std::size_t end) {
  const auto* bytes = reinterpret_cast<const std::uint8_t*>(&info);
  for (std::size_t i = end; i < sizeof(info); ++i) EXPECT_EQ(bytes[i], 0) << i;
}

std::uint32_t cut(const void* pointer) {
  return static_cast<std::uint32_t>(reinterpret_cast<std::uintptr_t>(pointer));
}

TEST(SigInfo, LayoutFollowsSignalAndCode) {
  EXPECT_EQ(info_layout(SIGUSR1, SI_USER), InfoLayout::Kill);
  EXPECT_EQ(info_layout(SIGSEGV, 0x80), InfoLayout::Kill);  // SI_KERNEL has no address
  EXPECT_EQ(info_layout(SIGUSR1, SI_TKILL), InfoLayout::Rt);
  EXPECT_EQ(info_layout(40, SI_QUEUE), InfoLayout::Rt);
  EXPECT_EQ(info_layout(40, SI_MESGQ), InfoLayout::Rt);
  EXPECT_EQ(info_layout(40, -1000), InfoLayout::Rt);
  EXPECT_EQ(info_layout(SIGALRM, SI_TIMER), InfoLayout::Timer);
  EXPECT_EQ(info_layout(SIGIO, SI_SIGIO), InfoLayout::Poll);
  EXPECT_EQ(info_layout(SIGIO, POLL_HUP), InfoLayout::Poll);
  EXPECT_EQ(info_layout(40, POLL_IN), InfoLayout::Poll);  // F_SETSIG
  EXPECT_EQ(info_layout(40, 7), InfoLayout::Kill);
  EXPECT_EQ(info_layout(SIGSEGV, SEGV_MAPERR), InfoLayout::Fault);
  EXPECT_EQ(info_layout(SIGSEGV, kSegvBnd), InfoLayout::FaultBndErr);
  EXPECT_EQ(info_layout(SIGSEGV, kSegvPku), InfoLayout::FaultPkuErr);
  EXPECT_EQ(info_layout(SIGSEGV, 11), InfoLayout::Kill);
  EXPECT_EQ(info_layout(SIGBUS, BUS_ADRERR), InfoLayout::Fault);
  EXPECT_EQ(info_layout(SIGBUS, BUS_MCEERR_AR), InfoLayout::FaultMceErr);
  EXPECT_EQ(info_layout(SIGBUS, BUS_MCEERR_AO), InfoLayout::FaultMceErr);
  EXPECT_EQ(info_layout(SIGTRAP, TRAP_BRKPT), InfoLayout::Fault);
  EXPECT_EQ(info_layout(SIGTRAP, kTrapPerf), InfoLayout::FaultPerfEvent);
  EXPECT_EQ(info_layout(SIGCHLD, CLD_CONTINUED), InfoLayout::Chld);
  EXPECT_EQ(info_layout(SIGSYS, 1), InfoLayout::Sys);
}

TEST(SigInfo, KillAndRt) {
  siginfo_t info = full(SIGUSR1, SI_USER);
  layout::SigInfo32 c = compat_of(info);
  EXPECT_EQ(c.kill.pid, info.si_pid);
  EXPECT_EQ(c.kill.uid, info.si_uid);
  expect_nothing_above(c, 20);

  info = full(40, SI_QUEUE);
  c = compat_of(info);
  EXPECT_EQ(c.rt.pid, info.si_pid);
  EXPECT_EQ(c.rt.value, static_cast<std::uint32_t>(info.si_int));
  expect_nothing_above(c, 24);
  siginfo_t back;
  from_compat(c, back);
  EXPECT_EQ(back.si_int, info.si_int);
  EXPECT_EQ(back.si_pid, info.si_pid);
  EXPECT_EQ(cut(back.si_ptr), reinterpret_cast<std::uintptr_t>(back.si_ptr)) << "upper half must be zero";
}

TEST(SigInfo, TimerAndPoll) {
  siginfo_t info = full(SIGALRM, SI_TIMER);
  layout::SigInfo32 c = compat_of(info);
  EXPECT_EQ(c.timer.tid, info.si_timerid);
  EXPECT_EQ(c.timer.overrun, info.si_overrun);
  EXPECT_EQ(c.timer.value, static_cast<std::uint32_t>(info.si_int));
  expect_nothing_above(c, 24);

  info = full(SIGIO, POLL_IN);
  info.si_band = -2;
  c = compat_of(info);
  EXPECT_EQ(c.poll.band, -2);
  EXPECT_EQ(c.poll.fd, info.si_fd);
  siginfo_t back;
  from_compat(c, back);
  EXPECT_EQ(back.si_band, -2);
  EXPECT_EQ(back.si_fd, info.si_fd);
}

TEST(SigInfo, Child) {
  siginfo_t info = full(SIGCHLD, CLD_EXITED);
  info.si_utime = -5;
  const layout::SigInfo32 c = compat_of(info);
  EXPECT_EQ(c.chld.pid, info.si_pid);
  EXPECT_EQ(c.chld.status, info.si_status);
  EXPECT_EQ(c.chld.utime, -5);
  EXPECT_EQ(c.chld.stime, static_cast<std::int32_t>(info.si_stime));
  expect_nothing_above(c, 32);
  siginfo_t back;
  from_compat(c, back);
  EXPECT_EQ(back.si_utime, -5);
  EXPECT_EQ(back.si_uid, info.si_uid);
}

TEST(SigInfo, Faults) {
  siginfo_t info = full(SIGSEGV, SEGV_MAPERR);
  layout::SigInfo32 c = compat_of(info);
  EXPECT_EQ(c.fault.addr, cut(info.si_addr));
  expect_nothing_above(c, 16);

  info = full(SIGBUS, BUS_MCEERR_AR);
  c = compat_of(info);
  EXPECT_EQ(c.fault.lsb, info.si_addr_lsb);
  expect_nothing_above(c, 18);

  info = full(SIGSEGV, kSegvBnd);
  c = compat_of(info);
  EXPECT_EQ(c.fault.bnd.lower, cut(info.si_lower));
  EXPECT_EQ(c.fault.bnd.upper, cut(info.si_upper));
  siginfo_t back;
  from_compat(c, back);
  EXPECT_EQ(cut(back.si_upper), cut(info.si_upper));

  info = full(SIGSEGV, kSegvPku);
  c = compat_of(info);
  EXPECT_EQ(c.fault.pkey.key, info.si_pkey);
  from_compat(c, back);
  EXPECT_EQ(back.si_pkey, info.si_pkey);
}

TEST(SigInfo, Sys) {
  const siginfo_t info = full(SIGSYS, 1);
  const layout::SigInfo32 c = compat_of(info);
  EXPECT_EQ(c.sys.call_addr, cut(info.si_call_addr));
  EXPECT_EQ(c.sys.syscall, info.si_syscall);
  EXPECT_EQ(c.sys.arch, info.si_arch);
  expect_nothing_above(c, 24);
}

TEST(SigInfo, NativeKeeps48Bytes) {
  const siginfo_t info = full(40, SI_QUEUE);
  layout::SigInfo64 out;
  to_native(info, out);
  EXPECT_EQ(std::memcmp(&out, &info, 48), 0);
  for (std::size_t i = 48; i < sizeof(out); ++i) EXPECT_EQ(reinterpret_cast<std::uint8_t*>(&out)[i], 0) << i;
}

}  // namespace
}  // namespace hpcvmm::sys
