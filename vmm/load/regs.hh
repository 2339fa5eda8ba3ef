// Registers of a fresh program image.
#pragma once

#include "hpcvmm/base/cpu.hh"

namespace hpcvmm::load {

/// What start_thread() of arch/x86/kernel/process_64.c leaves in the registers: everything zero but these.
inline GuestRegs initial_regs(Abi abi, std::uint64_t entry, std::uint64_t sp) {
  GuestRegs regs{};
  regs.rip = entry;
  regs.rsp = sp;
  regs.rflags = 0x202;  // IF, and the bit that is always set
  regs.cs = abi == Abi::X64 ? kUserCs64 : kUserCs32;
  regs.ss = kUserDs;
  // 64-bit code ignores ds and es; Linux loads null selectors.  IA32 code addresses memory through them.
  regs.ds = regs.es = abi == Abi::X64 ? std::uint16_t{0} : kUserDs;
  return regs;
}

}  // namespace hpcvmm::load
