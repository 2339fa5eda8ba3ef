// What is known of programs from their processes that have ended.
#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>

namespace hpcvmm::daemon {

struct Profile {
  double runs = 0;      ///< weight, at most kMemory
  double cpu_s = 0;     ///< a process of it used, CPU seconds of the reference CPU
  double calls_ps = 0;  ///< calls made at home per second of CPU time
  double used_s = 0;    ///< when it was last heard of
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

  void ended(const std::string& exe, bool forked, double cpu_s, std::uint64_t calls, double now_s);
  /// Null: never ended here.
  [[nodiscard]] const Profile* find(const std::string& exe, bool forked) const;
  [[nodiscard]] std::size_t size() const { return all_.size(); }

 private:
  std::unordered_map<std::string, Profile> all_;
};

}  // namespace hpcvmm::daemon
