// System calls of both ABIs as vmm/names knows them.
#pragma once

#include "hpcvmm/base/cpu.hh"
#include "vmm/names/asked.hh"

namespace hpcvmm::migrate {

/// The call whose exit left these registers.  Pure.
names::Asked asked_of(const GuestRegs& regs, Abi abi);

}  // namespace hpcvmm::migrate
