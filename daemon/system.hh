// How hpcd gets along with the system: rights, limits, the service manager.
#pragma once

#include <cstdint>
#include <string>

#include "hpcvmm/base/result.hh"

namespace hpcvmm::daemon {

/// Makes a folder and those above it.  False: errno says why.
bool make_folders(const std::string& path);

/// Gives up every capability but those that starting and ending remotes needs (CAP_SETUID, CAP_SETGID,
/// CAP_KILL), for good, and makes memory unreadable for others (it holds the cluster key).  Not root: nothing
/// to give up. Errors: those of capset(2), prctl(2).
Status drop_rights();
/// Descriptors: as many as we may.
void raise_limits();
/// Runs before the node's programs: an hpcd that waits for a CPU holds up every page fault that goes through
/// it, and after two seconds the others take the node for lost.  Threads made later inherit it.  Not root:
/// nothing changes.
void take_precedence();
struct ThreadTimes {
  std::uint64_t used_us = 0;    ///< of a CPU
  std::uint64_t waited_us = 0;  ///< runnable, for a CPU; 0 where the kernel does not count it
};
/// Of the calling thread, so far.  Source: Documentation/scheduler/sched-stats.rst, /proc/PID/schedstat.
ThreadTimes thread_times();
/// sd_notify(3): "READY=1", "STOPPING=1"; without $NOTIFY_SOCKET nothing.
void notify_service_manager(const char* state);

}  // namespace hpcvmm::daemon
