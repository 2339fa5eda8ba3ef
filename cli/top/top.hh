// hpc-vmm top and hpc-vmm mon, and the same by their old names mtop and mosmon.
#pragma once

#include "cli/man/page.hh"

namespace hpcvmm::cli {

/// `argv[0]` is the name it was called by.  Exit status: 0, 1 after a message, 125 wrong usage.
int top_main(int argc, char** argv);
int mon_main(int argc, char** argv);
Page top_page(const std::string& name);
Page mon_page(const std::string& name);

}  // namespace hpcvmm::cli
