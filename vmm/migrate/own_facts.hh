// What this process reads, writes and holds open, for its hpcd: which may not look itself where it has given
// up root's rights (/proc/PID/io and /proc/PID/fd ask for the right to trace).
#pragma once

#include <cstdint>
#include <string_view>

#include "hpcvmm/wire/local.hh"

namespace hpcvmm::migrate {

/// Read and written so far, by whatever call.  Source: proc_pid_io(5).
struct OwnIo {
  std::uint64_t bytes = 0;
  std::uint64_t calls = 0;
};
/// Of /proc/PID/io's text.  Pure.
OwnIo parse_io(std::string_view text);
/// The inode in "pipe:[123]" and "socket:[123]"; 0: it is neither.  Pure.
std::uint64_t inode_in(std::string_view link);

/// Before the guest runs: two descriptors.  Without it the others tell nothing.
void keep_own_facts();
/// The mover's thread.  All 0 where /proc is not there.
OwnIo own_io();
/// Pipes, sockets and files of the guest's: of its first wire::local::kMostHeld descriptors.  The mover's
/// thread; about 2 us a descriptor.
void list_held(wire::local::Held& out);
/// In a fork child: what is kept open is the parent's.
void forget_own_facts();

}  // namespace hpcvmm::migrate
