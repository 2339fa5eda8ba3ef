// What the host's /proc says of the process: its name, command line, environment, auxiliary vector.
#pragma once

#include "vmm/load/loader.hh"
#include "vmm/load/stack.hh"
#include "vmm/mem/mm.hh"

namespace hpcvmm::deputy {

/// From here on /proc/PID/{comm,cmdline,environ,auxv,stat} and the [heap] and [stack] of maps are the
/// guest's, for everybody who looks.  `execfn`: the path that was executed.  Once, before the guest runs.
/// Source: prctl(2), PR_SET_MM_MAP; needs CONFIG_CHECKPOINT_RESTORE, no privilege.
void set_names(const char* execfn, const load::Loaded& loaded, const load::StackImage& stack, mem::Mm& mm);

/// The kernel reads the command line and the environment from the guest's stack, and does not wait for a page
/// that is on another node.  So while the process is away they are a copy in the zone, of how they were when
/// it left.  Both: with the guest stopped, or its stack here.
void show_copied_names();
void show_own_names();

}  // namespace hpcvmm::deputy
