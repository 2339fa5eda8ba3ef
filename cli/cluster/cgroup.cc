#include "cli/cluster/cgroup.hh"

#include <sched.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <numeric>
#include <set>
#include <sstream>
#include <vector>

#include "cli/cluster/command.hh"

namespace hpcvmm::cli {

namespace {

/// Where the controllers are mounted; empty: not at all.
struct Mounts {
  std::string v2;  // with cpu and memory
  std::string cpu, memory;
};

bool has_word(const std::string& text, const std::string& word, char separator) {
  std::istringstream in(text);
  for (std::string w; std::getline(in, w, separator);)
    if (w == word) return true;
  return false;
}

Mounts find_mounts() {
  Mounts m;
  std::istringstream lines(read_file("/proc/self/mounts"));
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string what;
    std::string where;
    std::string type;
    std::string options;
    words >> what >> where >> type >> options;
    if (type == "cgroup2") {
      const std::string controllers = read_file(where + "/cgroup.controllers");
      if (has_word(controllers, "cpu", ' ') && has_word(controllers, "memory", ' ')) m.v2 = where;
    } else if (type == "cgroup") {
      if (has_word(options, "cpu", ',')) m.cpu = where;
      if (has_word(options, "memory", ',')) m.memory = where;
    }
  }
  return m;
}

std::string group_name(const Names& names, unsigned node) { return names.space(node); }

/// The folders of the node's group on this machine.
std::vector<std::string> folders(const Names& names, unsigned node) {
  const Mounts m = find_mounts();
  const std::string name = "/" + group_name(names, node);
  if (!m.v2.empty()) return {m.v2 + name};
  std::vector<std::string> out;
  if (!m.cpu.empty()) out.push_back(m.cpu + name);
  if (!m.memory.empty() && m.memory != m.cpu) out.push_back(m.memory + name);
  return out;
}

constexpr long kPeriodUs = 10'000;

std::string quota(double cpus) {
  const long us = static_cast<long>(cpus * static_cast<double>(kPeriodUs));
  return std::to_string(us < 1000 ? 1000 : us);  // the kernel's least
}

std::string make_v2(const std::string& root, const std::string& folder, const NodeLimits& limits) {
  // Fails where the root group's children may not have controllers; the limits below then say so.
  static_cast<void>(write_file(root + "/cgroup.subtree_control", "+cpu +memory"));
  if (::mkdir(folder.c_str(), 0755) != 0 && errno != EEXIST) return folder + ": " + std::strerror(errno);
  std::string why;
  if (limits.cpus > 0)
    why = write_file(folder + "/cpu.max", quota(limits.cpus) + " " + std::to_string(kPeriodUs));
  if (why.empty() && limits.memory != 0)
    why = write_file(folder + "/memory.max", std::to_string(limits.memory));
  return why;
}

std::string make_v1(const Mounts& m, const std::string& name, const NodeLimits& limits) {
  if (limits.cpus > 0) {
    const std::string folder = m.cpu + name;
    if (::mkdir(folder.c_str(), 0755) != 0 && errno != EEXIST) return folder + ": " + std::strerror(errno);
    std::string why = write_file(folder + "/cpu.cfs_period_us", std::to_string(kPeriodUs));
    if (why.empty()) why = write_file(folder + "/cpu.cfs_quota_us", quota(limits.cpus));
    if (!why.empty()) return why;
  }
  if (limits.memory != 0) {
    const std::string folder = m.memory + name;
    if (::mkdir(folder.c_str(), 0755) != 0 && errno != EEXIST) return folder + ": " + std::strerror(errno);
    return write_file(folder + "/memory.limit_in_bytes", std::to_string(limits.memory));
  }
  return {};
}

}  // namespace

void give_processors(std::vector<NodeLimits>& limits, const std::vector<int>& processors, std::size_t first) {
  constexpr double kRounding = 1e-6;
  std::vector<double> left(processors.size(), 1);
  std::vector<std::size_t> order(limits.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return limits[a].cpus > limits[b].cpus; });
  std::vector<int> given(limits.size(), -1);
  for (const std::size_t n : order) {
    for (std::size_t i = 0; i < left.size() && limits[n].cpus > 0 && given[n] < 0; ++i) {
      const std::size_t at = (first + i) % left.size();
      if (limits[n].cpus > left[at] + kRounding) continue;
      left[at] -= limits[n].cpus;
      given[n] = processors[at];
    }
    if (given[n] < 0) return;
  }
  for (std::size_t n = 0; n < limits.size(); ++n) limits[n].processor = given[n];
}

