#include "daemon/balance/meter.hh"

#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <ctime>
#include <fstream>
#include <sstream>

#include "daemon/facts.hh"

namespace hpcvmm::daemon {

namespace {

constexpr double kMib = 1024.0 * 1024.0;
constexpr unsigned kOwnerSeconds = 60;
/// What else runs is forgotten so fast: by half in about four seconds.
constexpr double kOtherKeptPerS = 0.85;
constexpr double kAheadS = 3;
constexpr double kMostAhead = 0.05;

std::uint64_t number(std::string_view text) {
  std::uint64_t n = 0;
  std::from_chars(text.data(), text.data() + text.size(), n);
  return n;
}

bool exists(const std::string& path) { return ::access(path.c_str(), R_OK) == 0; }

}  // namespace

std::vector<std::string> read_groups(const std::string& file) {
  std::istringstream lines(read_small(file));
  std::vector<std::string> out;
  for (std::string line; std::getline(lines, line);)
    if (!line.empty()) out.push_back(line);
  return out;
}

unsigned runnable_threads(pid_t pid) {
  const std::string folder = "/proc/" + std::to_string(pid) + "/task";
  DIR* const dir = ::opendir(folder.c_str());
  if (dir == nullptr) return 0;
  unsigned n = 0;
  while (const dirent* const entry = ::readdir(dir)) {  // NOLINT(concurrency-mt-unsafe): a DIR of our own
    if (entry->d_name[0] < '0' || entry->d_name[0] > '9') continue;
    if (stat_state(read_small(folder + "/" + entry->d_name + "/stat")) == 'R') ++n;
  }
  ::closedir(dir);
  return n;
}

std::uint64_t pressure_us(std::string_view text) {
  if (!text.starts_with("some ")) return 0;
  const std::size_t at = text.find("total=");
  return at == std::string_view::npos ? 0 : number(text.substr(at + 6));
}

std::uint64_t stat_value(std::string_view text, std::string_view name) {
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    const std::string_view line = text.substr(at, end - at);
    if (line.size() > name.size() && line.starts_with(name) && line[name.size()] == ' ')
      return number(line.substr(name.size() + 1));
    at = end + 1;
  }
  return 0;
}

bool console_in_use(unsigned seconds) {
  // Input sets the access time of the terminal's device.  Pseudo terminals are people who came over the
  // network, perhaps to use the cluster: they are not the owner.
  for (int n = 1; n < 64; ++n) {
    struct stat s {};
    if (::stat(("/dev/tty" + std::to_string(n)).c_str(), &s) != 0) return false;
    // Opened but never written or read, a console has the time at which its node was made.
    if (s.st_atime > s.st_ctime && std::time(nullptr) - s.st_atime < static_cast<std::time_t>(seconds))
      return true;
  }
  return false;
}

void NodeMeter::look(const std::unordered_set<pid_t>& ours, unsigned ours_runnable) {
  ++looks_;
  if (!source_.shared_machine) {
    // "0.10 0.20 0.30 2/345 6789": two threads run or would, one of them is this one.
    const std::string text = read_small("/proc/loadavg");
    const std::size_t slash = text.find('/');
    const std::size_t blank = text.rfind(' ', slash);
    if (slash == std::string::npos || blank == std::string::npos) return;
    const auto all = static_cast<unsigned>(number(std::string_view(text).substr(blank + 1)));
    other_sum_ += all > ours_runnable + 1 ? all - ours_runnable - 1 : 0;
    return;
  }
  if (source_.groups.empty()) return;
  std::istringstream pids(read_small(source_.groups[0] + "/cgroup.procs"));
  const pid_t self = ::getpid();
  for (pid_t pid = 0; pids >> pid;)
    if (pid != self && !ours.contains(pid)) other_sum_ += runnable_threads(pid);
}

