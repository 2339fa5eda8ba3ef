// The mount of openMosix's file tree that belongs to a node: /run/hpc-vmm/N/proc, served by hpc-vmm procfs.
#pragma once

#include <string>

#include "cli/cluster/names.hh"

namespace hpcvmm::cli {

/// Mounts it and waits until it answers.  Empty: done, or this machine has no FUSE; else why not.
std::string mount_tree(const Names& names, unsigned node);
/// Unmounts it, whether its server lives or not, and ends the server.  Not there: nothing.
void unmount_tree(const Names& names, unsigned node);

}  // namespace hpcvmm::cli
