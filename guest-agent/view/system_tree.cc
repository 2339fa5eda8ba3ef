#include "guest-agent/view/system_tree.hh"

#include <algorithm>
#include <array>
#include <cstdio>

#include "guest-agent/view/cpu_text.hh"
#include "guest-agent/view/proc_files.hh"

namespace hpcvmm::view {
namespace {

using wire::view::Node;

struct Tree {
  std::vector<TreeEntry> entries;
  unsigned bits = 1;  // of a mask

  void file(const std::string& path, const std::string& text) { entries.push_back({path, text + "\n"}); }
  void number(const std::string& path, std::uint64_t value) { file(path, std::to_string(value)); }
  void link(const std::string& path, const std::string& to) { entries.push_back({path, to, true}); }
  /// `path` as a mask, `path`_list or `list` as a list.
  void set(const std::string& path, const std::string& list, const CpuSet& cpus) {
    file(path, cpu_mask(cpus, bits));
    file(list, cpu_list(cpus));
  }
};

CpuSet range(const Node& n) {
  CpuSet set;
  set.add(n.first_cpu, n.cpus);
  return set;
}

void add_caches(Tree& t, const std::string& cpu, unsigned number, const Node& n,
                std::span<const Cache> caches) {
  for (std::size_t i = 0; i < caches.size(); ++i) {
    const Cache& c = caches[i];
    const std::string at = cpu + "/cache/index" + std::to_string(i) + "/";
    CpuSet shared;
    shared.add(number);
    t.number(at + "level", c.level);
    t.file(at + "type", c.type);
    t.file(at + "size", c.size);
    t.number(at + "ways_of_associativity", c.ways);
    t.number(at + "coherency_line_size", c.line);
    t.number(at + "number_of_sets", c.sets);
    t.number(at + "physical_line_partition", 1);
    t.number(at + "id", c.of_node ? n.id : number);
    t.set(at + "shared_cpu_map", at + "shared_cpu_list", c.of_node ? range(n) : shared);
  }
}

void add_cpu(Tree& t, unsigned number, const Node& n, std::span<const Cache> caches) {
  const std::string at = "cpu/cpu" + std::to_string(number);
  CpuSet self;
  self.add(number);
  // The first CPU of a PC cannot be taken away and has no such file.
  if (number != 0) t.number(at + "/online", 1);
  const std::string topology = at + "/topology/";
  t.number(topology + "physical_package_id", n.id);
  t.number(topology + "die_id", 0);
  t.number(topology + "cluster_id", 65535);
  t.number(topology + "core_id", number - n.first_cpu);
  for (const char* name : {"thread_siblings", "core_cpus", "cluster_cpus"})
    t.set(topology + name, topology + name + "_list", self);
  for (const char* name : {"core_siblings", "package_cpus", "die_cpus"})
    t.set(topology + name, topology + name + "_list", range(n));
  t.link(at + "/node" + std::to_string(n.id), "../../node/node" + std::to_string(n.id));
  add_caches(t, at, number, n, caches);
}

void add_node(Tree& t, const SystemNode& n) {
  const std::string name = std::to_string(n.node.id);
  const std::string at = "node/node" + name + "/";
  t.set(at + "cpumap", at + "cpulist", range(n.node));
  t.entries.push_back({at + "distance", distance_line(n.distances)});
  for (unsigned i = 0; i < n.node.cpus; ++i) {
    const std::string cpu = "cpu" + std::to_string(n.node.first_cpu + i);
    t.link(at + cpu, "../../cpu/" + cpu);
  }
}

}  // namespace

std::vector<TreeEntry> system_tree(std::span<const SystemNode> nodes, std::span<const Cache> caches,
                                   std::uint32_t home) {
  Tree t;
  CpuSet online;
  CpuSet possible;
  CpuSet node_set;  // of nodes' numbers
  for (const SystemNode& n : nodes) {
    t.bits = std::max(t.bits, n.node.first_cpu + n.node.cpus);
    possible.add(n.node.first_cpu, n.node.cpus);
    if (n.node.online == 0) continue;
    online.add(n.node.first_cpu, n.node.cpus);
    node_set.add(n.node.id);
  }
  // "possible" begins at 0 and has no gaps on Linux.
  possible.add(0, t.bits);
  CpuSet offline = possible;
  for (std::size_t i = 0; i < offline.words.size(); ++i) offline.words[i] &= ~online.words[i];
  t.file("cpu/online", cpu_list(online));
  t.file("cpu/present", cpu_list(online));
  t.file("cpu/possible", cpu_list(possible));
  t.file("cpu/offline", cpu_list(offline));
  t.file("cpu/isolated", "");
  t.number("cpu/kernel_max", wire::view::kMostCpus - 1);
  t.file("cpu/smt/active", "0");
  t.file("cpu/smt/control", "notsupported");
  for (const char* name : {"online", "has_cpu", "has_memory", "has_normal_memory", "possible"})
    t.file(std::string("node/") + name, cpu_list(node_set));
  for (const SystemNode& n : nodes) {
    if (n.node.online == 0) continue;
    for (unsigned i = 0; i < n.node.cpus; ++i) add_cpu(t, n.node.first_cpu + i, n.node, caches);
    add_node(t, n);
    if (n.node.id != home) continue;
    t.set("device/local_cpus", "device/local_cpulist", range(n.node));
    t.number("device/numa_node", home);
  }
  return t.entries;
}

std::string distance_line(std::span<const unsigned> distances) {
  std::string line;
  for (const unsigned d : distances) line += (line.empty() ? "" : " ") + std::to_string(d);
  return line + "\n";
}

std::string node_meminfo(std::uint32_t node, std::string_view meminfo) {
  // "Node 0 MemTotal:       24684092 kB".  Source: node_read_meminfo() in drivers/base/node.c.
  static constexpr const char* kKeys[] = {
      "MemTotal",       "MemFree",      "MemUsed",        "Active",       "Inactive",  "Active(anon)",
      "Inactive(anon)", "Active(file)", "Inactive(file)", "Unevictable",  "Mlocked",   "Dirty",
      "Writeback",      "FilePages",    "Mapped",         "AnonPages",    "Shmem",     "KernelStack",
      "PageTables",     "KReclaimable", "Slab",           "SReclaimable", "SUnreclaim"};
  std::string out;
  for (const std::string_view key : kKeys) {
    std::uint64_t kib = 0;
    if (key == "MemUsed") {
      const std::uint64_t total = meminfo_kib(meminfo, "MemTotal");
      kib = total - std::min(total, meminfo_kib(meminfo, "MemFree"));
    } else {
      kib = meminfo_kib(meminfo, key == "FilePages" ? "Cached" : key);
    }
    std::array<char, 96> line{};
    std::snprintf(line.data(), line.size(), "Node %u %-15s %8llu kB\n", node,
                  (std::string(key) + ":").c_str(), static_cast<unsigned long long>(kib));
    out += line.data();
  }
  return out;
}

unsigned distance_of(std::uint32_t rtt_us) {
  // Local memory takes about 0.1 us; a page of another node a round trip.  A linear scale would be at its end
  // at once, so: 20 for up to 10 us, then 10 more for each doubling.
  unsigned distance = 20;
  for (std::uint32_t us = 10; us < rtt_us && distance < 254; us *= 2) distance += 10;
  return std::min(distance, 254U);
}

}  // namespace hpcvmm::view
