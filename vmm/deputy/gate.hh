// The one place where the deputy issues host calls for the guest, so that no signal is lost against a
// blocking call.
#pragma once

#include <cstdint>

#include "vmm/sys/row.hh"

namespace hpcvmm::deputy {

/// Issues a 64-bit / an IA32 call for the guest on this thread.  When a signal for the guest is already
/// recorded, or arrives before the call has had an effect, or Linux would restart the call behind it, the
/// result is SysRet::restart().  A guest call uses the gate at most once, as its last step: what came before
/// must be repeatable.
sys::SysRet gate64(std::uint64_t nr, const sys::Args& args);
sys::SysRet gate32(std::uint64_t nr, const sys::Args& args);

/// A host call of the VMM's own: not interruptible by design, errno untouched.  Returns the raw kernel
/// result.
std::int64_t raw_call(long nr, std::uint64_t a = 0, std::uint64_t b = 0, std::uint64_t c = 0,
                      std::uint64_t d = 0, std::uint64_t e = 0, std::uint64_t f = 0);
template <class T> std::uint64_t word(T* p) { return reinterpret_cast<std::uint64_t>(p); }
inline std::uint64_t word(int v) { return static_cast<std::uint64_t>(static_cast<std::int64_t>(v)); }

}  // namespace hpcvmm::deputy
