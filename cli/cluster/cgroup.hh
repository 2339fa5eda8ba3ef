// Limits of a node: control groups, version 2 or 1, whichever has the controllers here.
#pragma once

#include <cstdint>
#include <string>

#include "cli/cluster/names.hh"

namespace hpcvmm::cli {

struct NodeLimits {
  double cpus = 0;           ///< 0: all
  std::uint64_t memory = 0;  ///< bytes; 0: all
};

/// Makes the group of a node with its limits.  Empty: done; else why not, with the remedy.
std::string make_group(const Names& names, unsigned node, const NodeLimits& limits);
/// Puts a process, and what it starts from now on, there.
std::string enter_group(const Names& names, unsigned node, int pid);
/// Removes it; what is still in it is killed.  Not there: nothing.
void remove_group(const Names& names, unsigned node);
/// Whether any of its folders is there.
bool group_exists(const Names& names, unsigned node);

}  // namespace hpcvmm::cli
