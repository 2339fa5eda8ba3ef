// What this host charges for the bare mechanism, without anything of hpc-vmm: the figures its promises refer
// to.
#pragma once

#include "hpcvmm/base/result.hh"

namespace hpcvmm::bench {

// Each returns microseconds of one operation, measured over one batch.  Errors: of the host call that failed.
// Threads: the only one of the process.

/// `syscall` of guest code through a minimal LSTAR entry to user space, and back behind the instruction.
Result<double> exit_round_trip();
/// First write to a 4 KiB page / a 2 MiB page of fresh memory, in a VM whose page tables are complete.
Result<double> first_touch_4k();
Result<double> first_touch_2m();
/// First write of a vCPU to a 4 KiB page that a living fork child shares.
Result<double> copy_on_write();
/// Makes a VM, one memory slot of 16 MiB, one vCPU and its kvm_run mapping; closing them is not counted.
Result<double> create_vm();
/// A CPUID in a guest.  PVM hosts whose CPU can make CPUID fault answer it in the kernel.
Result<double> cpuid();
/// What starting a static `true` in a VM costs at least: spawn(argv), create_vm(), and the exits, first
/// touches and CPUIDs that its C library makes.  Without destroying the VM.
Result<double> start_in_vm(const char* const* argv);
/// vfork + exec + wait of a command.
Result<double> spawn(const char* const* argv);
/// A 32-bit `int $0x80` that Syscall User Dispatch hands to an empty SIGSYS handler, and back.
Result<double> dispatch_ia32();
/// The same for `syscall` of 64-bit code.
Result<double> dispatch_x64();

}  // namespace hpcvmm::bench
