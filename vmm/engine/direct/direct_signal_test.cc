// Signals against the direct engine: nothing lost, nothing corrupted, masks exact.
#include <gtest/gtest.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <ctime>
#include <utility>

#include "vmm/engine/direct/test_guest.hh"
#include "vmm/engine/direct/thread.hh"

namespace hpcvmm::engine::direct::test {
namespace {

std::unique_ptr<Vcpu> new_vcpu() {
  auto made = engine().make_vcpu();
  EXPECT_TRUE(made);
  return *std::move(made);
}

/// A SIGALRM timer for the calling thread.  Raw calls: glibc's timer_create and fork refer weakly to code
/// that a fixed static image does not hold.
class ThreadTimer {
 public:
  ThreadTimer() {
    sigevent event{};
    event.sigev_notify = SIGEV_THREAD_ID;
    event.sigev_signo = SIGALRM;
    event._sigev_un._tid = static_cast<pid_t>(host_call(SYS_gettid));
    EXPECT_EQ(host_call(SYS_timer_create, CLOCK_MONOTONIC, word(&event), word(&id_)), 0);
  }
  ThreadTimer(const ThreadTimer&) = delete;
  ThreadTimer& operator=(const ThreadTimer&) = delete;
  ~ThreadTimer() { host_call(SYS_timer_delete, static_cast<std::uint64_t>(id_)); }

  void arm(long first_ns, long period_ns) const {
    itimerspec spec{};
    spec.it_value.tv_nsec = first_ns;
    spec.it_interval.tv_nsec = period_ns;
    host_call(SYS_timer_settime, static_cast<std::uint64_t>(id_), 0, word(&spec), 0);
  }

 private:
  int id_ = 0;
};

/// A periodic SIGALRM to the calling thread.
class Storm {
 public:
  explicit Storm(long period_us) {
    EXPECT_TRUE(install_host_handler(SIGALRM, SA_RESTART, record));
    timer_.arm(period_us * 1000, period_us * 1000);
  }
  ~Storm() {
    timer_.arm(0, 0);
    while (consume() != 0) {
    }
  }

