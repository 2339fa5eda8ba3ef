// The one assembler gate through which host calls are issued for a guest, so that no signal is lost against a
// blocking call.
#pragma once

#include <cstdint>

#include "vmm/sys/row.hh"

namespace hpcvmm::sys {

/// Issues a 64-bit / an IA32 call on this thread unless `*pending` is not 0.  When it is, or a signal whose
/// handler calls leave_gate() arrives before the call has had an effect, or Linux would restart the call
/// behind such a handler, the result is SysRet::restart().
SysRet gated_call64(std::uint64_t nr, const Args& args, const volatile int& pending);
SysRet gated_call32(std::uint64_t nr, const Args& args, const volatile int& pending);

/// For a signal handler that has made `*pending` not 0: where a thread interrupted at `rip` must continue so
/// that the call is not (again) issued.  Returns `rip` when it is not in the gate, or behind the call
/// instruction.  `rax` is the interrupted context's; it may be changed.  Async-signal-safe.
std::uint64_t leave_gate(std::uint64_t rip, std::uint64_t& rax);

}  // namespace hpcvmm::sys
