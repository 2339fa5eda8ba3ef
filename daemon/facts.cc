#include "daemon/facts.hh"

#include <fcntl.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdlib>

#include "hpcvmm/base/unique_fd.hh"

namespace hpcvmm::daemon {

namespace {
std::uint64_t number_at(std::string_view text, std::size_t at) {
  while (at < text.size() && text[at] == ' ') ++at;
  std::uint64_t n = 0;
  std::from_chars(text.data() + at, text.data() + text.size(), n);
  return n;
}
}  // namespace

std::string read_small(const std::string& path) {
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return {};
  std::array<char, 8192> buffer{};
  const ssize_t n = ::read(fd.get(), buffer.data(), buffer.size());
  return n > 0 ? std::string(buffer.data(), static_cast<std::size_t>(n)) : std::string();
}

std::uint64_t meminfo_bytes(std::string_view text, std::string_view name) {
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    const std::string_view line = text.substr(at, end - at);
    if (line.size() > name.size() && line.starts_with(name) && line[name.size()] == ':')
      return number_at(line, name.size() + 1) * 1024;
    at = end + 1;
  }
  return 0;
}

HostFacts host_facts() {
  HostFacts f;
  const std::string memory = read_small("/proc/meminfo");
  f.memory_total = meminfo_bytes(memory, "MemTotal");
  f.memory_available = meminfo_bytes(memory, "MemAvailable");
  const std::string load = read_small("/proc/loadavg");
  const double one = std::strtod(load.c_str(), nullptr);
  f.load_milli = one > 0 ? static_cast<std::uint32_t>(one * 1000) : 0;
  return f;
}

unsigned usable_cpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (::sched_getaffinity(0, sizeof set, &set) != 0) return 1;
  const int n = CPU_COUNT(&set);
  return n > 0 ? static_cast<unsigned>(n) : 1;
}

std::uint64_t stat_ticks(std::string_view text) {
  // The name in brackets may hold blanks and brackets; behind the last bracket come fields from 3 on.
  const std::size_t bracket = text.rfind(')');
  if (bracket == std::string_view::npos) return 0;
  std::size_t at = bracket + 1;
  for (int field = 3; field <= 14; ++field) {
    at = text.find(' ', at);
    if (at == std::string_view::npos) return 0;
    if (field < 14) ++at;
  }
  const std::size_t second = text.find(' ', at + 1);
  if (second == std::string_view::npos) return 0;
  return number_at(text, at) + number_at(text, second);
}

char stat_state(std::string_view text) {
  const std::size_t bracket = text.rfind(')');
  return bracket != std::string_view::npos && bracket + 2 < text.size() ? text[bracket + 2] : '\0';
}

std::int32_t stat_parent(std::string_view text) {
  const std::size_t bracket = text.rfind(')');
  if (bracket == std::string_view::npos || bracket + 4 > text.size()) return 0;
  return static_cast<std::int32_t>(number_at(text, bracket + 4));
}

bool is_stopped(pid_t pid) { return stat_state(read_small("/proc/" + std::to_string(pid) + "/stat")) == 'T'; }

ProcessFacts process_facts(pid_t pid) {
  ProcessFacts f;
  const std::string base = "/proc/" + std::to_string(pid);
  const std::string statm = read_small(base + "/statm");
  const std::size_t blank = statm.find(' ');
  if (blank == std::string::npos) return f;
  f.resident = number_at(statm, blank) * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  const auto ticks = static_cast<std::uint64_t>(::sysconf(_SC_CLK_TCK));
  f.cpu_us = stat_ticks(read_small(base + "/stat")) * 1'000'000 / (ticks != 0 ? ticks : 100);
  return f;
}

}  // namespace hpcvmm::daemon
