// Where the loop, the calls and the signals meet the debugger (vmm/gdb).  A task without `debug` pays one
// comparison.
#pragma once

#include <csignal>

#include "vmm/deputy/task.hh"

namespace hpcvmm::deputy {

/// Waits for gdb as the options say, with `t` before its first instruction.  Ends the process when nobody can
/// connect.
void debug_start(Task& t, std::uint64_t auxv, std::uint64_t auxv_bytes);
/// True once debug_start() has run in this process, and in what it forks: signals without a handler come to
/// the deputy too, so that gdb can hear of them.
bool debug_signals();

/// A new thread of a debugged process, on that thread; and its end.
void debug_attach(Task& t, const gdb::Thread& creator);
void debug_detach(Task& t);

// The rest only for tasks with `debug`.

/// The recorded signal is to be reported.  False: it has been dropped, or exchanged; look again.
bool debug_signal(Task& t);
/// The same for a fault.  False: nothing is to be raised now.
bool debug_fault(Task& t, const siginfo_t& info, bool breakpoint);
/// False: do not run guest code yet, look for a recorded signal first.
bool debug_before_run(Task& t);
/// False: the exit is not the deputy's to serve.
bool debug_after_run(Task& t, const engine::Exit& e);
void debug_handler_entered(Task& t);
void debug_end(Task& t, int status, int signo);

/// In the child: the task has no debugger any more.
void debug_after_fork_child(Task& t);

}  // namespace hpcvmm::deputy
