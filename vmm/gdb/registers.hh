// Registers in the protocol's order and widths, and the target descriptions that announce them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "hpcvmm/base/cpu.hh"

namespace hpcvmm::gdb {

/// What gdb sees of one thread.
struct RegisterFile {
  GuestRegs regs{};
  FpState fp;
  std::int64_t orig_rax = -1;  // number of the system call the thread is in; -1: none
};

/// target.xml: core, sse, linux, and for x86-64 the segment bases.
std::string_view target_xml(Abi abi);
unsigned register_count(Abi abi);
/// Bytes of register `index` in target order; 0: no such register.
unsigned register_bytes(Abi abi, unsigned index);
/// Bytes of all registers together.
std::size_t file_bytes(Abi abi);

/// Appends the bytes of one register, little-endian.  False: no such register.
bool read_register(const RegisterFile& f, Abi abi, unsigned index, std::string& out);
/// `bytes` must have the register's width.  False otherwise.  A selector that is not for ring 3, or code
/// segments Linux does not have, are refused; reserved bits of eflags and mxcsr are masked as ptrace(2) masks
/// them.
bool write_register(RegisterFile& f, Abi abi, unsigned index, std::string_view bytes);

/// The x87 tag word from FXSAVE's one bit a register.  Source: Intel SDM vol. 1, 8.1.7 and 10.5.1.1.
std::uint16_t full_tag_word(const FpState& fp);

}  // namespace hpcvmm::gdb
