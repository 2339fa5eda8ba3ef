// Where the threads of a simulation meet after each window of time.
//
// A window is some hundred microseconds of work and there are millions of them.  A thread looks for some
// microseconds, then goes on looking between yields, which gives the CPU away where others want it, and
// sleeps only when it has waited for longer than a window takes: waking a thread on an idle CPU costs a
// virtual machine as much as the window itself (two threads that slept after 5 us took the time of four, at
// half the CPUs' use).
#pragma once

#include <sched.h>

#include <atomic>
#include <cstdint>

namespace hpcvmm::balancer::sim {

class Meeting {
 public:
  /// Of so many threads; each looks `looks` times (about 50 ns each) before it yields, and yields ten times
  /// as often (about 1 us each where nobody else wants the CPU) before it sleeps.
  Meeting(unsigned threads, unsigned looks) : missing_(threads), threads_(threads), looks_(looks) {}

  /// Waits for all; whoever comes last calls `alone` before anybody goes on.  What a thread did before it
  /// came is seen by all afterwards.
  template <typename Alone> void meet(const Alone& alone) {
    // Nobody counts rounds on before this thread has come.
    const std::uint32_t round = round_.load(std::memory_order_relaxed);
    if (missing_.fetch_sub(1, std::memory_order_acq_rel) == 1) {
      alone();
      missing_.store(threads_, std::memory_order_relaxed);
      round_.store(round + 1, std::memory_order_release);
      round_.notify_all();
      return;
    }
    for (unsigned i = 0; i < looks_; ++i) {
      if (round_.load(std::memory_order_acquire) != round) return;
      __builtin_ia32_pause();
    }
    for (unsigned i = 0; i < looks_ * kYieldsPerLook; ++i) {
      if (round_.load(std::memory_order_acquire) != round) return;
      ::sched_yield();
    }
    round_.wait(round, std::memory_order_acquire);
  }

 private:
  static constexpr unsigned kYieldsPerLook = 10;

  alignas(64) std::atomic<unsigned> missing_;
  alignas(64) std::atomic<std::uint32_t> round_{0};
  const unsigned threads_, looks_;
};

}  // namespace hpcvmm::balancer::sim
