#include "guest-agent/view/names.hh"

#include <algorithm>
#include <charconv>
#include <vector>

namespace hpcvmm::view {
namespace {

constexpr std::string_view kProcFiles[] = {"cpuinfo", "stat", "meminfo", "loadavg"};
/// openMosix' files of a process.
constexpr std::string_view kProcessFiles[] = {"cantmove", "goto",      "lock",     "nmigs",    "where",
                                              "migrate",  "migfilter", "mignodes", "migpolicy"};
/// Of /sys/devices/system/cpu; what is not here (cpufreq, microcode...) speaks of the host.
constexpr std::string_view kCpuFiles[] = {"online",   "offline",    "possible", "present",
                                          "isolated", "kernel_max", "smt"};

/// Of any device: which CPUs are near it.
constexpr std::string_view kDeviceFiles[] = {"local_cpus", "local_cpulist", "numa_node"};

/// Where programs look for a control group's limits, which are those of one node and would contradict the
/// cluster.
struct LimitFile {
  std::string_view name, path;
};
constexpr std::string_view kCpusOnline = "sys/devices/system/cpu/online";
constexpr std::string_view kNodesOnline = "sys/devices/system/node/online";
constexpr LimitFile kLimitFiles[] = {{"cpuset.cpus", kCpusOnline},
                                     {"cpuset.cpus.effective", kCpusOnline},
                                     {"cpuset.effective_cpus", kCpusOnline},
                                     {"cpuset.mems", kNodesOnline},
                                     {"cpuset.mems.effective", kNodesOnline},
                                     {"cpuset.effective_mems", kNodesOnline},
                                     {"cpu.max", "cgroup/cpu.max"},
                                     {"cpu.cfs_quota_us", "cgroup/cpu.cfs_quota_us"}};

template <std::size_t N> bool is_one_of(std::string_view text, const std::string_view (&list)[N]) {
  return std::find(std::begin(list), std::end(list), text) != std::end(list);
}

bool parse_number(std::string_view text, std::int64_t& value) {
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), value, 10);
  return error == std::errc{} && stop == text.data() + text.size() && value > 0;
}

std::string_view first_component(std::string_view path) {
  while (path.starts_with('/') || path.starts_with("./")) path.remove_prefix(path[0] == '/' ? 1 : 2);
  return path.substr(0, path.find('/'));
}

/// Components without "" and "."; ".." takes one away.  `climbed`: there was a "..".
std::vector<std::string_view> components(std::string_view path, bool& climbed) {
  std::vector<std::string_view> out;
  while (!path.empty()) {
    const std::size_t end = std::min(path.find('/'), path.size());
    const std::string_view one = path.substr(0, end);
    path.remove_prefix(std::min(end + 1, path.size()));
    if (one.empty() || one == ".") continue;
    if (one != "..") {
      out.push_back(one);
      continue;
    }
    climbed = true;
    if (!out.empty()) out.pop_back();
  }
  return out;
}

std::string join(const std::vector<std::string_view>& parts, std::size_t from) {
  std::string out;
  for (std::size_t i = from; i < parts.size(); ++i) (out += '/') += parts[i];
  return out;
}

Name limit_name(std::string_view file) {
  for (const LimitFile& l : kLimitFiles)
    if (l.name == file) return {Means::File, std::string(l.path), 0, true};
  return {};
}

Name system_name(const std::vector<std::string_view>& parts) {
  if (parts.size() > 3 && parts[1] == "fs" && parts[2] == "cgroup") return limit_name(parts.back());
  const bool system = parts.size() > 2 && parts[1] == "devices" && parts[2] == "system";
  if (!system && is_one_of(parts.back(), kDeviceFiles))
    return {Means::File, "sys/devices/system/device/" + std::string(parts.back()), 0, true};
  if (!system || parts.size() < 4) return {};
  if (parts[3] != "cpu" && parts[3] != "node") return {};
  if (parts[3] == "cpu" && parts.size() > 4) {
    std::int64_t number = 0;
    const std::string_view what = parts[4];
    const bool is_cpu = what.starts_with("cpu") && (what == "cpu0" || parse_number(what.substr(3), number));
    if (!is_cpu && !is_one_of(what, kCpuFiles)) return {};
  }
  return {Means::File, join(parts, 0).substr(1), 0, false};
}

Name process_name(const std::vector<std::string_view>& parts) {
  std::int64_t pid = 0;
  const bool self = parts[1] == "self" || parts[1] == "thread-self";
  if (parts.size() < 3 || (!self && !parse_number(parts[1], pid))) return {};
  const bool in_folder = parts[2] == "hpc";
  if (!in_folder && (parts.size() != 3 || !is_one_of(parts[2], kProcessFiles))) return {};
  Name name{Means::File, "", pid, false};
  const std::size_t from = in_folder ? 3 : 2;
  if (parts.size() == from + 1 && parts[from] == "where") {
    name.means = Means::Where;
    name.path = "proc/where";
    return name;
  }
  // `path` needs the caller's number: 0 stands for it.
  name.path = join(parts, from);
  return name;
}

}  // namespace

bool may_mean_cluster(std::string_view path) {
  const std::string_view first = first_component(path);
  if (first == "proc" || first == "sys") return true;
  if (path.starts_with('/')) return false;
  return first == "devices" || first == "system" || first == "cpu" || first == "node" || first == "hpc" ||
         first == "uptime" || is_one_of(first, kDeviceFiles) || is_one_of(first, kProcFiles) ||
         is_one_of(first, kProcessFiles);
}

Name parse_name(std::string_view path) {
  bool climbed = false;
  const std::vector<std::string_view> parts = components(path, climbed);
  if (parts.size() < 2) return {};
  if (parts[0] == "sys") return system_name(parts);
  if (parts[0] != "proc" || climbed) return {};
  if (parts[1] == "hpc") return {Means::File, "../proc" + join(parts, 1), 0, false};
  if (parts.size() > 2) {
    Name name = process_name(parts);
    if (name.means == Means::File)
      name.path = "../proc/pid/" + (name.pid == 0 ? "self" : std::to_string(name.pid)) + name.path;
    return name;
  }
  if (parts[1] == "uptime") return {Means::Uptime, "", 0, false};
  if (is_one_of(parts[1], kProcFiles)) return {Means::File, "proc/" + std::string(parts[1]), 0, false};
  return {};
}

}  // namespace hpcvmm::view
