// hpc-vmm: the command line.
#include <cstring>

#include "cli/cluster/cluster.hh"
#include "cli/man/dump.hh"
#include "cli/sim/sim.hh"
#include "cli/tools/tools.hh"
#include "cli/verbs.hh"
#include "vmm/deputy/launch.hh"
#include "vmm/deputy/share.hh"

int main(int argc, char** argv, char** envp) {
  // An exec inside a guest: this executable has executed itself.  First, because nothing may be slow or noisy
  // then.
  if (argc > 1 && std::strcmp(argv[0], hpcvmm::deputy::kExecMark) == 0)
    hpcvmm::deputy::continue_exec(argc, argv, envp);
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
