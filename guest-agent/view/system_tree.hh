// /sys/devices/system/cpu and node of a cluster: each node is one package and one NUMA node.  Pure.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "hpcvmm/wire/view.hh"

namespace hpcvmm::view {

/// A cache as each CPU of a node has it.
struct Cache {
  unsigned level = 1;
  std::string type, size;  ///< "Data", "48K"
  unsigned ways = 0, line = 64, sets = 0;
  bool of_node = false;  ///< shared by all CPUs of a node
};

struct SystemNode {
  wire::view::Node node{};
  std::string_view meminfo;  ///< as in /proc
  /// To every node of the cluster in the order of the span that this one is in; 10: itself.
  std::vector<unsigned> distances;
};

struct TreeEntry {
  std::string path;  ///< "cpu/cpu0/topology/core_id"
  std::string text;  ///< content, or where a link points to
  bool link = false;
};

/// What is below /sys/devices/system.  CPUs of nodes that are not online are possible, not present.  Devices
/// are those of the node `home`: names.hh leads their local_cpus here.
std::vector<TreeEntry> system_tree(std::span<const SystemNode> nodes, std::span<const Cache> caches,
                                   std::uint32_t home);
/// "10 20\n".
std::string distance_line(std::span<const unsigned> distances);
/// node/nodeN/meminfo, which changes all the time.
std::string node_meminfo(std::uint32_t node, std::string_view meminfo);
/// SLIT's unit for a round trip: 10 is local memory; another node's is at least 20, at most 254.
unsigned distance_of(std::uint32_t rtt_us);

}  // namespace hpcvmm::view
