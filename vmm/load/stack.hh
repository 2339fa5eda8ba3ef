// The initial stack of a program: strings, auxiliary vector, envp, argv, argc, byte for byte where Linux has
// them.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "hpcvmm/base/cpu.hh"
#include "vmm/load/loader.hh"
#include "vmm/load/verdict.hh"

namespace hpcvmm::load {

/// Entries of the auxiliary vector that describe the machine, not the program.
struct HostAux {
  std::uint64_t hwcap = 0;   // CPUID 1 EDX
  std::uint64_t hwcap2 = 0;  // FSGSBASE, MONITOR at ring 3
  std::uint64_t minsigstksz =
      0;  // bytes of the largest signal frame; 0 leaves the entry out (kernels before 5.14)
  std::uint64_t clktck = 100;
};

/// This host's values, from the auxiliary vector the kernel gave the VMM (CPUID for AT_HWCAP before
/// Linux 6.4).  Threads: any; call it before a guest runs.
HostAux host_aux();

struct StackInput {
  Abi abi = Abi::X64;
  std::uint64_t top = 0;  // end of the stack mapping, page aligned; sp lies below
  std::string_view execfn;
  std::span<const std::string_view> argv, envp;  // without NUL bytes inside
  // From Loaded.
  std::uint64_t phdr = 0, phnum = 0, interp_base = 0, program_entry = 0;
  std::uint64_t vdso = 0;      // AT_SYSINFO_EHDR; 0 leaves the entry out
  std::uint64_t vsyscall = 0;  // AT_SYSINFO, IA32 only; 0 leaves the entry out
  std::uint64_t uid = 0, euid = 0, gid = 0, egid = 0;
  bool secure = false;
  std::array<std::byte, 16> random{};  // AT_RANDOM: fresh for each program
  std::uint32_t shift_bytes = 0;       // random below 8192, 0 without randomisation (arch_align_stack)
  HostAux host;
};

/// Copies what Loaded knows into `in`.
inline void describe_image(const Loaded& loaded, StackInput& in) {
  in.abi = loaded.abi;
  in.phdr = loaded.phdr;
  in.phnum = loaded.phnum;
  in.interp_base = loaded.interp_base;
  in.program_entry = loaded.program_entry;
}

struct StackImage {
  std::vector<std::byte> bytes;                                          // what belongs to [sp, top)
  std::uint64_t sp = 0;                                                  // multiple of 16; argc is there
  std::uint64_t arg_start = 0, arg_end = 0, env_start = 0, env_end = 0;  // /proc/PID/cmdline, environ
  std::uint64_t execfn = 0;
  std::uint64_t auxv = 0, auxv_bytes = 0;  // /proc/PID/auxv, the final AT_NULL included
};

/// Checks execve(2)'s limits: 128 KiB a string, and strings and pointers together a quarter of `stack_rlimit`
/// (RLIMIT_STACK in bytes, RLIM_INFINITY allowed), at least 128 KiB, at most 6 MiB.
/// `pointers`: argc + envc as the caller of execve gave them, before `#!` lines added any.
/// Errors: E2BIG.  Source: fs/exec.c, bprm_stack_limits() and copy_strings().
Verdict check_arg_limits(std::string_view execfn, std::span<const std::string_view> argv,
                         std::span<const std::string_view> envp, std::size_t pointers,
                         std::uint64_t stack_rlimit);

/// Builds the stack.  `in` has passed check_arg_limits(), so the image fits the 8 MiB that a stack may always
/// have. Source: fs/binfmt_elf.c, create_elf_tables(); arch/x86 ARCH_DLINFO.
StackImage build_stack(const StackInput& in);

}  // namespace hpcvmm::load
