// /proc/cpuinfo, stat, meminfo and loadavg of a cluster, made from those of its nodes.  Pure.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "hpcvmm/wire/view.hh"

namespace hpcvmm::view {

/// What one node's own files say.
struct NodeFiles {
  wire::view::Node node{};
  std::string_view cpuinfo;  ///< the block of one of its CPUs
  std::string_view stat;     ///< its /proc/stat; the long line of interrupts may be missing
  std::string_view meminfo;
  std::string_view loadavg;
};

/// Nodes that are not online are left out.  Lines whose meaning is not known to be a sum (btime, the last
/// process number) are those of `own`, an index into `nodes`.
std::string cpuinfo(std::span<const NodeFiles> nodes);
std::string stat(std::span<const NodeFiles> nodes, std::size_t own);
std::string meminfo(std::span<const NodeFiles> nodes, std::size_t own);
std::string loadavg(std::span<const NodeFiles> nodes, std::size_t own);

/// A line's value in kB in a meminfo text; 0: not there.
std::uint64_t meminfo_kib(std::string_view text, std::string_view key);
/// The load averages of a loadavg text, 65536: 1.0; and how many processes there are.
struct Loads {
  std::uint64_t averages[3] = {};
  std::uint64_t running = 0, processes = 0;
};
Loads parse_loadavg(std::string_view text);
/// Idle and I/O wait time of the first `cpus` CPUs of a stat text, 1/100 s.
std::uint64_t idle_cs(std::string_view stat, unsigned cpus);

/// What a node sends of its files: the block of its first CPU; stat without the interrupts' columns.
std::string_view first_cpu_block(std::string_view cpuinfo);
std::string short_stat(std::string_view stat);
/// meminfo of a node that offers only a part of its memory.  `total` and `free` in bytes.
std::string limited_meminfo(std::string_view meminfo, std::uint64_t total, std::uint64_t free);

}  // namespace hpcvmm::view
