// hpc-vmm sim: the simulator on the command line.
#pragma once

namespace hpcvmm::cli {

/// Runs `hpc-vmm sim ...`.  Returns its exit status, or -1 if the command line is another verb's.
int sim_main(int argc, char** argv);

}  // namespace hpcvmm::cli
