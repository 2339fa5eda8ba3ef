// A guest for the tests of the direct engine: code at 0x10000000, data, and a small deputy that answers
// getppid.
#pragma once

#include <csignal>
#include <cstdint>
#include <memory>
#include <vector>

#include "hpcvmm/base/cpu.hh"
#include "vmm/engine/direct/direct.hh"
#include "vmm/engine/direct/host_call.hh"
#include "vmm/engine/direct/offsets.h"
#include "vmm/engine/engine.hh"

extern "C" {
extern const char guest_code_begin[], guest_code_end[];
extern const char g64_syscall[], g64_int80[], g64_call_loop[], g64_check_loop[], g64_zmm_loop[],
    g64_getppid_loop[];
extern const char g64_spin[], g64_divide[], g64_ud2[], g64_int3[], g64_hlt[], g64_read[], g64_write[],
    g64_jump[];
extern const char g32_syscall[], g32_call_loop[], g32_check_loop[], g32_getppid_loop[], g32_read[];
}

/// The check loop of 64-bit code compares YMM registers.
#define HPCVMM_NEEDS_AVX2() \
  if (!__builtin_cpu_supports("avx2")) GTEST_SKIP() << "this CPU has no AVX2"
#define HPCVMM_NEEDS_IA32() \
  if (compat_values().size() < 2) GTEST_SKIP() << "this kernel runs no 32-bit code"

namespace hpcvmm::engine::direct::test {

inline constexpr std::uint64_t kCode = 0x1000'0000;
inline constexpr std::uint64_t kData = 0x1001'0000;
inline constexpr std::uint64_t kStackTop = 0x1002'0000;
inline constexpr std::uint64_t kHole = 0x2000'0000;      // nothing is mapped there
inline constexpr std::uint64_t kReadOnly = 0x1003'0000;  // readable, not writable, not executable
inline constexpr std::uint64_t kDone = 0xfff;
inline constexpr std::uint32_t kFsWord = 0x1111'1111;
inline constexpr std::uint32_t kGsWord = 0x2222'2222;

inline std::uint64_t address_of(const char* label) {
  return kCode + static_cast<std::uint64_t>(label - guest_code_begin);
}
inline volatile std::uint64_t& data_word(std::uint64_t offset) {
  return *reinterpret_cast<volatile std::uint64_t*>(kData + offset);
}

/// The engine of the test process, made once.  Maps the guest's memory.
Engine& engine();

/// {false, true}, or {false} where the kernel has no IA32 emulation: what tests of both ABIs loop over.
const std::vector<bool>& compat_values();

/// Sets rip and, for 64-bit code, fs/gs base; for 32-bit code selectors and TLS entries.  Registers get the
/// values that the check loops expect, and `iterations` is stored for them.
void prepare(Vcpu& vcpu, const char* label, bool compat, std::uint64_t iterations);

// --- signals as a deputy records them: one per thread, everything blocked until it is consumed
struct Recorder {
  Vcpu* vcpu = nullptr;
  volatile bool full = false;
  siginfo_t info{};
  std::uint64_t recorded = 0;
  std::uint64_t overruns = 0;  // a second one came before the first was consumed: must stay 0
};
Recorder& recorder();  // of the calling thread
void record(int signo, siginfo_t* info, void* ucontext);
/// Consumes the recorded signal, if any, and sets the mask to `mask`.  Returns 1 if there was one.
unsigned consume(KernelSigset mask = 0);
KernelSigset current_mask();

struct Outcome {
  Exit exit;
  std::uint64_t syscalls = 0;
  std::uint64_t interrupts = 0;
  std::uint64_t consumed = 0;
};
/// Runs until something else than getppid/getpid or an interruption; consumes signals on the way.
/// `at_call` is called with the number of calls so far, before each is served.
Outcome run_guest(Vcpu& vcpu, KernelSigset mask = 0, void (*at_call)(std::uint64_t, Vcpu&) = nullptr);
/// True if the guest ended by system call kDone.
bool is_done(const Outcome& outcome, Vcpu& vcpu);

}  // namespace hpcvmm::engine::direct::test
