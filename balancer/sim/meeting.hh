// Where the threads of a simulation meet after each window of time.
//
// A window is some hundred microseconds of work and there are millions of them.  A thread looks for some
// microseconds before it yields and sleeps: that spares the kernel where all are done at about the same time,
// and gives the CPU away where others want it (looking for 100 us took 20 % more CPU time on a busy machine).
#pragma once

#include <atomic>
#include <cstdint>

namespace hpcvmm::balancer::sim {

class Meeting {
 public:
  /// Of so many threads; each looks `looks` times (about 50 ns each) before it sleeps.
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
    round_.wait(round, std::memory_order_acquire);
  }

 private:
  alignas(64) std::atomic<unsigned> missing_;
  alignas(64) std::atomic<std::uint32_t> round_{0};
  const unsigned threads_, looks_;
};

}  // namespace hpcvmm::balancer::sim
