// hpc-vmm sim: the simulator on the command line.
#pragma once

#include <functional>

namespace CLI {
class App;
}

namespace hpcvmm::cli {

/// Runs `hpc-vmm sim ...`.  Returns its exit status, or -1 if the command line is another verb's.
int sim_main(int argc, char** argv);

/// Shows `with` this verb, as CLI11 parses it.
void describe_sim(const std::function<void(const CLI::App&)>& with);

}  // namespace hpcvmm::cli
