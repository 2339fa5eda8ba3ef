// From `hpc-vmm launch` (or an exec inside a guest) to the first guest instruction.
#pragma once

#include <string>
#include <vector>

#include "hpcvmm/wire/local.hh"
#include "vmm/deputy/exec.hh"

namespace hpcvmm::deputy {

struct LaunchRequest {
  Options options;
  load::ExecRequest program;
  std::vector<std::string> env;
  wire::local::Settings settings{};  ///< for the balancer, from the first instruction on
};

/// Turns this process into the program's deputy.  Returns only if the program cannot be started: an exit
/// status by the convention of env(1): 125 hpc-vmm failed, 126 cannot be executed, 127 not found; the message
/// has been printed. Threads: the only one.
int launch(LaunchRequest request);

/// The new image's half of execve: `argv` as execute() made it.  Does not return.
[[noreturn]] void continue_exec(int argc, char** argv, char** envp);

/// The remote of a process whose home is another node (vmm/migrate/remote.hh); an hpcd starts it.
/// `prepare_kvm`: it is likely to become one of the kvm engine.
[[noreturn]] void serve_remote(bool prepare_kvm);

/// The hidden descriptors of /dev/kvm (-1: none), of hpcd's socket (-1: no cluster) and of this executable.
int kvm_fd();
int cluster_fd();
int self_fd();

}  // namespace hpcvmm::deputy
