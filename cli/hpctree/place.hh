// Where a path of the tree leads.
#pragma once

#include "cli/hpctree/tree.hh"

namespace hpcvmm::hpctree {

struct Tree::Place {
  enum class Area : std::uint8_t { None, Root, Hpc, Admin, Decay, Nodes, Node, Remote, Processes, Process };
  Area area = Area::None;
  Entry::Kind kind = Entry::Kind::None;
  std::string name;      ///< of a file
  unsigned long id = 0;  ///< of a node or process
  unsigned mode = 0;
};

}  // namespace hpcvmm::hpctree
