// Goal: doctor survives a broken host and its figures are figures.
// Method: bodies that crash, hang and end halfway; then a full measurement on whatever host this is.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <set>
#include <string>

#include "vmm/probe/facts.hh"
#include "vmm/probe/guarded.hh"
#include "vmm/probe/raw_facts.hh"

namespace hpcvmm::probe {
namespace {

struct Number {
  int first = 1, second = 2;
};

TEST(Guarded, BringsTheResultBack) {
  Number number;
  EXPECT_EQ(run_guarded<Number>(2000, number, [](Number& n) { n.second = n.first + 10; }), Outcome::Done);
  EXPECT_EQ(number.second, 11);
}

TEST(Guarded, ACrashKeepsWhatWasWrittenBefore) {
  Number number;
  const Outcome outcome = run_guarded<Number>(2000, number, [](Number& n) {
    n.first = 7;
    ::raise(SIGSEGV);
    n.second = 8;
  });
  EXPECT_EQ(outcome, Outcome::Crashed);
  EXPECT_EQ(number.first, 7);
  EXPECT_EQ(number.second, 2);
}

TEST(Guarded, AHangEndsAtTheLimit) {
  Number number;
  const double begin = now_us();
  EXPECT_EQ(run_guarded<Number>(50, number,
                                [](Number& n) {
                                  n.first = 9;
                                  for (;;) ::pause();
                                }),
            Outcome::TimedOut);
  EXPECT_LT(now_us() - begin, 1e6);
  EXPECT_EQ(number.first, 9);
}

TEST(Guarded, LeavesNoChildAndNoSignalBehind) {
  sigset_t chld;
  sigset_t before;
  sigset_t pending;
  ::sigemptyset(&chld);
  ::sigaddset(&chld, SIGCHLD);
  ::sigprocmask(SIG_BLOCK, &chld, &before);
  Number number;
  run_guarded<Number>(2000, number, [](Number&) {});
  ::sigpending(&pending);
  EXPECT_EQ(::sigismember(&pending, SIGCHLD), 0) << "a guest would see it";
  ::sigprocmask(SIG_SETMASK, &before, nullptr);
  EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG | __WALL), -1);
  EXPECT_EQ(errno, ECHILD);
}

TEST(Median, OfAnyOrder) {
  double values[] = {5, 1, 4, 2, 3};
  EXPECT_EQ(median(values, 5), 3);
  EXPECT_EQ(median(values, 0), 0);
}

TEST(Measure, EveryItemIsCompleteAndAgreesWithTheEngineFacts) {
  HostFacts facts;
  measure(facts);
  std::printf("full measurement: %.0f ms\n", facts.elapsed_ms);
  EXPECT_LT(facts.elapsed_ms, 3000);
  std::set<std::string> keys;
  for (const Item& item : facts.items) {
    const std::string name = std::string(item.section) + "." + item.key;
    EXPECT_TRUE(keys.insert(name).second) << name << " twice";
    EXPECT_FALSE(item.value.empty()) << name;
    EXPECT_FALSE(item.explanation.empty()) << name;
    EXPECT_EQ(item.remedy.empty(), item.state == State::Ok) << name << ": " << item.remedy;
  }
  for (const char* name : {"kvm.device", "direct.dispatch", "direct.ia32_emulation", "memory.userfaultfd",
                           "memory.thp", "host.privileges", "host.xsave", "network.dpdk_drivers"})
    EXPECT_TRUE(keys.contains(name)) << name;
  EngineFacts quick;
  measure_engines(quick);
  EXPECT_EQ(quick, facts.engines) << "the cheap probes must come to the same conclusion as the full ones";
}

TEST(Measure, LeavesNoDescriptorBehind) {
  const int before = ::open("/dev/null", O_RDONLY);
  ::close(before);
  EngineFacts facts;
  measure_engines(facts);
  const int after = ::open("/dev/null", O_RDONLY);
  ::close(after);
  EXPECT_EQ(before, after);
}

TEST(KvmProbe, TimesAreThereWhereKvmIs) {
  KvmBase base;
  run_guarded(1000, base, probe_kvm_base);
  if (base.run64 == CodeRun::Absent) GTEST_SKIP() << "no usable KVM: " << base.failed_step;
  EXPECT_GT(base.exit_us, 0.2);
  EXPECT_LT(base.exit_us, 1000);
  EXPECT_GT(base.syscall_us, 0.2);
  EXPECT_TRUE(base.lstar_cpl == 0 || base.lstar_cpl == 3) << base.lstar_cpl;
  EXPECT_GT(base.mips64, 0);
  KvmTouch touch;
  run_guarded(1000, touch, probe_kvm_touch);
  EXPECT_GT(touch.touch4k_us, 0.05);
  EXPECT_GT(touch.touch2m_us, touch.touch4k_us);
}

}  // namespace
}  // namespace hpcvmm::probe