 private:
  ThreadTimer timer_;
};

void reset_recorder() { recorder() = Recorder{}; }

void storm_over(const char* label, bool compat, std::uint64_t iterations, std::uint64_t syscalls) {
  SCOPED_TRACE(testing::Message() << "compat " << compat << " at " << std::hex << address_of(label));
  auto vcpu = new_vcpu();
  reset_recorder();
  prepare(*vcpu, label, compat, iterations);
  Outcome out;
  {
    const Storm storm(100);
    out = run_guest(*vcpu);
  }
  const Recorder& rec = recorder();
  EXPECT_TRUE(is_done(out, *vcpu)) << "kind " << static_cast<int>(out.exit.kind) << " rip " << std::hex
                                   << vcpu->regs().rip << " left " << data_word(0x100);
  EXPECT_EQ(out.syscalls, syscalls);
  EXPECT_EQ(rec.overruns, 0u);
  EXPECT_GT(rec.recorded, 20u) << "the storm did not blow";
  EXPECT_EQ(current_mask(), 0u);
}

TEST(DirectSignals, StormOverRegisterChecks) {
  HPCVMM_NEEDS_AVX2();
  storm_over(g64_check_loop, false, 10'000'000, 0);
  if (compat_values().size() > 1) storm_over(g32_check_loop, true, 10'000'000, 0);
}

TEST(DirectSignals, StormOverSystemCalls) {
  engine();
  const std::uint64_t before = this_thread()->aborted_entries;
  storm_over(g64_getppid_loop, false, 150'000, 150'000);
  if (compat_values().size() > 1) storm_over(g32_getppid_loop, true, 60'000, 60'000);
  EXPECT_GT(this_thread()->aborted_entries, before)
      << "no signal struck the entry range: the race was not tested";
}

TEST(DirectSignals, StormWithoutFsgsbaseInstructions) {
  engine();
  const std::uint8_t saved = std::exchange(direct_have_fsgsbase, std::uint8_t{0});
  storm_over(g64_getppid_loop, false, 50'000, 50'000);
  if (compat_values().size() > 1) storm_over(g32_getppid_loop, true, 30'000, 30'000);
  direct_have_fsgsbase = saved;
}

TEST(DirectSignals, OneShotNeverGetsLostAgainstEntry) {
  auto vcpu = new_vcpu();
  reset_recorder();
  ASSERT_TRUE(install_host_handler(SIGALRM, 0, record));
  prepare(*vcpu, g64_spin, false, 0);
  recorder().vcpu = vcpu.get();
  const ThreadTimer timer;
  constexpr unsigned kShots = 5000;
  unsigned early = 0;
  for (unsigned i = 0; i < kShots; ++i) {
    timer.arm(1 + static_cast<long>(i * 37 % 20'000), 0);
    early += recorder().full ? 1 : 0;
    // The guest spins for ever: a signal that does not end run() hangs the test.
    ASSERT_EQ(vcpu->run().kind, ExitKind::Interrupted);
    ASSERT_TRUE(recorder().full);
    ASSERT_EQ(current_mask(), ~KernelSigset{0} & ~sig_bit(SIGKILL) & ~sig_bit(SIGSTOP))
        << "what the handler asked for";
    ASSERT_EQ(consume(), 1u);
  }
  EXPECT_EQ(recorder().recorded, kShots);
  EXPECT_EQ(recorder().overruns, 0u);
  EXPECT_LT(early, kShots);
}

struct Sender {
  std::uint64_t tid, count;
  int signo;
};
void* send_sequence(void* arg) {
  const auto* s = static_cast<const Sender*>(arg);
  for (std::uint64_t i = 0; i < s->count;) {
    siginfo_t info{};
    info.si_signo = s->signo;
    info.si_code = SI_QUEUE;
    info.si_value.sival_int = static_cast<int>(i);
    const auto pid = static_cast<std::uint64_t>(host_call(SYS_getpid));
    const std::int64_t r =
        host_call(SYS_rt_tgsigqueueinfo, pid, s->tid, static_cast<std::uint64_t>(s->signo), word(&info));
    if (r == 0) ++i;
    if (r == -EAGAIN) host_call(SYS_sched_yield);
  }
  return nullptr;
}

TEST(DirectSignals, QueuedSequenceArrivesCompleteAndInOrder) {
  auto vcpu = new_vcpu();
  reset_recorder();
  const int signo = SIGRTMIN + 3;
  ASSERT_TRUE(install_host_handler(signo, SA_RESTART, record));
  prepare(*vcpu, g64_getppid_loop, false, ~std::uint64_t{0});
  recorder().vcpu = vcpu.get();
  Sender sender{static_cast<std::uint64_t>(host_call(SYS_gettid)), 30'000, signo};
  pthread_t thread;
  ASSERT_EQ(pthread_create(&thread, nullptr, send_sequence, &sender), 0);
  std::uint64_t expected = 0;
  while (expected < sender.count) {
    const Exit exit = vcpu->run();
    GuestRegs& r = vcpu->regs();
    if (exit.kind == ExitKind::Syscall64) {
      ASSERT_EQ(r.rax, std::uint64_t{SYS_getppid});
      r.rax = data_word(0x110);
    } else {
      ASSERT_EQ(exit.kind, ExitKind::Interrupted);
    }
    while (recorder().full) {
      ASSERT_EQ(static_cast<std::uint64_t>(recorder().info.si_value.sival_int), expected);
      ++expected;
      consume();
    }
  }
  pthread_join(thread, nullptr);
  EXPECT_EQ(recorder().recorded, sender.count);
  EXPECT_EQ(recorder().overruns, 0u);
}

void* storm_thread(void* arg) {
  auto vcpu = new_vcpu();
  if (!direct_thread_attach()) return nullptr;
  GuestRegs& r = vcpu->regs();
  r.rip = address_of(g64_call_loop);
  r.r12 = SYS_getppid;
  r.r13 = 80'000;
  r.fs_base = kData + 0x3000;
  Outcome out;
  {
    const Storm storm(100);
    out = run_guest(*vcpu);
  }
  const bool good =
      is_done(out, *vcpu) && out.syscalls == 80'000 && recorder().overruns == 0 && recorder().recorded > 20;
  vcpu.reset();
  const KernelSigset all = ~KernelSigset{0};
  host_call(SYS_rt_sigprocmask, SIG_SETMASK, word(&all), 0, sizeof all);
  direct_thread_detach();
  return good ? arg : nullptr;
}

TEST(DirectSignals, StormsOverTwoThreads) {
  engine();
  pthread_t other;
  int token = 0;
  ASSERT_EQ(pthread_create(&other, nullptr, storm_thread, &token), 0);
  storm_over(g64_getppid_loop, false, 80'000, 80'000);
  void* good = nullptr;
  pthread_join(other, &good);
  EXPECT_EQ(good, &token);
}

TEST(DirectSignals, RequestStopIsStickyAndOnce) {
  auto vcpu = new_vcpu();
  prepare(*vcpu, g64_syscall, false, 0);
  const GuestRegs before = vcpu->regs();
  vcpu->request_stop();
  EXPECT_EQ(vcpu->run().kind, ExitKind::Interrupted);
  EXPECT_EQ(std::memcmp(&vcpu->regs(), &before, sizeof before), 0);
  EXPECT_EQ(vcpu->run().kind, ExitKind::Syscall64);
}

TEST(DirectSignals, GuestRunsUnderTheHostMask) {
  auto vcpu = new_vcpu();
  reset_recorder();
  ASSERT_TRUE(install_host_handler(SIGUSR1, 0, record));
  prepare(*vcpu, g64_getppid_loop, false, 1000);
  const KernelSigset usr1 = sig_bit(SIGUSR1) | sig_bit(SIGSYS);
  host_call(SYS_rt_sigprocmask, SIG_SETMASK, word(&usr1), 0, sizeof usr1);
  raise(SIGUSR1);
  const Outcome out = run_guest(*vcpu, usr1);
  EXPECT_TRUE(is_done(out, *vcpu));
  EXPECT_EQ(recorder().recorded, 0u) << "it is blocked";
  EXPECT_EQ(current_mask(), usr1) << "SIGSYS included";
  const KernelSigset none = 0;
  host_call(SYS_rt_sigprocmask, SIG_SETMASK, word(&none), 0, sizeof none);
  EXPECT_EQ(recorder().recorded, 1u);
  EXPECT_EQ(consume(), 1u);
}

TEST(DirectSignals, SentFaultSignalsAreNoExceptions) {
  for (const int signo : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS}) {
    SCOPED_TRACE(signo);
    auto vcpu = new_vcpu();
    reset_recorder();
    ASSERT_TRUE(install_host_handler(signo, 0, record));
    prepare(*vcpu, g64_spin, false, 0);
    recorder().vcpu = vcpu.get();
    Sender sender{static_cast<std::uint64_t>(host_call(SYS_gettid)), 1, signo};
    pthread_t thread;
    ASSERT_EQ(pthread_create(&thread, nullptr, send_sequence, &sender), 0);
    EXPECT_EQ(vcpu->run().kind, ExitKind::Interrupted);
    pthread_join(thread, nullptr);
    EXPECT_EQ(recorder().recorded, 1u);
    EXPECT_EQ(recorder().info.si_signo, signo);
    EXPECT_EQ(recorder().info.si_code, SI_QUEUE);
    EXPECT_EQ(consume(), 1u);
    // And a real one is an exception still.
    prepare(*vcpu, g64_ud2, false, 0);
    EXPECT_EQ(vcpu->run().kind, ExitKind::Exception);
    EXPECT_EQ(recorder().recorded, 1u);
  }
}

TEST(DirectSignals, SentSigsysWaitsWhileTheGuestBlocksIt) {
  auto vcpu = new_vcpu();
  reset_recorder();
  ASSERT_TRUE(install_host_handler(SIGSYS, 0, record));
  prepare(*vcpu, g64_getppid_loop, false, 2000);
  const KernelSigset sigsys = sig_bit(SIGSYS);
  host_call(SYS_rt_sigprocmask, SIG_SETMASK, word(&sigsys), 0, sizeof sigsys);
  raise(SIGSYS);  // pending in the kernel; the guest's entry unblocks it
  const Outcome out = run_guest(*vcpu, sigsys);
  EXPECT_TRUE(is_done(out, *vcpu));
  EXPECT_EQ(out.syscalls, 2000u);
  EXPECT_EQ(recorder().recorded, 0u);
  EXPECT_EQ(current_mask(), sigsys);
  const KernelSigset none = 0;
  host_call(SYS_rt_sigprocmask, SIG_SETMASK, word(&none), 0, sizeof none);
  prepare(*vcpu, g64_getppid_loop, false, 10);
  EXPECT_EQ(vcpu->run().kind, ExitKind::Interrupted);
  EXPECT_EQ(recorder().recorded, 1u);
  EXPECT_EQ(recorder().info.si_signo, SIGSYS);
  EXPECT_EQ(consume(), 1u);
  EXPECT_TRUE(is_done(run_guest(*vcpu), *vcpu));
  EXPECT_EQ(recorder().recorded, 1u);
}

TEST(DirectSignals, SigsysStormAgainstSystemCallsAndTimer) {
  // The one signal caught with an open mask: it must neither overrun the recorder nor get lost for good.
  auto vcpu = new_vcpu();
  reset_recorder();
  ASSERT_TRUE(install_host_handler(SIGSYS, 0, record));
  prepare(*vcpu, g64_getppid_loop, false, 40'000);
  Sender sender{static_cast<std::uint64_t>(host_call(SYS_gettid)), 20'000, SIGSYS};
  pthread_t thread;
  ASSERT_EQ(pthread_create(&thread, nullptr, send_sequence, &sender), 0);
  Outcome out;
  {
    const Storm storm(50);
    out = run_guest(*vcpu);
    pthread_join(thread, nullptr);
  }
  EXPECT_TRUE(is_done(out, *vcpu)) << static_cast<int>(out.exit.kind);
  EXPECT_EQ(out.syscalls, 40'000u);
  EXPECT_EQ(recorder().overruns, 0u);
  EXPECT_GT(recorder().recorded, 100u);
}

TEST(DirectSignals, InstallRefusesWhatItCannotDo) {
  engine();
  EXPECT_FALSE(install_host_handler(0, 0, record));
  EXPECT_FALSE(install_host_handler(65, 0, record));
  EXPECT_FALSE(install_host_handler(SIGUSR1, SA_RESETHAND, record));
  EXPECT_FALSE(install_host_handler(SIGKILL, 0, record));
}

}  // namespace
}  // namespace hpcvmm::engine::direct::test
