// The verbs of hpc-vmm.
#pragma once

#include <functional>

namespace CLI {
class App;
}

namespace hpcvmm::cli {

/// Parses the command line and runs one verb.  Returns the exit status; `launch` returns only if it fails.
int run(int argc, char** argv, char** envp);

/// Shows `with` the verbs that run() knows, as CLI11 parses them.
void describe_run(const std::function<void(const CLI::App&)>& with);

}  // namespace hpcvmm::cli
