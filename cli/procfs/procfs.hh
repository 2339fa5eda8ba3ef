// hpc-vmm procfs MOUNTPOINT: openMosix's /proc/hpc as a file system of this host (FUSE).
#pragma once

#include "cli/man/page.hh"

namespace hpcvmm::cli {

int procfs_main(int argc, char** argv);
Page procfs_page();

}  // namespace hpcvmm::cli
