// From a guest's system-call exit to its result.
#pragma once

#include <cstdint>

#include "vmm/deputy/task.hh"
#include "vmm/sys/table.hh"

namespace hpcvmm::deputy {

/// One guest system call under way.
struct CallContext {
  Task& task;
  const sys::Row& row;
  Abi abi;
  const sys::Args& args;  // registers, cut to the ABI's width
  /// Argument `i` of the row: IA32 words extended, split 64-bit words joined.
  [[nodiscard]] std::uint64_t arg(unsigned i) const { return sys::arg_value(row, abi, args, i); }
  [[nodiscard]] int as_int(unsigned i) const { return static_cast<int>(static_cast<std::uint32_t>(arg(i))); }
  [[nodiscard]] mem::Mm& mm() const { return *task.process->mm; }
};

/// A call that the deputy executes itself (Runs::Vmm).  See gate.hh for what it may do before its host call.
using Handler = sys::SysRet (*)(const CallContext&);

/// Issues the call unchanged, after the pointer checks of its row.
sys::SysRet pass(const CallContext& c);

/// The handler for a row, or nullptr: pass() does it.
Handler find_handler(sys::Call call);

/// Runs the system call the task has just made and stores its result in the registers.
void do_syscall(Task& t, Abi abi);
/// Set by a handler whose registers are final (sigreturn): no result is stored.
void keep_registers(Task& t);

/// The task's main loop: run guest code, serve exits.  Returns when a thread that is not the process's last
/// ends.
void run_task(Task& t);

}  // namespace hpcvmm::deputy
