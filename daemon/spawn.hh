// Starting a remote: the process that runs a foreign guest here.
#pragma once

#include <sched.h>
#include <sys/types.h>

#include <string>
#include <variant>
#include <vector>

#include "daemon/config.hh"
#include "hpcvmm/base/result.hh"
#include "hpcvmm/base/unique_fd.hh"
#include "hpcvmm/wire/local.hh"

namespace hpcvmm::daemon {

/// What every remote of this node gets; opened once, while we may.
struct RemoteKit {
  UniqueFd executable;
  UniqueFd kvm;                          ///< /dev/kvm, or none
  UniqueFd userfaultfd;                  ///< /dev/userfaultfd, or none
  std::vector<UniqueFd> groups;          ///< cgroup.procs of the node's control group, where it has limits
  std::vector<std::string> group_names;  ///< as /proc/PID/cgroup shows them, one for each
  uid_t uid = 0;                         ///< 0: as we are
  gid_t gid = 0;
  unsigned spares = 0;  ///< most that are kept ready, of an engine
  cpu_set_t cpus{};     ///< the DPDK library pins threads; remotes are not to inherit that
  bool bound = false;   ///< the node has one processor of its machine's for itself
};

/// Refuses: no such executable or user.
std::variant<RemoteKit, Refusal> make_remote_kit(const Config& config);

/// Puts a process and its threads into the control groups of the node, unless it is there already; what it
/// forks follows. Empty: done, or there are none; else why not.  A process that has ended is no error.
std::string join_groups(const RemoteKit& kit, pid_t pid);

struct SpawnedRemote {
  UniqueFd socket;   ///< our end of its descriptor 3
  UniqueFd process;  ///< pidfd
  pid_t pid = 0;
};

/// Starts `hpc-vmm remote ENGINE`: descriptors 0 and 1 /dev/null, 2 ours, 3 the socket, 4 /dev/kvm, 5
/// /dev/userfaultfd (closed where there is none), nothing else; a clean environment; without capabilities or
/// ways to get any; dies with us. Errors: those of socketpair, clone; what failed in the child until exec.
/// Threads: the one that ends last, for PR_SET_PDEATHSIG is the thread's.
Result<SpawnedRemote> spawn_remote(const RemoteKit& kit, wire::local::EngineKind engine);

}  // namespace hpcvmm::daemon
