// One line per system call in strace's format.  In two parts, as strace does it: what the call was given is
// printed before it is issued, what it returned through pointers is printed afterwards.
#pragma once

#include <string>

#include "vmm/sys/host_gate.hh"
#include "vmm/sys/row.hh"

namespace hpcvmm::sys {

/// Appends "name(" and the arguments up to the first one that the kernel fills.  Returns the index of that
/// argument, to be handed to format_result().  Guest memory is read through `gate.copy_in`; what cannot be
/// read is printed as its address.  Any thread; allocates (`out`).
unsigned format_call(std::string& out, const Row& row, Abi abi, const Args& args, const HostGate& gate);

/// Appends the remaining arguments, ")", and the result, without a newline: "= 3",
/// "= -1 ENOENT (No such file or directory)", "= ? ERESTARTSYS (To be restarted if SA_RESTART is set)".
/// `line_start`: offset in `out` where this call's text begins, or npos when other text came in between
/// ("<... name resumed>"); the result is aligned to column 40 of the line.
void format_result(std::string& out, const Row& row, Abi abi, const Args& args, const HostGate& gate,
                   SysRet result, unsigned next, std::size_t line_start = 0);

/// Appends "= ?", for calls that do not return (exit, a successful execve, death by a signal).
void format_no_result(std::string& out, std::size_t line_start = 0);

}  // namespace hpcvmm::sys
