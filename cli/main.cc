// hpc-vmm: the command line.
#include <cstdlib>
#include <cstring>

#include "cli/cluster/cluster.hh"
#include "cli/man/dump.hh"
#include "cli/sim/sim.hh"
#include "cli/tools/tools.hh"
#include "cli/verbs.hh"
#include "vmm/deputy/launch.hh"
#include "vmm/deputy/share.hh"

namespace {

/// The two starts of a guest program, before the static constructors of CLI11 and libstdc++'s streams: those
/// cost 0.2 ms, and nothing of the VMM has any (tests/tidy/check_constructors.py).  Returns for every other
/// command.
void start_program(int argc, char** argv, char** envp) {
  // An exec inside a guest: this executable has executed itself.
  if (argc > 1 && std::strcmp(argv[0], hpcvmm::deputy::kExecMark) == 0)
    hpcvmm::deputy::continue_exec(argc, argv, envp);
  if (const int status = hpcvmm::cli::run_usual(argc, argv, envp); status >= 0) std::exit(status);
}

// libc calls what is here before any constructor.
[[gnu::section(".preinit_array"), gnu::used]] void (*const kStartProgram)(int, char**,
                                                                          char**) = start_program;

}  // namespace

int main(int argc, char** argv, char** envp) {
  // What an hpcd starts for a process that comes from another node.
  if ((argc == 2 || argc == 3) && std::strcmp(argv[1], "remote") == 0)
    hpcvmm::deputy::serve_remote(argc == 3 && std::strcmp(argv[2], "kvm") == 0);
  // What a process starts that shares memory with others (vmm/share).
  if (argc == 2 && std::strcmp(argv[1], "share") == 0) hpcvmm::deputy::serve_share();
  if (argc == 2 && std::strcmp(argv[1], "--dump-cli") == 0) return hpcvmm::cli::dump_cli();
  if (const int status = hpcvmm::cli::hand_over_to_tools(argc, argv); status >= 0) return status;
  if (const int status = hpcvmm::cli::cluster_main(argc, argv); status >= 0) return status;
  if (const int status = hpcvmm::cli::sim_main(argc, argv); status >= 0) return status;
  return hpcvmm::cli::run(argc, argv, envp);
}
