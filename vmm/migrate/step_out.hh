// Out of the host's vDSO before a move: it lies elsewhere, and may be another, on the next node.
#pragma once

#include <cstdint>

#include "vmm/engine/engine.hh"

namespace hpcvmm::migrate {

/// Addresses where a guest holds on to the node: [begin, end).
struct CodeRange {
  std::uint64_t begin = 0, end = 0;
  [[nodiscard]] bool has(std::uint64_t at) const { return at >= begin && at < end; }
};

/// The code behind the table page of the guest's own vDSO.
CodeRange guest_vdso(std::uint64_t table);

/// Runs on, an instruction at a time (a few dozen), until the guest is outside both: the host's vDSO, and the
/// guest's, which may have read an address or an offset of this node.  Returns Interrupted, or the exit that
/// came instead.  Threads: the vCPU's.
engine::Exit step_out(engine::Vcpu& vcpu, const CodeRange& host_vdso, const CodeRange& guest_vdso);

}  // namespace hpcvmm::migrate
