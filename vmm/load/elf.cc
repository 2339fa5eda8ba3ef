#include "vmm/load/elf.hh"

#include <elf.h>
#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <climits>
#include <cstring>

#include "hpcvmm/base/layout.hh"

namespace hpcvmm::load {
namespace {

template <class T> T read_at(std::span<const std::byte> bytes, std::size_t at) {
  T value{};
  if (at <= bytes.size() && bytes.size() - at >= sizeof(T)) std::memcpy(&value, bytes.data() + at, sizeof(T));
  return value;
}

int format_error(Role role) { return role == Role::Program ? ENOEXEC : ELIBBAD; }

template <class Ehdr, class Phdr> Verdict fill_header(ElfHeader& out, const Ehdr& ehdr, Role role) {
  out.entry = ehdr.e_entry;
  out.phoff = ehdr.e_phoff;
  out.phnum = ehdr.e_phnum;
  out.phdrs_bytes = std::size_t{ehdr.e_phnum} * sizeof(Phdr);
  if (ehdr.e_phentsize != sizeof(Phdr)) {
    return Verdict::fail(format_error(role), "ELF program headers of another size (wrong class, or x32)");
  }
  if (out.phdrs_bytes == 0 || out.phdrs_bytes > kPhdrsMaxBytes) {
    return Verdict::fail(format_error(role), "ELF file without program headers, or with too many");
  }
  return {};
}

struct RawPhdr {
  std::uint32_t type, flags;
  Segment segment;
};

template <class Phdr> RawPhdr raw_phdr(std::span<const std::byte> phdrs, std::size_t index) {
  const auto p = read_at<Phdr>(phdrs, index * sizeof(Phdr));
  int prot = 0;
  if ((p.p_flags & PF_R) != 0) prot |= PROT_READ;
  if ((p.p_flags & PF_W) != 0) prot |= PROT_WRITE;
  if ((p.p_flags & PF_X) != 0) prot |= PROT_EXEC;
  return {p.p_type, p.p_flags, {p.p_offset, p.p_vaddr, p.p_filesz, p.p_memsz, p.p_align, prot}};
}

// Each of these is an EINVAL that Linux finds while it maps, with the old image already gone.
Verdict check_segment(const Segment& s, std::uint64_t limit) {
  if (s.filesz > s.memsz)
    return Verdict::fail(EINVAL, "ELF segment with more bytes in the file than in memory");
  if (s.vaddr >= limit || s.memsz > limit || limit - s.memsz < s.vaddr) {
    return Verdict::fail(EINVAL, "ELF segment beyond the end of the address space");
  }
  return {};
}

void measure(ElfPlan& plan) {
  std::uint64_t low = UINT64_MAX;
  std::uint64_t high = 0;
  for (const Segment& s : plan.segments) {
    low = std::min(low, page_down(s.vaddr));
    high = std::max(high, s.vaddr + s.memsz);
    if (std::has_single_bit(s.align)) plan.align = std::max(plan.align, s.align);
    const std::uint64_t phoff = plan.header.phoff;
    if (s.offset <= phoff && phoff < s.offset + s.filesz) plan.phdr_vaddr = phoff - s.offset + s.vaddr;
  }
  if (plan.segments.empty()) return;
  plan.span_bytes = high - low;
  plan.align = page_up(plan.align);
}

void judge_segments(ElfPlan& plan, Role role) {
  const std::uint64_t limit = task_size(plan.header.abi);
  if (role == Role::Interpreter && !plan.header.known_type) {
    plan.late = Verdict::fail(EPERM, "ELF interpreter that is neither an executable nor a shared object");
    return;
  }
  for (const Segment& s : plan.segments) {
    plan.late = check_segment(s, limit);
    if (!plan.late.ok()) return;
    // The zone is the one place that Linux would give and we cannot: the VMM itself lives there, at an
    // address that it cannot leave.  ENOMEM is what a program gets on Linux when its address range is taken,
    // and it comes early, while the old image can still report it.
    const std::uint64_t begin = page_down(s.vaddr);
    if (!plan.header.position_independent && touches_zone(begin, page_up(s.vaddr + s.memsz) - begin)) {
      plan.verdict = Verdict::fail(ENOMEM, "ELF segment at addresses that hpc-vmm keeps for itself");
      return;
    }
  }
  const bool needs_span = plan.header.position_independent || role == Role::Interpreter;
  if (needs_span && plan.span_bytes == 0 && (role == Role::Interpreter || !plan.segments.empty())) {
    plan.late = Verdict::fail(EINVAL, "ELF file whose segments are all empty");
  }
}

}  // namespace

std::uint64_t task_size(Abi abi) { return abi == Abi::X64 ? kTaskSize64 : kTaskSize32; }

std::size_t ehdr_bytes(Abi abi) { return abi == Abi::X64 ? sizeof(Elf64_Ehdr) : sizeof(Elf32_Ehdr); }

ElfHeader parse_header(std::span<const std::byte> head, Role role) {
  std::array<std::byte, sizeof(Elf64_Ehdr)> padded{};
  std::copy_n(head.begin(), std::min(head.size(), padded.size()), padded.begin());
  const std::span<const std::byte> bytes(padded);
  // e_type and e_machine stand at the same place in both classes.
  const auto type = read_at<std::uint16_t>(bytes, offsetof(Elf64_Ehdr, e_type));
  const auto machine = read_at<std::uint16_t>(bytes, offsetof(Elf64_Ehdr, e_machine));
  constexpr std::uint16_t kEm486 = 6;

  ElfHeader out;
  out.known_type = type == ET_EXEC || type == ET_DYN;
  out.position_independent = type == ET_DYN;
  if (std::memcmp(padded.data(), ELFMAG, SELFMAG) != 0) {
    out.verdict = Verdict::fail(format_error(role), "neither an ELF file nor a #! script");
  } else if (role == Role::Program && !out.known_type) {
    out.verdict = Verdict::fail(ENOEXEC, "ELF file that is neither an executable nor a shared object");
  } else if (machine == EM_X86_64) {
    out.abi = Abi::X64;
    out.verdict = fill_header<Elf64_Ehdr, Elf64_Phdr>(out, read_at<Elf64_Ehdr>(bytes, 0), role);
  } else if (machine == EM_386 || machine == kEm486) {
    out.abi = Abi::Ia32;
    out.verdict = fill_header<Elf32_Ehdr, Elf32_Phdr>(out, read_at<Elf32_Ehdr>(bytes, 0), role);
  } else {
    out.verdict = Verdict::fail(format_error(role), "ELF file for another processor");
  }
  return out;
}

ElfPlan parse_phdrs(const ElfHeader& header, std::span<const std::byte> phdrs, Role role) {
  ElfPlan plan;
  plan.header = header;
  plan.verdict = header.verdict;
  if (!plan.verdict.ok()) return plan;
  if (phdrs.size() != header.phdrs_bytes) {
    plan.verdict = Verdict::fail(format_error(role), "ELF file truncated in its program headers");
    return plan;
  }
  bool have_interp = false;
  for (std::size_t i = 0; i < header.phnum; ++i) {
    const RawPhdr p =
        header.abi == Abi::X64 ? raw_phdr<Elf64_Phdr>(phdrs, i) : raw_phdr<Elf32_Phdr>(phdrs, i);
    if (p.type == PT_LOAD) plan.segments.push_back(p.segment);
    if (p.type == PT_GNU_STACK) plan.stack = (p.flags & PF_X) != 0 ? StackExec::On : StackExec::Off;
    if (p.type != PT_INTERP || role == Role::Interpreter || have_interp) continue;
    have_interp = true;  // only the first one counts
    plan.interp_offset = p.segment.offset;
    plan.interp_bytes = p.segment.filesz;
    if (plan.interp_bytes > PATH_MAX || plan.interp_bytes < 2) {
      plan.verdict = Verdict::fail(ENOEXEC, "ELF interpreter path empty or longer than PATH_MAX");
      return plan;
    }
  }
  if (header.position_independent) {
    plan.shape = have_interp ? Shape::Pie : Shape::StaticPie;
  } else {
    plan.shape = have_interp ? Shape::Dynamic : Shape::Static;
  }
  plan.read_implies_exec = header.abi == Abi::Ia32 && plan.stack == StackExec::Default;
  measure(plan);
  judge_segments(plan, role);
  return plan;
}

ElfPlan parse_elf(std::span<const std::byte> image, std::uint64_t file_size, Role role) {
  const ElfHeader header = parse_header(image, role);
  const std::uint64_t readable = std::min<std::uint64_t>(image.size(), file_size);
  std::span<const std::byte> phdrs;
  if (header.verdict.ok() && header.phoff <= readable && readable - header.phoff >= header.phdrs_bytes) {
    phdrs = image.subspan(header.phoff, header.phdrs_bytes);
  }
  return parse_phdrs(header, phdrs, role);
}

}  // namespace hpcvmm::load
