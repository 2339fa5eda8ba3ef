// Raw system calls of the direct engine: glibc's wrappers touch errno (behind FS) and hide rt_sigaction's
// restorer.
#pragma once

#include <cstdint>

namespace hpcvmm::engine::direct {

/// Issues 64-bit system call `nr`; returns the kernel's result, -errno on failure.  Async-signal-safe.
inline std::int64_t host_call(std::uint64_t nr, std::uint64_t a = 0, std::uint64_t b = 0, std::uint64_t c = 0,
                              std::uint64_t d = 0, std::uint64_t e = 0, std::uint64_t f = 0) {
  std::int64_t result = static_cast<std::int64_t>(nr);
  register std::uint64_t r10 asm("r10") = d;
  register std::uint64_t r8 asm("r8") = e;
  register std::uint64_t r9 asm("r9") = f;
  asm volatile("syscall"
               : "+a"(result)
               : "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
               : "rcx", "r11", "memory");
  return result;
}

/// A pointer as a system-call argument.
inline std::uint64_t word(const volatile void* p) { return reinterpret_cast<std::uint64_t>(p); }

/// The kernel's signal set: 64 bits, not glibc's 1024.
using KernelSigset = std::uint64_t;
constexpr KernelSigset sig_bit(int signo) { return KernelSigset{1} << (signo - 1); }

}  // namespace hpcvmm::engine::direct
