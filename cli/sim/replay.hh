// hpc-vmm sim replay: decisions that a live node has recorded, decided again.
#pragma once

#include <string>

namespace hpcvmm::cli {

/// Prints what `file` (hpc-vmm ctl record=FILE writes it) holds and where the present code decides otherwise.
/// Exit status: 0 nowhere; 1 somewhere, or the file cannot be read.
int replay(const std::string& file, bool json);

}  // namespace hpcvmm::cli