void give_processors(const Names& names, std::vector<NodeLimits>& limits) {
  cpu_set_t set;
  CPU_ZERO(&set);
  std::vector<int> processors;
  if (::sched_getaffinity(0, sizeof set, &set) == 0)
    for (int i = 0; i < CPU_SETSIZE; ++i)
      if (CPU_ISSET(i, &set)) processors.push_back(i);
  give_processors(limits, processors, std::hash<std::string>{}(names.prefix()));
}

std::string make_group(const Names& names, unsigned node, const NodeLimits& limits) {
  if (limits.cpus <= 0 && limits.memory == 0) return {};
  const Mounts m = find_mounts();
  const std::string name = "/" + group_name(names, node);
  if (!m.v2.empty()) return make_v2(m.v2, m.v2 + name, limits);
  if ((limits.cpus > 0 && m.cpu.empty()) || (limits.memory != 0 && m.memory.empty()))
    return "limits need control groups, and this machine has neither version 2 nor version 1 with the "
           "controllers cpu "
           "and memory mounted; remedy: mount them, or leave out --cpus and --memory";
  return make_v1(m, name, limits);
}

std::string note_group(const Names& names, unsigned node, const NodeLimits& limits) {
  if (limits.processor >= 0) {
    const std::string file = names.node_dir(node) + "/processor";
    if (std::string why = write_file(file, std::to_string(limits.processor) + "\n"); !why.empty()) return why;
  }
  std::string text;
  for (const std::string& folder : folders(names, node))
    if (::access(folder.c_str(), F_OK) == 0) text += folder + "\n";
  return text.empty() ? "" : write_file(names.node_dir(node) + "/groups", text);
}

std::string join_group(const Names& names, unsigned node) {
  // Without streams: `launch` comes here before the constructors that they need (cli/main.cc).
  const std::string text = read_file(names.node_dir(node) + "/groups");
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    const std::string folder = text.substr(at, end - at);
    if (std::string why = write_file(folder + "/cgroup.procs", "0"); !why.empty()) return why;
    at = end + 1;
  }
  if (const std::string processor = read_file(names.node_dir(node) + "/processor"); !processor.empty()) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(std::strtoul(processor.c_str(), nullptr, 10) % CPU_SETSIZE, &set);
    ::sched_setaffinity(0, sizeof set, &set);  // it may have gone meanwhile: then any
  }
  return {};
}

namespace {

/// This process, and those that it was started by.
std::set<int> own_line() {
  std::set<int> line;
  for (int pid = ::getpid(); pid > 1 && line.insert(pid).second;) {
    // The name in brackets may contain anything; behind it come the state and the parent.
    const std::string stat = read_file("/proc/" + std::to_string(pid) + "/stat");
    const std::size_t behind = stat.rfind(')');
    std::istringstream words(behind == std::string::npos ? "" : stat.substr(behind + 1));
    char state = 0;
    pid = 0;
    words >> state >> pid;
  }
  return line;
}

}  // namespace

void remove_group(const Names& names, unsigned node) {
  // hpcd puts into its group whatever the cluster runs: `down` in a shell of the cluster is among it.
  const std::set<int> spared = own_line();
  for (const std::string& folder : folders(names, node)) {
    // Killed processes leave the group when the kernel is done with them.
    for (int i = 0; i < 100 && ::rmdir(folder.c_str()) != 0 && errno == EBUSY; ++i) {
      std::istringstream pids(read_file(folder + "/cgroup.procs"));
      for (int pid = 0; pids >> pid;)
        if (spared.contains(pid))
          static_cast<void>(write_file(folder + "/../cgroup.procs", std::to_string(pid)));
        else if (pid > 1)
          ::kill(pid, SIGKILL);
      ::usleep(20'000);
    }
  }
}

bool group_exists(const Names& names, unsigned node) {
  for (const std::string& folder : folders(names, node))
    if (::access(folder.c_str(), F_OK) == 0) return true;
  return false;
}

}  // namespace hpcvmm::cli
