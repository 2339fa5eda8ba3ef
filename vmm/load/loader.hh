// Maps a program and its ELF interpreter where Linux would.
#pragma once

#include <array>
#include <cstdint>

#include "hpcvmm/base/cpu.hh"
#include "vmm/load/images.hh"
#include "vmm/load/verdict.hh"

namespace hpcvmm::load {

/// The address space that is being filled.  The caller implements it with its memory map; it knows the ABI,
/// and places an IA32 program's NULL hints below 4 GiB.
class Mapper {
 public:
  Mapper() = default;
  Mapper(const Mapper&) = delete;
  Mapper& operator=(const Mapper&) = delete;
  Mapper(Mapper&&) = delete;
  Mapper& operator=(Mapper&&) = delete;
  virtual ~Mapper() = default;

  /// mmap(2): the address, or -errno.  `flags` are MAP_PRIVATE and any of MAP_ANONYMOUS, MAP_FIXED,
  /// MAP_FIXED_NOREPLACE; `fd` stays the caller's.
  virtual std::int64_t map(std::uint64_t addr, std::uint64_t bytes, int prot, int flags, int fd,
                           std::uint64_t offset) = 0;
  /// munmap(2): 0 or -errno.  Only ranges that map() has just returned.
  virtual std::int64_t unmap(std::uint64_t addr, std::uint64_t bytes) = 0;
  /// Clears part of one writable page that map() has made from a file.  False if that page cannot be touched:
  /// the file may end before it, and the store must then fail instead of raising SIGBUS in the VMM (a read(2)
  /// from /dev/zero into it does).
  virtual bool zero(std::uint64_t addr, std::uint64_t bytes) = 0;
};

struct LoadOptions {
  unsigned personality = 0;  // personality(2): ADDR_NO_RANDOMIZE, READ_IMPLIES_EXEC and MMAP_PAGE_ZERO count
  int randomize_va_space = 2;             // kernel.randomize_va_space
  unsigned random_bits64 = 28;            // vm.mmap_rnd_bits
  unsigned random_bits32 = 8;             // vm.mmap_rnd_compat_bits
  std::array<std::uint64_t, 2> random{};  // for the place of a PIE, and of brk
};

/// Where everything is: what the auxiliary vector, /proc/self/stat and brk(2) need.  All addresses are the
/// guest's.
struct Loaded {
  Verdict verdict;
  Abi abi = Abi::X64;
  Shape shape = Shape::Static;
  std::uint64_t entry = 0;          // first instruction: the interpreter's entry if there is one
  std::uint64_t program_entry = 0;  // AT_ENTRY
  std::uint64_t phdr = 0;           // AT_PHDR
  std::uint64_t phnum = 0;          // AT_PHNUM
  std::uint64_t interp_base = 0;    // AT_BASE; 0 without interpreter
  std::uint64_t start_code = 0, end_code = 0, start_data = 0, end_data = 0;
  std::uint64_t brk = 0;           // start of the heap, page aligned; nothing is mapped there yet
  bool exec_stack = false;         // the stack is to be mapped PROT_EXEC
  bool read_implies_exec = false;  // the personality bit for the rest of the process's life
};

/// Maps `fd` (already parsed into `images`) and its interpreter; `mapper` has to be empty but for the VMM's
/// zone. Errors: in `verdict`; the old image is gone, so Linux kills the process with SIGSEGV for any of
/// them.  ENOMEM also
///   for a mapping that would touch the VMM's zone.
/// Threads: one; the process has no other at this point.
/// Source: fs/binfmt_elf.c of Linux 6.18, load_elf_binary(), elf_load(), load_elf_interp().
Loaded load_program(Mapper& mapper, int fd, const Images& images, const LoadOptions& options);

}  // namespace hpcvmm::load
