// The CPU state of one guest thread, as every part of the VMM sees it: engines fill it, the system-call layer
// reads it, signal frames are built from it, a migration carries it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace hpcvmm {

/// Which system-call ABI an *entry* used.  It belongs to the entry, not to the process: `int $0x80` in a
/// 64-bit program means Ia32, as on Linux.
enum class Abi : std::uint8_t { X64, Ia32 };

/// Selectors of guest user code.  They equal Linux's own, so that programs which look (and signal frames)
/// agree.
inline constexpr std::uint16_t kUserCs32 = 0x23;
inline constexpr std::uint16_t kUserDs = 0x2b;
inline constexpr std::uint16_t kUserCs64 = 0x33;
/// First GDT index of the three TLS entries of set_thread_area(2) (GDT_ENTRY_TLS_MIN of a 64-bit kernel).
inline constexpr unsigned kTlsFirst = 12;
inline constexpr unsigned kTlsCount = 3;

struct GuestRegs {
  std::uint64_t rax, rbx, rcx, rdx, rsi, rdi, rbp, rsp;
  std::uint64_t r8, r9, r10, r11, r12, r13, r14, r15;
  std::uint64_t rip, rflags;
  std::uint64_t fs_base, gs_base;
  std::uint16_t cs, ss, ds, es, fs, gs;

  /// True while the thread executes 32-bit code (compatibility mode).
  [[nodiscard]] bool is_compat() const { return cs == kUserCs32; }
};

/// x87/SSE/AVX/AVX-512 state in the standard (not compacted) XSAVE layout of the Intel SDM vol. 1, 13.4.
/// `bytes` is what XCR0 of this host makes of it (CPUID 0xD.0:EBX); the rest of `area` is unused.
struct FpState {
  static constexpr std::size_t kMaxBytes =
      4096;  // AVX-512 + PKRU: 2696; AMX (8 KiB) is not offered to guests
  alignas(64) std::array<std::byte, kMaxBytes> area{};
  std::uint32_t bytes = 0;
};

}  // namespace hpcvmm
