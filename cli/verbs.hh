// The verbs of hpc-vmm.
#pragma once

#include <functional>

namespace CLI {
class App;
}

namespace hpcvmm::cli {

/// The usual command line of `launch`, which needs no parser.  Runs before static constructors: nothing on
/// the way from here into the guest may need one.  Returns -1 for every other command line, an exit status if
/// it fails.
int run_usual(int argc, char** argv, char** envp);

/// Parses the command line and runs one verb.  Returns the exit status; `launch` returns only if it fails.
int run(int argc, char** argv, char** envp);

/// Shows `with` the verbs that run() knows, as CLI11 parses them.
void describe_run(const std::function<void(const CLI::App&)>& with);

}  // namespace hpcvmm::cli
