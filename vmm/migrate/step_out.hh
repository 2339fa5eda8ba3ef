// Out of the host's vDSO before a move: it lies elsewhere, and may be another, on the next node.
#pragma once

#include "vmm/engine/engine.hh"

namespace hpcvmm::migrate {

/// Runs on, an instruction at a time (a few dozen), until the guest is outside [begin, end).  Returns
/// Interrupted, or the exit that came instead.  Threads: the vCPU's.
engine::Exit step_out(engine::Vcpu& vcpu, std::uint64_t begin, std::uint64_t end);

}  // namespace hpcvmm::migrate
