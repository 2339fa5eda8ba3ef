// The FP part of signal frames, shared by both ABIs.  Private to sigframe*.cc.
#pragma once

#include <cstdint>

#include "hpcvmm/base/cpu.hh"
#include "vmm/sys/host_gate.hh"
#include "vmm/sys/sigframe.hh"

namespace hpcvmm::sys::detail {

/// EFLAGS bits that sigreturn takes from the frame: AC RF OF DF TF SF ZF AF PF CF.
inline constexpr std::uint64_t kRestorableFlags = 0x50dd5;
/// EFLAGS bits that are clear in a handler: DF RF TF.
inline constexpr std::uint64_t kHandlerClears = 0x10500;

/// Where a frame goes: `fpstate` is the address for the sigcontext, `fx` that of the FXSAVE image
/// (64-aligned).
struct Place {
  std::uint64_t frame, fpstate, fx;
};

/// Chooses the stack and cuts the frame and the FP area out of it.  False: the alternate stack would
/// overflow.
bool place_frame(const GuestRegs& regs, const FpState& fp, const Delivery& d, std::uint64_t frame_bytes,
                 bool ia32, Place& place);

/// Writes the FP area (and for IA32 the FSAVE header with `regs`' cs and ds).  False: EFAULT.
bool push_fp(const GuestRegs& regs, const FpState& fp, const Place& place, bool ia32, const HostGate& gate);

/// Reads the FP area at `fpstate` (0: initial state).  False: refused; `fp` is then the initial state.
bool pop_fp(FpState& fp, std::uint64_t fpstate, bool ia32, const HostGate& gate);

/// True if the FP area is an XSAVE area rather than a bare FXSAVE image (hosts without XSAVE).
inline bool has_xsave(const FpState& fp) { return fp.bytes >= 576; }

/// A signal mask from a frame, without SIGKILL and SIGSTOP.
inline std::uint64_t blockable(std::uint64_t mask) {
  return mask & ~(1ULL << (SIGKILL - 1) | 1ULL << (SIGSTOP - 1));
}

bool push_x64(GuestRegs& regs, const FpState& fp, const Delivery& d, const HostGate& gate);
bool push_ia32(GuestRegs& regs, const FpState& fp, const Delivery& d, const HostGate& gate);
bool pop_x64(GuestRegs& regs, FpState& fp, std::uint64_t& mask, AltStack& altstack, const HostGate& gate);
bool pop_ia32(GuestRegs& regs, FpState& fp, std::uint64_t& mask, AltStack& altstack, bool rt,
              const HostGate& gate);

}  // namespace hpcvmm::sys::detail
