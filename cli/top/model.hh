// What the monitors show, out of hpcd's answers.  Pure.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace hpcvmm::cli {

struct NodeRow {
  unsigned id = 0;
  std::string state;
  double cpus = 0;
  double load = 0;   ///< runnable threads
  double speed = 1;  ///< of a CPU; 1: the reference
  double utilisation = 0, paging = 0;
  std::uint64_t memory_total = 0, memory_free = 0;  ///< bytes
  unsigned processes = 0, guests = 0;
  std::vector<std::string> orders;  ///< stay, block... and "owner" while its owner works there
  std::string why;                  ///< it is not up
  [[nodiscard]] bool up() const { return state == "up" || state == "draining"; }
  /// openMosix's: 1 a reference CPU's work, spread over what the node has.
  [[nodiscard]] double relative_load() const { return cpus * speed > 0 ? load / (cpus * speed) : load; }
  [[nodiscard]] std::uint64_t memory_used() const {
    return memory_total > memory_free ? memory_total - memory_free : 0;
  }
};

struct ProcessRow {
  int pid = 0;
  unsigned uid = 0, home = 0, where = 0;
  std::string user, cantmove, comm, command, engine, abi, kind, decay, why;
  std::uint64_t memory = 0, cpu_ms = 0;
  double cpu_percent = 0;  ///< since the snapshot before
  unsigned migrations = 0, run_on = 0;
  bool locked = false, home_only = false, masked = false;
  [[nodiscard]] bool is(unsigned h, int p) const { return home == h && pid == p; }
};

struct Snapshot {
  std::vector<NodeRow> nodes;  ///< by number
  std::vector<ProcessRow> processes;
  std::vector<unsigned> lost;  ///< did not answer: their processes are missing
  std::uint64_t at_ms = 0;     ///< of a steady clock
  std::string clock;           ///< "17:03:02"
  std::string error;           ///< nobody answered: why
  unsigned self = 0;           ///< whose hpcd was asked
};

enum class SortBy : std::uint8_t { Cpu, Memory, Time, Node, Pid };
const char* sort_name(SortBy by);

/// `passwd`: the text of /etc/passwd.
Snapshot read_snapshot(const nlohmann::json& nodes, const nlohmann::json& ps, const std::string& passwd);
/// What the processes have used since `before`.
void set_cpu_percent(Snapshot& now, const Snapshot& before);
void sort_processes(std::vector<ProcessRow>& rows, SortBy by);

}  // namespace hpcvmm::cli
