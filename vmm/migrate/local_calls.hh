// Calls that a remote makes on its own node: those that touch nothing but the process's memory and the clock.
#pragma once

#include <cstdint>

#include "hpcvmm/base/cpu.hh"
#include "vmm/sys/row.hh"

namespace hpcvmm::migrate {

class Remote;
class Runner;

enum class LocalCall : std::uint8_t {
  Home,         ///< not such a call, or somebody at home is concerned: nothing has happened
  Done,         ///< the result is in the registers
  InWait,       ///< a kick has interrupted it while it waited: rip is at the call again
  InTimedWait,  ///< the same for a wait with a limit, which Linux does not restart behind a handler
};

/// Makes the call whose exit left these registers, if it is one for this node: own ids, time, yielding, and
/// private futexes.  Every thread of the process that runs guest code is on this node, so waiters and wakers
/// meet in its kernel; those that wait in calls at home are woken there (Msg::Waits, Msg::Wake).  Waits with
/// a relative limit go home: the kernel there can restart one for the time that is left. Blocks as long as
/// the call does, until `runner` is kicked.  Threads: the runner's own. Source: futex(2),
/// FUTEX_WAKE_OP(2const).
LocalCall call_here(GuestRegs& regs, Abi abi, Runner& runner, Remote& remote);

/// Whether the call with this number is one that call_here() makes, whatever its arguments.  Pure.
bool is_local_call(Abi abi, std::uint64_t number);

}  // namespace hpcvmm::migrate
