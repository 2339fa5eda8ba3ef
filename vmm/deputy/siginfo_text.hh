// A delivered signal as strace prints it.  Pure.
#pragma once

#include <csignal>
#include <string>

namespace hpcvmm::deputy {

/// Appends "--- SIGSEGV {si_signo=SIGSEGV, si_code=SEGV_MAPERR, si_addr=0x10} ---", without a newline.
void format_signal(std::string& out, const siginfo_t& info);

}  // namespace hpcvmm::deputy
