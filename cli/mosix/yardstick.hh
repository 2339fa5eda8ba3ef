// The speed of the CPU whose work is load 1: mosctl setyard.  A matter of what a node shows, not of
// balancing.
#pragma once

#include <string>

#include "cli/cluster/names.hh"

namespace hpcvmm::cli {

/// 1: the reference CPU, where nobody has said anything.
double read_yardstick(const Names& names, unsigned node);
/// Empty: done; else why not.
std::string write_yardstick(const Names& names, unsigned node, double speed);

}  // namespace hpcvmm::cli
