// What the deputy keeps of the host: its own descriptors, the gate for the system-call layer, its way of
// dying.
#pragma once

#include <sys/resource.h>

#include <csignal>
#include <cstdint>

#include "vmm/deputy/task.hh"
#include "vmm/sys/host_gate.hh"

namespace hpcvmm::deputy {

const sys::HostGate& host_gate();

// The VMM's descriptors live above the guest's soft limit (or, where that is large, high up), so that the
// guest's numbers are Linux's.  Naming one is EBADF for the guest.  Threads: any.

/// Moves `fd` there, close-on-exec.  Returns the new number (also stored in `owner`, which is told when the
/// descriptor moves again), or `fd` itself if there is no room.
int hide_fd(int fd, int* owner = nullptr);
/// Moves `fd` there without hiding it: for one that no guest code can see before it is gone.  Errors: as
/// hide_fd.
int raise_fd(int fd);
/// Closes a hidden descriptor; its number is the guest's again.  -1 is allowed.
void close_hidden(int fd);
bool is_hidden(int fd);
/// The guest wants this very number: moves ours away.  False if it cannot.
bool move_hidden(int fd);
/// Descriptor numbers that the guest must not see, ascending; returns how many (at most `room`).
unsigned hidden_fds(int* out, unsigned room);

/// Tells `owner`, which holds the number of a hidden descriptor, when that moves.
void track_fd(int* owner);

/// While it lives, the VMM can open a descriptor although the guest has used up its soft limit.
class FdRoom {
 public:
  FdRoom();
  FdRoom(const FdRoom&) = delete;
  FdRoom& operator=(const FdRoom&) = delete;
  ~FdRoom();

 private:
  rlimit before_{};
};

/// A fault of the VMM itself: says where, and ends the process.  Async-signal-safe.
[[noreturn]] void die_of_own_fault(int signo, const siginfo_t* info, std::uint64_t rip);
/// The vCPU cannot go on: message naming the reason, then as killed.
[[noreturn]] void die_broken(Task& t, const engine::Exit& exit);
/// Writes a message to stderr's original descriptor without stdio.
void say(const char* format, ...) __attribute__((format(printf, 1, 2)));

/// Writes the `--json` summary of this process, if one was asked for.
void end_summary(Task& t, int status, int signo);

}  // namespace hpcvmm::deputy
