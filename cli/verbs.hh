// The verbs of hpc-vmm.
#pragma once

namespace hpcvmm::cli {

/// Parses the command line and runs one verb.  Returns the exit status; `launch` returns only if it fails.
int run(int argc, char** argv, char** envp);

}  // namespace hpcvmm::cli
