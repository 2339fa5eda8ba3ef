// Goal: a signal either makes the guest's host call not happen, or finds it over; its result is never lost.
// Method: leave_gate() at every address of the gate; then a real signal against calls that block, with the
// handler doing what the deputy's does.  No timing is assumed: the timer fires again until the call has
// ended.
#include "vmm/deputy/gate.hh"

#include <gtest/gtest.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <ucontext.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>

#include "vmm/deputy/task.hh"
#include "vmm/sys/call_gate.hh"

extern "C" {
// Labels of call_gate_asm.S.
// NOLINTBEGIN
extern const char hpcvmm_gate64_begin[], hpcvmm_gate64_done[], hpcvmm_gate64_abort[];
extern const char hpcvmm_gate32_begin[], hpcvmm_gate32_done[], hpcvmm_gate32_abort[];
// NOLINTEND
}

namespace hpcvmm::deputy {
namespace {

constexpr std::uint64_t kNumber = 1000;  // of no call that is restarted

TEST(LeaveGate, BeforeTheCallItDoesNotHappen) {
  for (std::uint64_t rip = word(hpcvmm_gate64_begin); rip < word(hpcvmm_gate64_done); ++rip) {
    std::uint64_t rax = kNumber;
    EXPECT_EQ(sys::leave_gate(rip, rax), word(hpcvmm_gate64_abort));
    EXPECT_EQ(rax, kNumber);
  }
  for (std::uint64_t rip = word(hpcvmm_gate32_begin); rip < word(hpcvmm_gate32_done); ++rip) {
    std::uint64_t rax = kNumber;
    EXPECT_EQ(sys::leave_gate(rip, rax), word(hpcvmm_gate32_abort));
    EXPECT_EQ(rax, kNumber);
  }
}

TEST(LeaveGate, BehindTheCallItsResultStays) {
  const std::uint64_t outside[] = {word(hpcvmm_gate64_done),
                                   word(hpcvmm_gate32_done),
                                   word(hpcvmm_gate64_begin) - 1,
                                   word(hpcvmm_gate32_begin) - 1,
                                   word(hpcvmm_gate64_abort),
                                   word(hpcvmm_gate32_abort),
                                   std::uint64_t{0},
                                   std::uint64_t{0x401000}};
  for (const std::uint64_t rip : outside) {
    for (const std::uint64_t result : {std::uint64_t{0}, std::uint64_t{219}, word(-EINTR)}) {
      std::uint64_t rax = result;
      EXPECT_EQ(sys::leave_gate(rip, rax), rip);
      EXPECT_EQ(rax, result);
    }
  }
}

TEST(LeaveGate, ACallHalfWaitedForEndsWithEintr) {
  std::uint64_t rax = 219;  // restart_syscall, x86-64
  EXPECT_EQ(sys::leave_gate(word(hpcvmm_gate64_done) - 2, rax), word(hpcvmm_gate64_done));
  EXPECT_EQ(rax, word(-EINTR));
  rax = 0;  // restart_syscall, IA32
  EXPECT_EQ(sys::leave_gate(word(hpcvmm_gate32_done) - 2, rax), word(hpcvmm_gate32_done));
  EXPECT_EQ(rax, word(-EINTR));
}

void on_alarm(int, siginfo_t*, void* context) {
  auto& regs = static_cast<ucontext_t*>(context)->uc_mcontext.gregs;
  if (find_self() == nullptr) return;
  auto rax = static_cast<std::uint64_t>(regs[REG_RAX]);
  const auto rip = static_cast<std::uint64_t>(regs[REG_RIP]);
  const std::uint64_t next = sys::leave_gate(rip, rax);
  regs[REG_RIP] = static_cast<greg_t>(next);
  regs[REG_RAX] = static_cast<greg_t>(rax);
  self().signal_recorded = 1;
}

class Gate : public testing::Test {
 protected:
  void SetUp() override {
    set_self(&task_);
    ASSERT_EQ(::pipe(pipe_.data()), 0);
  }
  void TearDown() override {
    const itimerval off{};
    ::setitimer(ITIMER_REAL, &off, nullptr);
    std::signal(SIGALRM, SIG_IGN);
    set_self(nullptr);
    ::close(pipe_[0]);
    ::close(pipe_[1]);
  }
  static void alarm_soon(int flags) {
    struct sigaction action = {};
    action.sa_sigaction = on_alarm;
    action.sa_flags = SA_SIGINFO | flags;
    ::sigaction(SIGALRM, &action, nullptr);
    const itimerval soon{{0, 5000}, {0, 5000}};
    ::setitimer(ITIMER_REAL, &soon, nullptr);
  }

  Task task_;
  std::array<int, 2> pipe_{-1, -1};
  char byte_ = 'b';
};

TEST_F(Gate, IssuesTheCall) {
  EXPECT_EQ(gate64(SYS_getpid, {}).value(), ::getpid());
  EXPECT_EQ(gate64(SYS_close, {word(-1)}).value(), -EBADF);
  EXPECT_EQ(gate64(SYS_write, {word(pipe_[1]), word(&byte_), 1}).value(), 1);
  char back = 0;
  EXPECT_EQ(gate64(SYS_read, {word(pipe_[0]), word(&back), 1}).value(), 1);
  EXPECT_EQ(back, 'b');
}

TEST_F(Gate, ARecordedSignalComesFirst) {
  task_.signal_recorded = 1;
  EXPECT_TRUE(gate64(SYS_write, {word(pipe_[1]), word(&byte_), 1}).is_restart());
  EXPECT_TRUE(gate32(20, {}).is_restart());
  task_.signal_recorded = 0;
  EXPECT_EQ(gate64(SYS_write, {word(pipe_[1]), word(&byte_), 1}).value(), 1);
  std::array<char, 4> back{};
  EXPECT_EQ(::read(pipe_[0], back.data(), back.size()), 1) << "the first call must not have happened";
}

TEST_F(Gate, ABlockedCallIsRestartedOrEndsAsLinuxSays) {
  char back = 0;
  alarm_soon(SA_RESTART);
  EXPECT_TRUE(gate64(SYS_read, {word(pipe_[0]), word(&back), 1}).is_restart());
  task_.signal_recorded = 0;
  alarm_soon(0);
  // The signal may come before the call, too: then it is wound back, and made again.
  sys::SysRet result = sys::SysRet::restart();
  while (result.is_restart()) {
    task_.signal_recorded = 0;
    result = gate64(SYS_read, {word(pipe_[0]), word(&back), 1});
  }
  EXPECT_EQ(result.value(), -EINTR);
}

TEST_F(Gate, Ia32) {
  const sys::SysRet pid = gate32(20, {});  // getpid
  if (pid.value() == -ENOSYS) GTEST_SKIP() << "this host has no IA32 emulation";
  EXPECT_EQ(pid.value(), ::getpid());
  EXPECT_EQ(gate32(6, {0xffff'ffff}).value(), -EBADF);  // close
  alarm_soon(0);
  sys::SysRet result = sys::SysRet::restart();
  while (result.is_restart()) {
    task_.signal_recorded = 0;
    result = gate32(29, {});  // pause
  }
  EXPECT_EQ(result.value(), -EINTR);
}

}  // namespace
}  // namespace hpcvmm::deputy
