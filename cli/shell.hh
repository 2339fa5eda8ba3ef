// hpc-vmm shell: which shell, and how it is called.
#pragma once

#include <string>
#include <vector>

namespace hpcvmm::cli {

struct ShellProgram {
  std::string path;
  std::vector<std::string> argv;
};

/// What lets programs use the cluster that would else keep together: OpenMPI's ranks talk through memory of
/// their own machine, which keeps them there.  What the user has set stays.
void set_for_cluster(std::vector<std::string>& env);

/// $SHELL, else the one that the user database has, else /bin/sh.  Without a command it is a login shell:
/// argv[0] begins with "-".
ShellProgram shell_program(const std::vector<std::string>& env, const std::string& command, bool has_command);

/// Empty: an hpcd listens at this socket.  Else why not, with the remedy.
std::string no_cluster(const std::string& socket);

}  // namespace hpcvmm::cli
