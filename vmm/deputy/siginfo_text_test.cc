#include "vmm/deputy/siginfo_text.hh"

#include <gtest/gtest.h>
#include <sys/wait.h>

namespace hpcvmm::deputy {
namespace {

siginfo_t info(int signo, int code) {
  siginfo_t i{};
  i.si_signo = signo;
  i.si_code = code;
  return i;
}

std::string text(const siginfo_t& i) {
  std::string out;
  format_signal(out, i);
  return out;
}

// The expected lines are strace's own.
TEST(SignalText, Faults) {
  siginfo_t i = info(SIGSEGV, SEGV_MAPERR);
  EXPECT_EQ(text(i), "--- SIGSEGV {si_signo=SIGSEGV, si_code=SEGV_MAPERR, si_addr=NULL} ---");
  i.si_code = SI_KERNEL;
  EXPECT_EQ(text(i), "--- SIGSEGV {si_signo=SIGSEGV, si_code=SI_KERNEL, si_addr=NULL} ---");
  i = info(SIGFPE, FPE_INTDIV);
  i.si_addr = reinterpret_cast<void*>(0x401020);
  EXPECT_EQ(text(i), "--- SIGFPE {si_signo=SIGFPE, si_code=FPE_INTDIV, si_addr=0x401020} ---");
}

TEST(SignalText, SentAndQueued) {
  siginfo_t i = info(SIGTERM, SI_USER);
  i.si_pid = 12;
  i.si_uid = 1000;
  EXPECT_EQ(text(i), "--- SIGTERM {si_signo=SIGTERM, si_code=SI_USER, si_pid=12, si_uid=1000} ---");
  i = info(SIGRTMIN, SI_QUEUE);
  i.si_pid = 12;
  i.si_value.sival_ptr = reinterpret_cast<void*>(7);
  EXPECT_EQ(
      text(i),
      "--- SIGRT_2 {si_signo=SIGRT_2, si_code=SI_QUEUE, si_pid=12, si_uid=0, si_int=7, si_ptr=0x7} ---");
}

TEST(SignalText, Children) {
  siginfo_t i = info(SIGCHLD, CLD_EXITED);
  i.si_pid = 99;
  i.si_status = 3;
  EXPECT_EQ(
      text(i),
      "--- SIGCHLD {si_signo=SIGCHLD, si_code=CLD_EXITED, si_pid=99, si_uid=0, si_status=3, si_utime=0, "
      "si_stime=0} ---");
  i.si_code = CLD_KILLED;
  i.si_status = SIGKILL;
  EXPECT_NE(text(i).find("si_code=CLD_KILLED, si_pid=99, si_uid=0, si_status=SIGKILL"), std::string::npos);
}

TEST(SignalText, Alarm) {
  EXPECT_EQ(text(info(SIGALRM, SI_KERNEL)), "--- SIGALRM {si_signo=SIGALRM, si_code=SI_KERNEL} ---");
}

}  // namespace
}  // namespace hpcvmm::deputy
