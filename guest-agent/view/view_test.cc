// The texts of a cluster, compared with the host's own files and read as programs read them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <set>
#include <sstream>

#include "guest-agent/view/cpu_text.hh"
#include "guest-agent/view/names.hh"
#include "guest-agent/view/proc_files.hh"
#include "guest-agent/view/system_tree.hh"

namespace hpcvmm::view {
namespace {

std::string slurp(const char* path) {
  std::ifstream in(path);
  std::stringstream all;
  all << in.rdbuf();
  return all.str();
}

/// This host as each of three nodes, the second of which is down.
struct Fixture : testing::Test {
  std::string cpu = slurp("/proc/cpuinfo");
  std::string stat_text = short_stat(slurp("/proc/stat"));
  std::string memory = slurp("/proc/meminfo");
  std::string load = slurp("/proc/loadavg");
  std::vector<NodeFiles> nodes;
  void SetUp() override {
    const wire::view::Node ranges[] = {{1, 1, 0, 2}, {2, 0, 2, 4}, {3, 1, 6, 1}};
    for (const auto& r : ranges) nodes.push_back({r, first_cpu_block(cpu), stat_text, memory, load});
  }
};

/// Keys of "key : value" lines, in order.
std::vector<std::string> keys_of(const std::string& text, char separator) {
  std::vector<std::string> keys;
  std::stringstream in(text);
  for (std::string line; std::getline(in, line);) keys.push_back(line.substr(0, line.find(separator)));
  return keys;
}

TEST(CpuText, ListsAreTheKernels) {
  CpuSet set;
  EXPECT_EQ(cpu_list(set), "");
  set.add(0, 4);
  set.add(5);
  set.add(64, 2);
  EXPECT_EQ(cpu_list(set), "0-3,5,64-65");
  CpuSet back;
  EXPECT_TRUE(parse_cpu_list("0-3,5,64-65\n", back));
  EXPECT_EQ(back, set);
  for (const char* bad : {"x", "3-1", "1,", "4096", "1 2", "-1"})
    EXPECT_FALSE(parse_cpu_list(bad, back)) << bad;
}

TEST(CpuText, MasksAreTheKernels) {
  CpuSet set;
  set.add(0, 2);
  EXPECT_EQ(cpu_mask(set, 2), "3");
  EXPECT_EQ(cpu_mask(set, 6), "03");
  set.add(33);
  EXPECT_EQ(cpu_mask(set, 36), "2,00000003");
  EXPECT_EQ(cpu_mask(set, 64), "00000002,00000003");
}

TEST_F(Fixture, CpuinfoHasABlockForEachCpuOnline) {
  const std::string text = cpuinfo(nodes);
  std::vector<std::string> processors;
  std::stringstream in(text);
  for (std::string line; std::getline(in, line);)
    if (line.starts_with("processor")) processors.push_back(line);
  EXPECT_THAT(processors, testing::ElementsAre("processor\t: 0", "processor\t: 1", "processor\t: 6"));
  const std::string first = text.substr(0, text.find("\n\n") + 2);
  EXPECT_EQ(keys_of(first, ':'), keys_of(cpu.substr(0, cpu.find("\n\n") + 2), ':'));
  EXPECT_TRUE(text.ends_with("\n\n"));
}

TEST_F(Fixture, OneNodeWithAllCpusIsTheHost) {
  const auto cpus = static_cast<unsigned>(std::count(cpu.begin(), cpu.end(), '\n') == 0 ? 0 : [&] {
    unsigned n = 0;
    for (std::size_t at = 0; (at = cpu.find("processor\t", at)) != std::string::npos; ++at) ++n;
    return n;
  }());
  nodes.resize(1);
  nodes[0].node.cpus = cpus;
  const std::string text = stat(nodes, 0);
  EXPECT_EQ(keys_of(text, ' '), keys_of(stat_text, ' '));
  EXPECT_EQ(meminfo(nodes, 0), memory);
  EXPECT_EQ(loadavg(nodes, 0), load);
}

TEST_F(Fixture, StatSumsWhatItShows) {
  std::stringstream in(stat(nodes, 0));
  std::map<std::string, std::uint64_t> user;
  for (std::string line; std::getline(in, line);) {
    std::stringstream words(line);
    std::string key;
    std::uint64_t value = 0;
    words >> key >> value;
    user[key] = value;
  }
  EXPECT_TRUE(user.contains("cpu0") && user.contains("cpu1") && user.contains("cpu6"));
  EXPECT_FALSE(user.contains("cpu2"));
  EXPECT_EQ(user["cpu"], user["cpu0"] + user["cpu1"] + user["cpu6"]);
}

TEST_F(Fixture, MemoryIsTheSumOfNodesThatAreUp) {
  const std::string text = meminfo(nodes, 0);
  EXPECT_EQ(keys_of(text, ':'), keys_of(memory, ':'));
  EXPECT_EQ(meminfo_kib(text, "MemTotal"), 2 * meminfo_kib(memory, "MemTotal"));
  EXPECT_EQ(meminfo_kib(text, "Hugepagesize"), meminfo_kib(memory, "Hugepagesize"));
  const std::string limited = limited_meminfo(memory, 64U << 20, 1U << 20);
  EXPECT_EQ(meminfo_kib(limited, "MemTotal"), 65536U);
  EXPECT_EQ(meminfo_kib(limited, "MemAvailable"), 1024U);
}

TEST(Loads, AreSums) {
  const std::vector<NodeFiles> nodes = {{{1, 1, 0, 1}, "", "", "", "0.50 1.00 2.25 1/100 77\n"},
                                        {{2, 1, 1, 1}, "", "", "", "0.25 0.00 0.25 3/50 12\n"}};
  EXPECT_EQ(loadavg(nodes, 0), "0.75 1.00 2.50 4/150 77\n");
}

TEST(SystemTree, NamesWhatIsOnline) {
  std::vector<SystemNode> nodes;
  const wire::view::Node ranges[] = {{1, 1, 0, 2}, {2, 0, 2, 4}, {3, 1, 6, 1}};
  for (const auto& r : ranges) nodes.push_back({r, "MemTotal:  100 kB\nMemFree:  40 kB\n", {10, 20}});
  const Cache cache{3, "Unified", "30M", 16, 64, 1024, true};
  std::map<std::string, TreeEntry> tree;
  for (const TreeEntry& e : system_tree(nodes, {&cache, 1}, 3)) tree[e.path] = e;
  EXPECT_EQ(tree["cpu/online"].text, "0-1,6\n");
  EXPECT_EQ(tree["cpu/possible"].text, "0-6\n");
  EXPECT_EQ(tree["cpu/offline"].text, "2-5\n");
  EXPECT_EQ(tree["node/online"].text, "1,3\n");
  EXPECT_EQ(tree["node/node1/cpulist"].text, "0-1\n");
  EXPECT_EQ(tree["cpu/cpu1/topology/core_siblings"].text, "03\n");
  EXPECT_EQ(tree["cpu/cpu1/cache/index0/shared_cpu_list"].text, "0-1\n");
  EXPECT_TRUE(tree["cpu/cpu6/node3"].link);
  EXPECT_EQ(tree["device/local_cpulist"].text, "6\n");
  EXPECT_EQ(tree["device/local_cpus"].text, "40\n");
  EXPECT_EQ(tree["device/numa_node"].text, "3\n");
  EXPECT_FALSE(tree.contains("cpu/cpu2/online"));
  EXPECT_FALSE(tree.contains("node/node2/cpulist"));
  EXPECT_THAT(node_meminfo(3, nodes[2].meminfo), testing::HasSubstr("Node 3 MemUsed:              60 kB\n"));
}

TEST(SystemTree, EveryFileOfACpuIsOneThatTheHostHas) {
  std::vector<SystemNode> nodes = {{{1, 1, 0, 2}, "", {10}}};
  std::set<std::string> missing;
  for (const TreeEntry& e : system_tree(nodes, {}, 1))
    if (e.path.starts_with("cpu/") && !e.link && !std::ifstream("/sys/devices/system/" + e.path))
      missing.insert(e.path);
  // Older kernels have no clusters; a host may have one CPU, or no SMT switch.
  std::erase_if(missing, [](const std::string& p) {
    return p.find("cluster") != std::string::npos || p.find("cpu1") != std::string::npos ||
           p.find("smt") != std::string::npos;
  });
  EXPECT_THAT(missing, testing::IsEmpty());
}

TEST(Distance, GrowsWithTheRoundTrip) {
  EXPECT_EQ(distance_of(0), 20U);
  EXPECT_EQ(distance_of(40), 40U);
  EXPECT_LT(distance_of(100), distance_of(1000));
  EXPECT_EQ(distance_of(4'000'000'000U), 254U);
}

TEST(Names, MeanTheCluster) {
  const std::pair<const char*, const char*> files[] = {
      {"/proc/cpuinfo", "proc/cpuinfo"},
      {"//proc/./stat", "proc/stat"},
      {"/sys/devices/system/cpu", "sys/devices/system/cpu"},
      {"/sys/devices/system/cpu/cpu17/topology/core_id", "sys/devices/system/cpu/cpu17/topology/core_id"},
      {"/sys/devices/system/cpu/../node/node2/", "sys/devices/system/node/node2"},
      {"/proc/hpc/nodes/2/load", "../proc/hpc/nodes/2/load"},
      {"/proc/17/hpc/goto", "../proc/pid/17/goto"},
      {"/proc/17/cantmove", "../proc/pid/17/cantmove"},
      {"/sys/fs/cgroup/cpuset/a/cpuset.cpus", "sys/devices/system/cpu/online"},
      {"/sys/fs/cgroup/cpuset.mems.effective", "sys/devices/system/node/online"},
      {"/sys/fs/cgroup/user.slice/cpu.max", "cgroup/cpu.max"},
      {"/sys/bus/pci/devices/0000:00:01.0/local_cpus", "sys/devices/system/device/local_cpus"},
      {"/sys/devices/pci0000:00/0000:00:01.0/numa_node", "sys/devices/system/device/numa_node"},
      {"/sys/class/net/eth0/device/local_cpulist", "sys/devices/system/device/local_cpulist"},
      {"/proc/self/hpc", "../proc/pid/self"}};
  for (const auto& [name, path] : files) {
    EXPECT_TRUE(may_mean_cluster(name)) << name;
    EXPECT_EQ(parse_name(name).means, Means::File) << name;
    EXPECT_EQ(parse_name(name).path, path);
  }
  EXPECT_TRUE(parse_name("/sys/fs/cgroup/cpu.max").reads_only);
  EXPECT_FALSE(parse_name("/proc/stat").reads_only);
  EXPECT_EQ(parse_name("/proc/uptime").means, Means::Uptime);
  EXPECT_EQ(parse_name("/proc/self/hpc/where").means, Means::Where);
  EXPECT_EQ(parse_name("/proc/17/where").pid, 17);
}

TEST(Names, MeanTheHost) {
  for (const char* name :
       {"/proc", "/proc/17/stat", "/proc/self/cwd/../cpuinfo", "/proc/cpuinfo/x",
        "/sys/devices/system/cpu/cpufreq", "/sys/devices/system/cpu/../../virtual",
        "/sys/devices/system/memory", "/sys/fs/cgroup/cpu.stat", "/etc/passwd", "/proc/x/hpc"})
    EXPECT_EQ(parse_name(name).means, Means::Host) << name;
  for (const char* name : {"/etc/proc", "src/main.c", "", "/usr/sys"})
    EXPECT_FALSE(may_mean_cluster(name)) << name;
}

}  // namespace
}  // namespace hpcvmm::view
