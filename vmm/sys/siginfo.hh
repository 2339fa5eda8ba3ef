// siginfo_t between the two ABIs: signal frames, rt_sigqueueinfo, rt_sigtimedwait, waitid and signalfd of
// IA32 use it.
#pragma once

#include <csignal>
#include <cstdint>

#include "vmm/sys/siginfo_layout.hh"

namespace hpcvmm::sys {

/// Which member of siginfo_t's union holds the data.
enum class InfoLayout : std::uint8_t {
  Kill,
  Timer,
  Poll,
  Fault,
  FaultMceErr,
  FaultBndErr,
  FaultPkuErr,
  FaultPerfEvent,
  Chld,
  Rt,
  Sys,
};

/// The layout that Linux derives from the signal and si_code.  Any thread.
/// Source: Linux kernel/signal.c, siginfo_layout(), with the code counts of Linux 6.18 for x86.
InfoLayout info_layout(int signo, int code);

/// What an IA32 program sees of `from`: unused bytes are zero, words are cut to 32 bits.  Any thread.
void to_compat(const siginfo_t& from, layout::SigInfo32& to);
/// The native form of what an IA32 program gave; unused bytes are zero.  Any thread.
void from_compat(const layout::SigInfo32& from, siginfo_t& to);
/// What an x86-64 program sees of `from`: Linux keeps 48 bytes of an info and clears the other 80.  Any
/// thread.
void to_native(const siginfo_t& from, layout::SigInfo64& to);

}  // namespace hpcvmm::sys
