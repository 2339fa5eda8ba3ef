// Addresses of the kvm engine's own pages in the guest's page tables, and of memory slots in guest-physical
// space.
#pragma once

#include <cstdint>

#include "hpcvmm/base/layout.hh"

namespace hpcvmm::engine::kvm {

// Guest-virtual, in the VMM's zone, so no guest mapping can ever be there.  In the lower half because a PVM
// host does not map kernel-half addresses for native code.
inline constexpr std::uint64_t kStubCode = kZoneBegin;                // LSTAR entry: user, read + execute
inline constexpr std::uint64_t kStubExceptions = kStubCode + 0x1000;  // supervisor
inline constexpr std::uint64_t kIdt = kStubCode + 0x2000;             // supervisor
inline constexpr std::uint64_t kHostVdso = kStubCode + 0x10'0000;  // host [vvar]+[vdso], user, read + execute
inline constexpr std::uint64_t kVcpuPages = kStubCode + 0x20'0000;  // one page a vCPU, supervisor
inline constexpr unsigned kMaxVcpus = 1024;

// One vCPU page: GDT, TSS with its I/O bitmap, and the stack that exceptions arrive on.
inline constexpr std::uint64_t kGdtOffset = 0x000;
inline constexpr std::uint64_t kGdtBytes = 0x80;
inline constexpr std::uint64_t kTssOffset = 0x100;
inline constexpr std::uint64_t kIoBitmap = 0x68;              // behind the 104 bytes of a 64-bit TSS
inline constexpr std::uint64_t kTssLimit = kIoBitmap + 0x12;  // ports 0..0x8f, and the final byte of ones
inline constexpr std::uint64_t kStackTop = 0x1000;

inline constexpr std::uint16_t kPortSyscall = 0x80;
inline constexpr std::uint16_t kPortException = 0x81;

inline constexpr std::uint16_t kKernelCs = 0x10;
inline constexpr std::uint16_t kKernelDs = 0x18;
inline constexpr std::uint16_t kTssSelector = 0x40;

// Guest-physical: everything above 4 GiB, where no chipset hole, APIC or TSS page of KVM lies.  System memory
// (page tables and the pages above) in chunks of fixed stride, so that a table's host address follows from
// its gpa.
inline constexpr std::uint64_t kSystemGpa = 0x1'0000'0000;
inline constexpr std::uint64_t kSystemFirstBytes =
    0x10'0000;  // 1 MiB: enough for a small program, quick to slot
inline constexpr std::uint64_t kSystemChunkBytes = 0x100'0000;
inline constexpr unsigned kSystemChunks = 1024;  // 16 GiB of page tables: 8 TiB of touched guest memory
inline constexpr std::uint64_t kWindowGpa = kSystemGpa + kSystemChunks * kSystemChunkBytes;

}  // namespace hpcvmm::engine::kvm
