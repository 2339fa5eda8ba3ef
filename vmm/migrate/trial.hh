// What tests may do to moves: hold one at a point of its life, and begin one at every system call.
//
// Both are off unless the environment asks for them when the executable starts; then a call here costs one
// load.  The program sees the variables, too, and passes them on to its children.
#pragma once

#include <cstdint>

namespace hpcvmm::migrate::trial {

namespace detail {
extern bool holding;               // NOLINT: false in all but tests; written by read_environment() alone
extern std::uint32_t first_calls;  // NOLINT
void announce(const char* point);
}  // namespace detail

/// Takes the variables below.  Once, before there is a second thread and before the environment's memory is
/// the guest's.
void read_environment();

/// $HPCVMM_HOLD is the path of a Unix stream socket.  At each point the thread connects to it, writes a line
/// "POINT PID" and waits there, with the locks it has, until the other end writes or closes.  Nobody listens:
/// it goes on.  README.md, "Trials", lists the points.  Threads: any; signals do not end the wait.
inline void hold(const char* point) {
  if (detail::holding) detail::announce(point);
}

/// $HPCVMM_MOVE_AT_CALLS: at each of so many first system calls the process is moved before the call; 0: off.
inline std::uint32_t first_calls() { return detail::first_calls; }

}  // namespace hpcvmm::migrate::trial
