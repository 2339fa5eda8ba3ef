// What is known of programs from their processes that have ended.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <unordered_map>

namespace hpcvmm::daemon {

struct Profile {
  double runs = 0;           ///< weight, at most kMemory
  double cpu_s = 0;          ///< a process of it used, CPU seconds of the reference CPU
  double calls_ps = 0;       ///< calls made at home per second of CPU time, as seen there
  double home_runs = 0;      ///< weight of that
  double away_runs = 0;      ///< weight of what was seen of it elsewhere
  double away_calls_ps = 0;  ///< calls that went home, per second of CPU time elsewhere
  double use_runs = 0;       ///< weight of what follows
  double cpu_use = 1;        ///< its runnable threads, the mean over its life
  double used_s = 0;         ///< when it was last heard of

  /// Of the calls it makes at home, the share that would go home from elsewhere.
  [[nodiscard]] float home_share() const {
    return away_runs > 0 && calls_ps > 0 ? static_cast<float>(std::min(1.0, away_calls_ps / calls_ps)) : 1;
  }
  /// What a new process of it counts as until it is measured: a compiler driver waits for nearly all its
  /// life, and three of them are no load.  Never nothing, and no more than one: it begins with one thread.
  [[nodiscard]] float assumed_use() const {
    constexpr double kFewest = 2;
    return use_runs < kFewest ? 1 : static_cast<float>(std::clamp(cpu_use, 0.05, 1.0));
  }
  /// Calls that go home if it runs elsewhere, per second of CPU time.
  [[nodiscard]] double went_home_ps() const { return away_runs > 0 ? away_calls_ps : calls_ps; }
};

/// Decayed averages by executable; a child of fork that executes nothing counts as another program.
/// Threads: one.
class Profiles {
 public:
  /// Old runs count for no more than that many.
  static constexpr double kMemory = 8;
  static constexpr std::size_t kMost = 4096;
  /// A program that used less: starting it elsewhere costs more than it does.
  static constexpr double kShortS = 0.020;

  /// What a process did at home, and elsewhere: CPU seconds of the reference CPU, and calls.
  struct Run {
    double home_cpu_s = 0;
    std::uint64_t home_calls = 0;
    double away_cpu_s = 0;
    std::uint64_t away_calls = 0;
    double cpu_use = -1;  ///< mean of its runnable threads; negative: not known
  };
  void ended(const std::string& exe, bool forked, const Run& run, double now_s);
  /// Null: never ended here.
  [[nodiscard]] const Profile* find(const std::string& exe, bool forked) const;
  [[nodiscard]] std::size_t size() const { return all_.size(); }

 private:
  std::unordered_map<std::string, Profile> all_;
};

}  // namespace hpcvmm::daemon
