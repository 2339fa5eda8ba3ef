// Guest core files.
#pragma once

#include <csignal>

#include "vmm/deputy/task.hh"

namespace hpcvmm::deputy {

/// Ends the process by `info`'s signal.  Where Linux writes a core file (signal, rlimit, pattern), the host
/// kernel writes it for us: the thread returns to the *guest's* registers with the fatal signal already
/// queued, so the kernel dumps exactly those registers and the window, without one guest instruction being
/// executed.  The VMM's memory is marked MADV_DONTDUMP.
[[noreturn]] void die_with_core(Task& t, const siginfo_t& info);

}  // namespace hpcvmm::deputy
