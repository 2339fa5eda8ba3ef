// Where the VMM lives in a deputy's address space.  Everything outside the zone is the guest's window.
#pragma once

#include <cstdint>

namespace hpcvmm {

inline constexpr std::uint64_t kPageSize = 4096;

/// The zone is the only part of the user address space that belongs to the VMM.  It lies where neither Linux
/// nor a sanitizer runtime places anything (PIE 0x55.., mmap and stack 0x7e../0x7f.., TSan 0x7b.., MSan app
/// 0x51..-0x60..). The executable is linked to kImageBase (cmake/fixed_image.cmake), so no stack limit,
/// personality or ASLR setting can put the VMM into the window; nothing has to be re-executed to get it
/// there.
inline constexpr std::uint64_t kZoneBegin = 0x6a00'0000'0000;
inline constexpr std::uint64_t kImageBase =
    0x6a80'0000'0000;  // 512 GiB of guard below: no checked buffer spans it
inline constexpr std::uint64_t kArenaBegin =
    0x6a90'0000'0000;  // VMM heap, stacks, kvm_run pages, guest page tables
inline constexpr std::uint64_t kArenaEnd = 0x6aa0'0000'0000;
inline constexpr std::uint64_t kZoneEnd = 0x6b00'0000'0000;

/// End of the user half of the address space (47 bits, last page excluded, as TASK_SIZE_MAX on x86-64).
inline constexpr std::uint64_t kTaskSize64 = 0x7fff'ffff'f000;
/// End of an IA32 task's address space on a 64-bit kernel (IA32_PAGE_OFFSET).
inline constexpr std::uint64_t kTaskSize32 = 0xffff'e000;

constexpr std::uint64_t page_down(std::uint64_t a) { return a & ~(kPageSize - 1); }
constexpr std::uint64_t page_up(std::uint64_t a) { return (a + kPageSize - 1) & ~(kPageSize - 1); }

/// True if [begin, begin+bytes) touches the zone or wraps.
constexpr bool touches_zone(std::uint64_t begin, std::uint64_t bytes) {
  if (begin + bytes < begin) return true;
  return begin < kZoneEnd && begin + (bytes != 0 ? bytes : 1) > kZoneBegin;
}

}  // namespace hpcvmm
