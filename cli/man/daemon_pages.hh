// What is told about hpcd and its configuration file: from what it parses itself.
#pragma once

#include <vector>

#include "cli/man/page.hh"

namespace hpcvmm::cli {

/// hpcd(8) and hpc-vmm.toml(5).
std::vector<Page> daemon_pages();

}  // namespace hpcvmm::cli
