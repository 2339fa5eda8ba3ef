// Signal numbers of the remote protocol and of Linux on x86.
#pragma once

namespace hpcvmm::gdb {

/// Protocol's number for a Linux signal; 143 ("unknown") when it has none.  Source: gdb/signals.def of GDB.
int to_gdb_signal(int signo);
/// Linux signal for the protocol's number; 0: none.
int from_gdb_signal(unsigned gdb_signal);

}  // namespace hpcvmm::gdb
