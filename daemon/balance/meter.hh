// What a node measures of itself: memory, paging, what else runs on it, whether its owner is there.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

namespace hpcvmm::daemon {

struct NodeFacts {
  double total_mib = 1, free_mib = 1;
  double paging = 0;          ///< share of time some thread waited for memory, 0 to 1
  double other_runnable = 0;  ///< threads that are neither ours nor our guests', decayed average
  double own_busy = 0;        ///< CPU seconds per second that hpcd itself takes, decayed average
  double machine_busy = -1;   ///< busy share of the machine's CPUs; below 0: this node is not a machine
  bool owner_there = false;
};

/// Where a node's figures come from.
struct MeterSource {
  /// Folders of the node's control group (up --cpus, --memory); none: it has no limits.
  std::vector<std::string> groups;
  bool shared_machine = false;     ///< other nodes run on this machine: only what is ours counts
  std::uint64_t memory_limit = 0;  ///< bytes offered; 0: all
};
/// The folders named in `file` (hpc-vmm up writes it), one a line.
std::vector<std::string> read_groups(const std::string& file);

/// Threads: one.  Reads /proc and control groups; nothing that cannot be read is an error.
class NodeMeter {
 public:
  explicit NodeMeter(MeterSource source) : source_(std::move(source)) {}

  /// Several times a second: who runs besides `ours` (process numbers) and this process.  `ours_runnable`:
  /// their threads.
  void look(const std::unordered_set<pid_t>& ours, unsigned ours_runnable);
  /// Once a second.
  NodeFacts sample(double now_s);

 private:
  void read_memory(NodeFacts& f) const;
  double growth_mib(const NodeFacts& f, double elapsed_s);
  double paging(double elapsed_s);
  double machine_busy();

  MeterSource source_;
  double sampled_s_ = -1, free_mib_ = -1;
  unsigned other_sum_ = 0, looks_ = 0;
  double other_ = 0;
  double used_s_ = 0, own_busy_ = 0;
  std::uint64_t pressure_us_ = 0, busy_ticks_ = 0, all_ticks_ = 0;
};

/// Threads of a process that are running or would: state R in /proc/PID/task.
unsigned runnable_threads(pid_t pid);
/// The microseconds of the line "some ... total=N" of a pressure file's text.  Pure.
std::uint64_t pressure_us(std::string_view text);
/// The value of the line "NAME VALUE" in a control group's statistics; 0: none.  Pure.
std::uint64_t stat_value(std::string_view text, std::string_view name);
/// Somebody has typed on one of the machine's own consoles within `seconds`.
bool console_in_use(unsigned seconds);

}  // namespace hpcvmm::daemon
