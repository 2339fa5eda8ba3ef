// The verbs that live in hpc-vmm-tools: ordinary, dynamically linked, because ncurses and FUSE are.
#pragma once

#include <string>
#include <vector>

namespace hpcvmm::cli {

/// Their names.  hpc-vmm hands them over; those of openMosix are programs of their own as well (links).
const std::vector<std::string>& tool_names();

/// In hpc-vmm: takes this process's place by hpc-vmm-tools if argv[1] is one of them.  Returns -1: it is not;
/// else an exit status after a message.
int hand_over_to_tools(int argc, char** argv);

}  // namespace hpcvmm::cli
