// What an ELF file asks of execve(2), decoded from its headers.  Pure: no system call, no read outside the
// spans given.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "hpcvmm/base/cpu.hh"
#include "vmm/load/verdict.hh"

namespace hpcvmm::load {

/// Linux gives the same fault a different errno in the program (ENOEXEC) and in its PT_INTERP (ELIBBAD).
enum class Role : std::uint8_t { Program, Interpreter };

/// The four ways Linux places a program.
enum class Shape : std::uint8_t {
  Static,     // ET_EXEC without PT_INTERP
  Dynamic,    // ET_EXEC with PT_INTERP
  StaticPie,  // ET_DYN without PT_INTERP (an ld.so started by hand is one too)
  Pie,        // ET_DYN with PT_INTERP
};

/// PT_GNU_STACK; Default when the file has none.
enum class StackExec : std::uint8_t { Default, Off, On };

/// One PT_LOAD.  Addresses and sizes as in the file, in bytes, widened to 64 bits; nothing is page aligned
/// yet.
struct Segment {
  std::uint64_t offset, vaddr, filesz, memsz, align;
  int prot;  // PROT_* of mmap(2)
};

struct ElfHeader {
  Verdict verdict;
  Abi abi = Abi::X64;
  bool position_independent = false;  // ET_DYN
  bool known_type = false;            // ET_EXEC or ET_DYN
  std::uint64_t entry = 0, phoff = 0;
  std::uint16_t phnum = 0;
  std::size_t phdrs_bytes = 0;
};

struct ElfPlan {
  /// What execve(2) returns to the old image.
  Verdict verdict;
  /// What goes wrong after the old image is gone: Linux kills the process with SIGSEGV for it.
  Verdict late;
  ElfHeader header;
  Shape shape = Shape::Static;
  std::vector<Segment> segments;
  std::uint64_t interp_offset = 0, interp_bytes = 0;  // of the path in the file, NUL included; 0 bytes: none
  StackExec stack = StackExec::Default;
  /// IA32 without PT_GNU_STACK: whatever may be read may be executed (personality READ_IMPLIES_EXEC).
  bool read_implies_exec = false;
  std::uint64_t span_bytes = 0;  // from the page of the lowest PT_LOAD to the end of the highest
  std::uint64_t align = 0;       // largest valid p_align, at least a page; 0 without PT_LOAD
  std::uint64_t phdr_vaddr = 0;  // where the program headers are once mapped; 0 if no segment holds them
};

/// Bytes of the file that Linux reads before it decides what the file is (BINPRM_BUF_SIZE).
inline constexpr std::size_t kHeadBytes = 256;
/// An ELF program header table may be this long (load_elf_phdrs).
inline constexpr std::size_t kPhdrsMaxBytes = 65536;

/// End of the user address space of an ABI; nothing may be mapped at or above it.
std::uint64_t task_size(Abi abi);

/// Size of the ELF file header in bytes.
std::size_t ehdr_bytes(Abi abi);

/// Decodes the file header.  A `head` shorter than a header counts as followed by zeros, as Linux has it.
/// Like Linux, e_machine alone decides the ABI (EI_CLASS is not looked at; an x32 file fails at e_phentsize).
/// Errors: ENOEXEC (Program) or ELIBBAD (Interpreter) in `verdict`.
ElfHeader parse_header(std::span<const std::byte> head, Role role);

/// Decodes the program headers.  `phdrs` holds header.phdrs_bytes bytes; anything else counts as a short
/// read. Errors: ENOEXEC, ELIBBAD; ENOMEM in `verdict` for an ELF that asks for the VMM's zone; `late`:
/// EINVAL, EPERM. Source: fs/binfmt_elf.c, load_elf_binary().
ElfPlan parse_phdrs(const ElfHeader& header, std::span<const std::byte> phdrs, Role role);

/// Both steps over `image`, a prefix of a file of `file_size` bytes that reaches to the end of the program
/// headers.
ElfPlan parse_elf(std::span<const std::byte> image, std::uint64_t file_size, Role role);

}  // namespace hpcvmm::load
