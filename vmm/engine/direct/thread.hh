// What the direct engine keeps per host thread: the alternate signal stack and, on top of it, the
// ThreadBlock.
#pragma once

#include <array>
#include <csignal>
#include <cstddef>
#include <cstdint>

#include "hpcvmm/base/cpu.hh"
#include "hpcvmm/base/result.hh"
#include "vmm/engine/direct/direct.hh"
#include "vmm/engine/direct/fp_area.hh"
#include "vmm/engine/direct/host_call.hh"
#include "vmm/engine/direct/kernel_frame.hh"
#include "vmm/engine/direct/offsets.h"

namespace hpcvmm::engine::direct {

class DirectVcpu;

/// Lies directly above the alternate stack, where direct_signal_entry finds it from the frame's uc_stack.
struct ThreadBlock {
  std::uint32_t magic;
  std::uint32_t in_guest;   ///< 1 from the last steps of direct_enter until the way back has been taken
  std::uint64_t saved_rsp;  ///< VMM stack inside direct_enter
  std::uint64_t vmm_fs;
  std::uint64_t guest_fs;       ///< in: base to load; out: base found
  std::uint32_t guest_fs_sel;   ///< same for the selector
  std::uint32_t write_fs_base;  ///< 0: the base comes from the selector's descriptor
  std::uint8_t sigsys_blocked;  ///< the VMM's mask has SIGSYS, the guest was entered without it
  // from here on known to C++ only
  bool apply_mask;  ///< run() has to set exit_mask
  bool in_use;
  bool tls_known;  ///< tls[] is what this kernel thread's GDT holds
  bool held_valid;
  KernelSigset exit_mask;
  DirectVcpu* vcpu;  ///< the one inside run()
  std::array<std::uint64_t, kTlsCount> tls;
  siginfo_t held;                 ///< a SIGSYS that was sent while the guest's mask had it blocked
  std::uint64_t aborted_entries;  ///< signals that struck between the last check and the guest (for tests)
  ThreadBlock* next;              ///< list of all blocks, never shrinks
};
static_assert(offsetof(ThreadBlock, magic) == HPCVMM_BLK_MAGIC);
static_assert(offsetof(ThreadBlock, in_guest) == HPCVMM_BLK_IN_GUEST);
static_assert(offsetof(ThreadBlock, saved_rsp) == HPCVMM_BLK_SAVED_RSP);
static_assert(offsetof(ThreadBlock, vmm_fs) == HPCVMM_BLK_VMM_FS);
static_assert(offsetof(ThreadBlock, guest_fs) == HPCVMM_BLK_GUEST_FS);
static_assert(offsetof(ThreadBlock, guest_fs_sel) == HPCVMM_BLK_GUEST_FS_SEL);
static_assert(offsetof(ThreadBlock, write_fs_base) == HPCVMM_BLK_WRITE_FS_BASE);
static_assert(offsetof(ThreadBlock, sigsys_blocked) == HPCVMM_BLK_SIGSYS_BLOCKED);

/// Size of what the allocator is asked for per thread: guard page, alternate stack, block.
inline constexpr std::size_t kThreadBytes = 64 * 1024;
inline constexpr std::size_t kAltStackBytes = kThreadBytes - 2 * 4096;

/// Process-wide state.  The signal entry has no argument to carry it in, and dispositions are the process's
/// anyway.
struct Process {
  void* (*alloc)(std::size_t, std::size_t) = nullptr;
  FpLayout fp;
  bool engine_exists = false;
};
Process& process();

/// The calling thread's block, nullptr before it is attached.
ThreadBlock* this_thread();

/// Turns dispatch on for the calling thread: everything outside the zone, no selector byte.
Status arm_dispatch();

/// In a fork child: only the calling thread lives on; its block stays, all others become free.
void thread_after_fork();

/// FS or GS base of the calling thread: instruction or arch_prctl(2).
std::uint64_t read_fs_base();
std::uint64_t read_gs_base();
void write_gs_base(std::uint64_t base);

/// Installs the engine's entry for `signo` with `handler` (may be null: default action when the VMM itself
/// faults).
Status set_entry(int signo, unsigned long sa_flags, HostHandler handler);

/// Sets the host mask.
inline void set_mask(KernelSigset mask) {
  host_call(14 /* rt_sigprocmask */, SIG_SETMASK, word(&mask), 0, sizeof mask);
}
/// Sends `info` to the calling thread again, as it was.
void requeue(siginfo_t* info);

extern "C" {
extern std::uint8_t direct_have_fsgsbase;
extern const char direct_enter_begin[], direct_enter_end[];
int direct_enter(ThreadBlock* block, KernelUcontext* uc, const volatile std::uint32_t* stop);
void direct_signal_entry();
void direct_restorer();
/// Called by the entry code.  Returns 1 to leave direct_enter(), 0 to go back to what was interrupted.
int direct_on_signal(ThreadBlock* block, int signo, siginfo_t* info, KernelUcontext* uc, int guest);
}

}  // namespace hpcvmm::engine::direct
