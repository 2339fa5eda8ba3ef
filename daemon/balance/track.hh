// The statistics of one process on the node where it runs.
#pragma once

#include <cstdint>

#include "balancer/decay.hh"
#include "balancer/types.hh"

namespace hpcvmm::daemon {

/// Pure: the caller gives times (seconds of any one clock) and measurements.
class Track {
 public:
  /// A process that begins here, or has come: `cpu_use` is assumed until something is measured, so that it
  /// counts as load at once.
  Track(double now_s, float cpu_use) : arrived_s_(now_s), sampled_s_(now_s), cpu_use_(cpu_use) {}

  /// One look at its threads: how many were runnable.
  void look(unsigned runnable) {
    runnable_sum_ += runnable;
    ++looks_;
    life_runnable_ += runnable;
    ++life_looks_;
  }
  /// It was not looked at, being idle.
  void look_away() { ++life_looks_; }
  /// The end of an interval: CPU time so far.
  void sample(double now_s, std::uint64_t cpu_us, balancer::Decay decay, const balancer::DecayKnobs& knobs);
  void forget(double now_s);
  /// It has come here anew.
  void arrive(double now_s) { arrived_s_ = now_s; }
  /// It has come back from where it was measured to want `cpu_use`: what was seen here meanwhile was not its
  /// work.
  void come_back(double now_s, float cpu_use) {
    forget(now_s);
    cpu_use_ = cpu_use;
  }

  [[nodiscard]] double resident_s(double now_s) const { return now_s - arrived_s_; }
  [[nodiscard]] float cpu_use() const { return cpu_use_; }
  /// Its runnable threads, the mean of all looks; negative: too few to tell.
  [[nodiscard]] float life_mean() const {
    constexpr unsigned kFewest = 3;
    return life_looks_ < kFewest ? -1 : static_cast<float>(life_runnable_) / static_cast<float>(life_looks_);
  }
  /// CPU seconds per second of the last interval.
  [[nodiscard]] float busy() const { return busy_; }
  [[nodiscard]] std::uint64_t cpu_us() const { return cpu_us_; }
  /// Whether its CPU time grew in the last interval, or it is too young to know.
  [[nodiscard]] bool active() const { return active_; }

 private:
  double arrived_s_, sampled_s_;
  double known_s_ = 0;  ///< how long it has been measured
  std::uint64_t cpu_us_ = 0;
  bool counted_ = false, active_ = true;
  unsigned runnable_sum_ = 0, looks_ = 0;
  unsigned life_runnable_ = 0, life_looks_ = 0;
  float cpu_use_, busy_ = 0;
};

/// What the way of a call home costs, a decayed average.  Pure.
class CallTime {
 public:
  /// Calls timed so far, and microseconds of them all.
  void sample(std::uint64_t calls, std::uint64_t us);
  /// `calls` more that took `seconds` each.
  void add(std::uint64_t calls, double seconds);
  /// Seconds; 0: not known.
  [[nodiscard]] float seconds() const { return seconds_; }
  /// What the last sample() added.
  [[nodiscard]] std::uint64_t fresh() const { return fresh_; }
  [[nodiscard]] double fresh_s() const { return fresh_s_; }

 private:
  std::uint64_t calls_ = 0, us_ = 0, fresh_ = 0;
  double fresh_s_ = 0;
  float seconds_ = 0;
};

/// Calls made at home per second of CPU time; or of anything else that a process does.  Pure.
class CallRate {
 public:
  /// Both so far, of the process wherever it runs.
  void sample(std::uint64_t calls, std::uint64_t cpu_us);
  void set(float per_s) { per_s_ = per_s; }
  [[nodiscard]] float per_s() const { return per_s_; }
  [[nodiscard]] std::uint64_t calls() const { return calls_; }
  /// Whether there has been enough to tell.
  [[nodiscard]] bool known() const { return known_; }

 private:
  std::uint64_t calls_ = 0, cpu_us_ = 0;
  bool counted_ = false, known_ = false;
  float per_s_ = 0;
};

}  // namespace hpcvmm::daemon