void NodeMeter::read_memory(NodeFacts& f) const {
  const HostFacts host = host_facts();
  const std::uint64_t all = std::max<std::uint64_t>(host.memory_total, 1);
  const std::uint64_t limit = source_.memory_limit != 0 ? std::min(source_.memory_limit, all) : all;
  f.total_mib = static_cast<double>(limit) / kMib;
  f.free_mib = std::min(static_cast<double>(host.memory_available) / kMib, f.total_mib);
  for (const std::string& g : source_.groups) {
    const bool second = exists(g + "/memory.current");
    if (!second && !exists(g + "/memory.usage_in_bytes")) continue;
    const std::uint64_t most = number(read_small(g + (second ? "/memory.max" : "/memory.limit_in_bytes")));
    if (most == 0 || most > all) continue;  // "max"
    const std::uint64_t used =
        number(read_small(g + (second ? "/memory.current" : "/memory.usage_in_bytes")));
    const std::string stat = read_small(g + "/memory.stat");
    // Pages of files that nobody has used twice go before anything is short.
    const std::uint64_t easy =
        std::min(used, stat_value(stat, second ? "inactive_file" : "total_inactive_file"));
    f.total_mib = static_cast<double>(most) / kMib;
    f.free_mib = std::min(f.free_mib, f.total_mib - static_cast<double>(used - easy) / kMib);
  }
}

double NodeMeter::paging(double elapsed_s) {
  std::string text;
  bool limited = false;
  for (const std::string& g : source_.groups) {
    if (text.empty()) text = read_small(g + "/memory.pressure");
    limited = limited || exists(g + "/memory.usage_in_bytes");
  }
  // A group of version 1 has no pressure of its own, and the machine's is not its.
  if (text.empty() && (limited || source_.shared_machine)) return 0;
  if (text.empty()) text = read_small("/proc/pressure/memory");
  const std::uint64_t now = pressure_us(text);
  const std::uint64_t before = pressure_us_;
  pressure_us_ = now;
  if (elapsed_s <= 0 || now < before) return 0;
  return std::min(1.0, static_cast<double>(now - before) / 1e6 / elapsed_s);
}

double NodeMeter::machine_busy() {
  if (source_.shared_machine) return -1;
  std::istringstream in(read_small("/proc/stat"));
  std::string name;
  std::uint64_t all = 0;
  std::uint64_t idle = 0;
  in >> name;
  std::uint64_t value = 0;
  for (int i = 0; i < 8 && in >> value; ++i) {
    all += value;
    if (i == 3 || i == 4) idle += value;
  }
  const std::uint64_t busy = all - idle;
  const double share =
      all > all_ticks_ && all_ticks_ != 0
          ? static_cast<double>(busy - std::min(busy, busy_ticks_)) / static_cast<double>(all - all_ticks_)
          : 0;
  all_ticks_ = all;
  busy_ticks_ = busy;
  return share;
}

/// What memory in use will have grown by when a move that is decided now has been made.
double NodeMeter::growth_mib(const NodeFacts& f, double elapsed_s) {
  const double before = free_mib_;
  free_mib_ = f.free_mib;
  if (elapsed_s <= 0 || before < 0) return 0;
  // A process that has just come is no trend: not more than a twentieth of the memory.
  return std::clamp((before - f.free_mib) / elapsed_s * kAheadS, 0.0, f.total_mib * kMostAhead);
}

NodeFacts NodeMeter::sample(double now_s) {
  NodeFacts f;
  const double elapsed = sampled_s_ < 0 ? 0 : now_s - sampled_s_;
  sampled_s_ = now_s;
  read_memory(f);
  f.free_mib -= growth_mib(f, elapsed);
  f.paging = paging(elapsed);
  f.machine_busy = machine_busy();
  if (looks_ != 0) {
    const double kept = std::pow(kOtherKeptPerS, std::max(elapsed, 0.1));
    other_ = other_ * kept + (1 - kept) * other_sum_ / looks_;
  }
  other_sum_ = looks_ = 0;
  f.other_runnable = other_;
  const double used_s = static_cast<double>(process_facts(::getpid()).cpu_us) / 1e6;
  if (elapsed > 0) {
    const double kept = std::pow(kOtherKeptPerS, elapsed);
    own_busy_ = own_busy_ * kept + (1 - kept) * (used_s - used_s_) / elapsed;
  }
  used_s_ = used_s;
  f.own_busy = own_busy_;
  f.owner_there = !source_.shared_machine && console_in_use(kOwnerSeconds);
  return f;
}

}  // namespace hpcvmm::daemon
