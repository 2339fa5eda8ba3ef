// Hands a guest's call to the host kernel after making sure that no address in it names the VMM.
#pragma once

#include "hpcvmm/base/cpu.hh"
#include "vmm/sys/host_gate.hh"
#include "vmm/sys/row.hh"

namespace hpcvmm::sys {

/// The six words of a call, from the registers at its exit.
inline Args call_args(const GuestRegs& r, Abi abi) {
  if (abi == Abi::X64) return {r.rdi, r.rsi, r.rdx, r.r10, r.r8, r.r9};
  const auto low = [](std::uint64_t v) { return v & 0xffff'ffffU; };
  return {low(r.rbx), low(r.rcx), low(r.rdx), low(r.rsi), low(r.rdi), low(r.rbp)};
}

/// Puts a call's result where the guest finds it.
inline void set_result(GuestRegs& r, Abi abi, const SysRet& result) {
  r.rax = static_cast<std::uint64_t>(result.value());
  if (abi == Abi::Ia32 && r.is_compat()) r.rax &= 0xffff'ffffU;
}

/// Bytes of the instruction that makes a call: `syscall` and `int $0x80` alike.
inline constexpr std::uint64_t kCallBytes = 2;

/// Checks every address and descriptor of the call, copies nested ones in (so that another guest thread
/// cannot change them after the check), and issues it: x86-64 calls as they are, IA32 calls as their 64-bit
/// twin where there is one and with int $0x80 otherwise.  `row` may be of any kind: a handler of the deputy
/// calls this for the part of its work that the kernel does.  Rows with Support::None are answered with
/// refusal_errno(). Errors (the guest's): EFAULT an address in the VMM's zone; EBADF a descriptor of the VMM;
/// ENOSYS a row without a number in `abi`; whatever the kernel answers.  SysRet::restart() comes only from
/// `gate`. Threads: any; uses up to 40 KiB of stack and no heap.
SysRet pass_through(const Row& row, Abi abi, const Args& args, const HostGate& gate);

/// The first half of pass_through(): 0, EFAULT or EBADF.  Looks at flat addresses and descriptors only.
int check_flat(const Row& row, Abi abi, const Args& args, const HostGate& gate);

/// The errno a row with Support::None is answered with.
int refusal_errno(const Row& row);

}  // namespace hpcvmm::sys
