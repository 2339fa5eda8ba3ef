// Limits of a node: control groups, version 2 or 1, whichever has the controllers here.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "cli/cluster/names.hh"

namespace hpcvmm::cli {

struct NodeLimits {
  double cpus = 0;           ///< 0: all
  std::uint64_t memory = 0;  ///< bytes; 0: all
  int processor = -1;        ///< the one of this machine that it runs on; -1: any
};

/// Gives each node one of `processors`, if every node finds one that has that much left: the largest node
/// first, looking from number `first` of them on (taken modulo their count).  Else none gets one: bound and
/// unbound nodes side by side would not be alike.
void give_processors(std::vector<NodeLimits>& limits, const std::vector<int>& processors, std::size_t first);
/// The same with the processors that this process may use; clusters of different names begin at different
/// ones.
void give_processors(const Names& names, std::vector<NodeLimits>& limits);
/// Makes the group of a node with its limits.  Empty: done; else why not, with the remedy.
std::string make_group(const Names& names, unsigned node, const NodeLimits& limits);
/// Writes the group's folders into the node's file "groups" and its processor into "processor", for its hpcd
/// and for launch; none: no file.
std::string note_group(const Names& names, unsigned node, const NodeLimits& limits);
/// Puts this process, and what it starts from now on, into the group that the node's file "groups" names,
/// and on its processor; does nothing where there is none.  Empty: done; else why not.
std::string join_group(const Names& names, unsigned node);
/// Removes it; what is still in it is killed.  Not there: nothing.
void remove_group(const Names& names, unsigned node);
/// Whether any of its folders is there.
bool group_exists(const Names& names, unsigned node);

}  // namespace hpcvmm::cli
