// What the host says of itself and of a process: /proc, read and parsed.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <string_view>

namespace hpcvmm::daemon {

struct HostFacts {
  std::uint64_t memory_total = 0;      ///< bytes
  std::uint64_t memory_available = 0;  ///< bytes
  std::uint32_t load_milli = 0;        ///< average of one minute; 1000: one runnable thread
};
/// What cannot be read is 0.
HostFacts host_facts();
/// CPUs that this process may use.
unsigned usable_cpus();

/// A value of /proc/meminfo's text, in bytes; 0: not there.  Pure.
std::uint64_t meminfo_bytes(std::string_view text, std::string_view name);

struct ProcessFacts {
  std::uint64_t resident = 0;  ///< bytes
  std::uint64_t cpu_us = 0;    ///< user and system time
};
/// True for a process that job control has stopped.
bool is_stopped(pid_t pid);
/// The parent's number in /proc/PID/stat's text; 0: not a stat line.  Pure.
std::int32_t stat_parent(std::string_view text);
/// The letter of /proc/PID/stat's text for the state; 0: not a stat line.  Pure.
char stat_state(std::string_view text);
/// All 0 where the process has ended.
ProcessFacts process_facts(pid_t pid);
/// Fields 14 and 15 of /proc/PID/stat's text together, in clock ticks; 0: not a stat line.  Pure.
std::uint64_t stat_ticks(std::string_view text);

/// A small file's content; empty: cannot be read.
std::string read_small(const std::string& path);

}  // namespace hpcvmm::daemon
