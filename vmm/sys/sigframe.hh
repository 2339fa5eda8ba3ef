// Signal frames: exactly the bytes that Linux puts on a program's stack for a handler, and the way back.
//
// The host kernel delivers a signal to the deputy; the guest's handler must find the frame that a kernel
// would have built from the *guest's* registers.  Compared with the running kernel byte by byte in
// sigframe_test.cc. Source: Linux 6.18 arch/x86/kernel/{signal,signal_64,signal_32}.c and
// arch/x86/kernel/fpu/signal.c.
#pragma once

#include <csignal>
#include <cstdint>

#include "hpcvmm/base/cpu.hh"
#include "vmm/sys/host_gate.hh"

namespace hpcvmm::sys {

/// The guest thread's sigaltstack(2) as Linux keeps it: `flags` is what was set (SS_DISABLE in a fresh
/// process).
struct AltStack {
  std::uint64_t sp = 0, size = 0;
  std::uint32_t flags = SS_DISABLE;
};

/// One signal on its way to a guest handler.
struct Delivery {
  int signo = 0;
  siginfo_t info{};
  std::uint64_t handler = 0, flags = 0, restorer = 0, mask = 0;  // of the guest's sigaction
  std::uint64_t old_mask = 0;                                    // stored in the frame
  std::uint64_t altstack_sp = 0, altstack_size = 0;              // as AltStack
  std::uint32_t altstack_flags = 0;
  std::uint64_t trapno = 0, error_code = 0,
                cr2 = 0;      // of the thread's last fault (Linux: thread.trap_nr ...)
  Abi action_abi = Abi::X64;  // ABI of the sigaction call: it decides the kind of frame
  std::uint64_t vdso_sigreturn = 0,
                vdso_rt_sigreturn = 0;  // IA32 __kernel_[rt_]sigreturn, 0 if there is no vDSO
};

/// Which call returns from the handler: rt_sigreturn of either ABI, or IA32 sigreturn.
enum class SigreturnKind : std::uint8_t { Rt64, Rt32, Old32 };

/// Makes `fp` the state of a fresh process (FNINIT, MXCSR 0x1f80, XSTATE_BV empty; with protection keys
/// Linux's default PKRU, which is not the CPU's).  Units: `bytes` as FpState::bytes, 512..FpState::kMaxBytes.
void init_fp(FpState& fp, std::uint32_t bytes);

/// True if `sp` is on the alternate stack in Linux's sense: never with SS_AUTODISARM.
bool on_altstack(const AltStack& stack, std::uint64_t sp);

/// ss_flags as sigaltstack(2) reports them to a thread whose stack pointer is `sp`.
std::uint32_t altstack_report(const AltStack& stack, std::uint64_t sp);

/// sigaltstack(2): sets `stack` for a thread whose stack pointer is `sp`.
/// Returns 0, or the guest errno: EPERM on the stack now, EINVAL flags, ENOMEM smaller than MINSIGSTKSZ
/// (2048).
int set_altstack(AltStack& stack, const AltStack& wanted, std::uint64_t sp);

/// Writes the frame for `d` and sets `regs` to the handler's first instruction.
///
/// `compat`: build an IA32 frame (a sigframe, or with SA_SIGINFO an rt_sigframe).  Linux decides by the ABI
/// of the *sigaction call*, not by the code that was interrupted: pass `d.action_abi == Abi::Ia32`, or use
/// the overload. The caller then does what Linux does after it: block d.mask (and signo without SA_NODEFER),
/// give the handler init_fp() state, with SS_AUTODISARM reset the AltStack to {0, 0, SS_DISABLE}, with
/// SA_RESETHAND reset the action, and load the segment bases, as ds/es/ss/cs changed for IA32. False: the
/// frame cannot be written (bad stack, alternate stack overflow, x86-64 without SA_RESTORER); `regs` is
/// unchanged and the caller forces SIGSEGV.  Threads: any; no allocation.
bool push_frame(GuestRegs& regs, const FpState& fp, const Delivery& d, bool compat, const HostGate& gate);
/// The same, with the kind of frame that Linux would choose.
bool push_frame(GuestRegs& regs, const FpState& fp, const Delivery& d, const HostGate& gate);

/// Undoes push_frame as rt_sigreturn(2)/sigreturn(2) do, trusting nothing in the frame: privileged flags stay
/// as they are, code and stack selectors get RPL 3, selectors of no user segment become 0, bad FP state is
/// refused.
///
/// Input: `regs` at the system call, `mask` and `altstack` the thread's present ones, fp.bytes.
/// `mask` never contains SIGKILL or SIGSTOP.  regs.rax is the interrupted code's: do not store a result over
/// it. cs and ss may still name segments that do not exist; Linux faults at IRET then, so the engine must
/// check them. fs/gs selectors may differ from before (IA32): the caller reloads those bases from the TLS
/// descriptors. False: bad frame, the caller forces SIGSEGV.  As on Linux, mask, altstack and regs are the
/// frame's already if those parts of it could be read; `fp` is then the initial state.  Threads: any; no
/// allocation.
bool pop_frame(GuestRegs& regs, FpState& fp, std::uint64_t& mask, AltStack& altstack, SigreturnKind kind,
               const HostGate& gate);

}  // namespace hpcvmm::sys
