// The guests' vDSO images and the host's own vDSO behind them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "hpcvmm/abi/vdso.h"
#include "hpcvmm/base/result.hh"

namespace hpcvmm::vdso {

/// Whole pages, to be copied to a guest address A (page aligned, A = AT_SYSINFO_EHDR) and mapped R+X; the
/// table page goes to A - HPCVMM_VDSO_TABLE_BYTES, mapped R.
std::span<const std::byte> image64();
std::span<const std::byte> image32();

/// Offsets from the image's start.
struct Symbols64 {
  std::uint32_t clock_gettime, gettimeofday, time, getcpu, clock_getres;
};
struct Symbols32 {
  std::uint32_t kernel_vsyscall;  ///< AT_SYSINFO = image + this
  std::uint32_t kernel_sigreturn, kernel_rt_sigreturn;
  std::uint32_t clock_gettime, gettimeofday, time, clock_getres, clock_gettime64;
};
/// Read from the embedded images at the first call.  Threads: any.
const Symbols64& symbols64();
const Symbols32& symbols32();

/// Guest's clock minus this node's, in nanoseconds, by clock.  All 0: they are the same.
struct ClockOffsets {
  std::int64_t realtime = 0, monotonic = 0, monotonic_raw = 0, boottime = 0, tai = 0;
  /// Of a clock's id (clock_gettime(2)); 0 for clocks that are not a node's.
  [[nodiscard]] std::int64_t of(std::uint32_t clock) const;
  [[nodiscard]] bool any() const { return (realtime | monotonic | monotonic_raw | boottime | tai) != 0; }
};

/// The vDSO the host kernel gave this process.  Addresses are 0 where it has none.
struct HostVdso {
  std::uint64_t base = 0, bytes = 0;             ///< the code, AT_SYSINFO_EHDR
  std::uint64_t range_begin = 0, range_end = 0;  ///< [vvar], [vvar_vclock] and [vdso] as one contiguous range
  std::uint64_t clock_gettime = 0, gettimeofday = 0, time = 0, getcpu = 0, clock_getres = 0;

  /// Fills a table page (writable now; map it read-only for the guest).  `vdso_delta` = guest address - host
  /// address of the mapped range.  getcpu stays 0, i.e. a system call: the host's reads a descriptor limit or
  /// TSC_AUX of the CPU it runs on, which in a micro-VM is not the host's and in a cluster is not the answer.
  void fill_table(void* page, std::uint64_t vdso_delta, const ClockOffsets& offsets = {}) const;
};

/// Finds it anew at each call (a fork child may have moved nothing, an exec has).
/// Errors:  ENOENT no AT_SYSINFO_EHDR (vdso=0 on the kernel command line): leave the table empty, clocks then
/// cost
///          a system call; ENOEXEC it is not an image we can read; errors of opening /proc/self/maps.
/// Threads: any; allocates nothing.
Result<HostVdso> host_vdso();

/// A table without entries: every function issues its system call.  For IA32 guests and hosts without a vDSO.
void fill_empty_table(void* page);

}  // namespace hpcvmm::vdso
