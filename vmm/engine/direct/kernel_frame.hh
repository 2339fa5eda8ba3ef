// The x86-64 signal frame, as the kernel lays it out.  A vCPU's state while stopped *is* such a frame,
// because rt_sigreturn(2) from it is how the guest is entered.  Source:
// arch/x86/include/uapi/asm/{ucontext,sigcontext}.h.
#pragma once

#include <array>
#include <csignal>
#include <cstddef>
#include <cstdint>

#include "hpcvmm/base/cpu.hh"
#include "vmm/engine/direct/host_call.hh"
#include "vmm/engine/direct/offsets.h"

namespace hpcvmm::engine::direct {

inline constexpr std::uint64_t kUcFpXstate = 1;         // fpstate is an XSAVE area, not only FXSAVE
inline constexpr std::uint64_t kUcSigcontextSs = 2;     // ss in the frame is meaningful
inline constexpr std::uint64_t kUcStrictRestoreSs = 4;  // and must be restored as it is, for 32-bit code

struct KernelSigcontext {
  std::uint64_t r8, r9, r10, r11, r12, r13, r14, r15;
  std::uint64_t rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp;
  std::uint64_t rip, rflags;
  std::uint16_t cs, gs, fs, ss;  // gs and fs are written as 0 and ignored on return
  std::uint64_t err, trapno, oldmask, cr2;
  std::byte* fpstate;
  std::array<std::uint64_t, 8> reserved;
};

struct KernelUcontext {
  std::uint64_t flags;
  void* link;
  stack_t stack;
  KernelSigcontext mc;
  KernelSigset sigmask;
};

static_assert(offsetof(KernelUcontext, stack) == HPCVMM_UC_STACK_SP);
static_assert(offsetof(KernelUcontext, stack.ss_size) == HPCVMM_UC_STACK_SIZE);
static_assert(offsetof(KernelUcontext, mc.rip) == HPCVMM_UC_RIP);
static_assert(offsetof(KernelUcontext, mc.cs) == HPCVMM_UC_CS);
static_assert(offsetof(KernelUcontext, sigmask) == HPCVMM_UC_SIGMASK);

/// What rt_sigreturn(2) reads: RSP points at `uc` when it is issued.
struct GuestFrame {
  std::uint64_t return_address;
  KernelUcontext uc;
  std::array<std::byte, 128> info;  // the kernel checks that it is readable memory, no more
  /// FXSAVE area, XSAVE header and extended state, then the 4-byte end mark.
  alignas(64) std::array<std::byte, FpState::kMaxBytes + 64> fp;
};

}  // namespace hpcvmm::engine::direct
