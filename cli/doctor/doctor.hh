// `hpc-vmm doctor [--json]`: measures this host and explains what it gives.
#pragma once

namespace hpcvmm::cli {

/// Measures, prints to stdout, and refreshes the engine cache of `launch --engine auto`.
/// Returns the exit status: 0 if at least one engine runs x86-64 programs, else 1.
/// Threads: single-threaded caller.
int doctor_main(bool json);

}  // namespace hpcvmm::cli
