// Classic BPF as seccomp(2) uses it: validation and interpretation.  Pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace hpcvmm::deputy::bpf {

/// struct sock_filter.
struct Insn {
  std::uint16_t code;
  std::uint8_t jt, jf;
  std::uint32_t k;
};
static_assert(sizeof(Insn) == 8);

/// struct seccomp_data: what a filter sees of a call.
struct Data {
  std::int32_t nr;
  std::uint32_t arch;
  std::uint64_t instruction_pointer;
  std::uint64_t args[6];
};
static_assert(sizeof(Data) == 64);

inline constexpr std::size_t kMaxInsns = 4096;

/// True if Linux would accept the program as a seccomp filter: known instructions only, every jump forward
/// and inside, aligned loads inside Data, no memory word read before it is written, a return at the end.
/// Source: Documentation/networking/filter.rst, seccomp(2); net/core/filter.c and kernel/seccomp.c for the
/// rules. At most kMaxInsns instructions.  Any thread.
bool valid(std::span<const Insn> program);

/// Runs a valid program; returns its SECCOMP_RET_* word.  Division by zero returns 0
/// (SECCOMP_RET_KILL_THREAD).
std::uint32_t run(std::span<const Insn> program, const Data& data);

}  // namespace hpcvmm::deputy::bpf
