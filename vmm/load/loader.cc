#include "vmm/load/loader.hh"

#include <sys/mman.h>
#include <sys/personality.h>

#include <algorithm>
#include <cerrno>

#include "hpcvmm/base/layout.hh"

namespace hpcvmm::load {
namespace {

constexpr std::uint64_t kPieBase64 = 0x5555'5555'4aaa;  // two thirds of the 47-bit window, not yet aligned
constexpr std::uint64_t kPieBase32 = 0x5655'5000;       // a third of 4 GiB, plus 16 MiB
// arch_randomize_brk(): newer kernels have 1 GiB for 64-bit programs, older ones 32 MiB for all.  Here 32
// MiB, so that one memory slot holds a program and its heap.
constexpr std::uint64_t kBrkRange = std::uint64_t{1} << 25;

std::uint64_t page_offset(std::uint64_t a) { return a & (kPageSize - 1); }
bool failed(std::int64_t result) { return result < 0; }

class Loading {
 public:
  Loading(Mapper& mapper, const Images& images, const LoadOptions& options)
      : mapper_(mapper), images_(images), options_(options), limit_(task_size(images.program.header.abi)) {
    read_implies_exec_ = images.program.read_implies_exec;
    // Like SET_PERSONALITY: a 64-bit program starts without the bit, an IA32 one inherits it.
    const bool inherited = (options.personality & READ_IMPLIES_EXEC) != 0;
    if (inherited && images.program.header.abi == Abi::Ia32) read_implies_exec_ = true;
    randomize_ = (options.personality & ADDR_NO_RANDOMIZE) == 0 && options.randomize_va_space != 0;
  }

  Loaded run(int fd);

 private:
  std::int64_t map(std::uint64_t addr, std::uint64_t bytes, int prot, int flags, int fd,
                   std::uint64_t offset);
  std::int64_t map_file_part(int fd, std::uint64_t addr, const Segment& s, int flags, std::uint64_t total);
  std::int64_t map_segment(int fd, std::uint64_t addr, const Segment& s, int flags, std::uint64_t total);
  std::int64_t find_place(int fd, const Segment& first, int& flags);
  bool map_program(int fd, Loaded& out);
  bool map_interp(Loaded& out);
  void place_brk(Loaded& out) const;
  [[nodiscard]] std::uint64_t pie_base() const;
  [[nodiscard]] std::uint64_t pie_slide() const;

  Mapper& mapper_;
  const Images& images_;
  const LoadOptions& options_;
  std::uint64_t limit_;
  std::uint64_t bias_ = 0;
  std::uint64_t end_ = 0;  // of the highest segment, before the bias: where brk starts
  bool read_implies_exec_ = false;
  bool randomize_ = false;
};

// Every mapping goes through here, so that no file can make the loader touch the VMM's zone or, for IA32,
// leave the low 4 GiB (a host mmap would allow both).
std::int64_t Loading::map(std::uint64_t addr, std::uint64_t bytes, int prot, int flags, int fd,
                          std::uint64_t offset) {
  const bool fixed = (flags & (MAP_FIXED | MAP_FIXED_NOREPLACE)) != 0;
  if (bytes > limit_) return -ENOMEM;
  if (fixed && (addr > limit_ - bytes || touches_zone(addr, bytes))) return -ENOMEM;
  if (offset + bytes < offset || page_offset(offset) != 0) return -EINVAL;
  if (read_implies_exec_ && (prot & PROT_READ) != 0) prot |= PROT_EXEC;
  const std::int64_t at = mapper_.map(addr, bytes, prot, flags, fd, offset);
  if (failed(at)) return at;
  const auto got = static_cast<std::uint64_t>(at);
  if (got > limit_ - bytes || touches_zone(got, bytes)) return -ENOMEM;
  return at;
}

std::int64_t Loading::map_file_part(int fd, std::uint64_t addr, const Segment& s, int flags,
                                    std::uint64_t total) {
  const std::uint64_t offset = s.offset - page_offset(s.vaddr);  // wraps for a bad file; map() refuses that
  const std::uint64_t bytes = page_up(s.filesz + page_offset(s.vaddr));
  if (total == 0) return map(page_down(addr), bytes, s.prot, flags, fd, offset);
  // The first segment is mapped as long as the whole program, which reserves the room for the others.
  const std::uint64_t all = std::max(page_up(total), bytes);
  const std::int64_t at = map(page_down(addr), all, s.prot, flags, fd, offset);
  if (!failed(at) && all > bytes) mapper_.unmap(static_cast<std::uint64_t>(at) + bytes, all - bytes);
  return at;
}

// The part in the file, then zeros up to memsz.  Returns the page the segment starts at, or -errno.
std::int64_t Loading::map_segment(int fd, std::uint64_t addr, const Segment& s, int flags,
                                  std::uint64_t total) {
  std::uint64_t start = page_down(addr);
  if (s.filesz != 0) {
    const std::int64_t at = map_file_part(fd, addr, s, flags, total);
    if (failed(at)) return at;
    start = static_cast<std::uint64_t>(at);
  }
  if (s.memsz <= s.filesz) return static_cast<std::int64_t>(start);

  const std::uint64_t base = start + page_offset(s.vaddr);
  std::uint64_t zeros = s.filesz != 0 ? base + s.filesz : start;
  if (s.filesz != 0 && page_offset(zeros) != 0) {
    // In a page that is not writable Linux tries too, fails, and leaves what the file has there.
    const bool writable = (s.prot & PROT_WRITE) != 0;
    if (writable && !mapper_.zero(zeros, page_up(zeros) - zeros)) return -EFAULT;
  }
  zeros = page_up(zeros);
  const std::uint64_t end = page_up(base + s.memsz);
  if (end > zeros) {
    // Always writable, whatever the segment says; only the right to execute is taken from it.
    const int prot = PROT_READ | PROT_WRITE | (s.prot & PROT_EXEC);
    const int anonymous = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;
    const std::int64_t at = map(zeros, end - zeros, prot, anonymous, -1, 0);
    if (failed(at)) return at;
  }
  return static_cast<std::int64_t>(start);
}

std::uint64_t Loading::pie_base() const {
  return images_.program.header.abi == Abi::X64 ? kPieBase64 : kPieBase32;
}

std::uint64_t Loading::pie_slide() const {
  if (!randomize_) return 0;
  const bool wide = images_.program.header.abi == Abi::X64;
  const unsigned bits = std::min(wide ? options_.random_bits64 : options_.random_bits32, 40U);
  return (options_.random[0] & ((std::uint64_t{1} << bits) - 1)) * kPageSize;
}

// Where an ET_DYN program goes: the address for its first segment (0: wherever mmap likes), or -errno.
std::int64_t Loading::find_place(int fd, const Segment& first, int& flags) {
  const ElfPlan& plan = images_.program;
  const std::uint64_t mask = ~(std::max(plan.align, std::uint64_t{1}) - 1);
  if (plan.shape == Shape::Pie) {
    flags |= MAP_FIXED_NOREPLACE;
    return static_cast<std::int64_t>((pie_base() + pie_slide()) & mask);
  }
  // A static PIE may be an ld.so started by hand, which loads a PIE itself: it must not take that one's
  // place.
  if (plan.align <= kPageSize) return 0;
  const std::int64_t at = map_segment(fd, 0, first, MAP_PRIVATE, plan.span_bytes);
  if (failed(at)) return at;
  mapper_.unmap(static_cast<std::uint64_t>(at), page_up(plan.span_bytes));
  flags |= MAP_FIXED_NOREPLACE;
  return static_cast<std::int64_t>(static_cast<std::uint64_t>(at) & mask);
}

bool Loading::map_program(int fd, Loaded& out) {
  const ElfPlan& plan = images_.program;
  out.start_code = UINT64_MAX;
  bool first = true;
  for (const Segment& s : plan.segments) {
    int flags = MAP_PRIVATE;
    std::uint64_t total = 0;
    if (!first) {
      flags |= MAP_FIXED;
    } else if (!plan.header.position_independent) {
      flags |= MAP_FIXED_NOREPLACE;
    } else {
      total = plan.span_bytes;
      const std::int64_t place = find_place(fd, s, flags);
      if (failed(place)) {
        out.verdict = Verdict::fail(static_cast<int>(-place), "no room for the program");
        return false;
      }
      bias_ = page_down(static_cast<std::uint64_t>(place) - s.vaddr);
    }
    const std::int64_t at = map_segment(fd, bias_ + s.vaddr, s, flags, total);
    if (failed(at)) {
      out.verdict = Verdict::fail(static_cast<int>(-at), "a segment of the program cannot be mapped");
      return false;
    }
    if (first && plan.header.position_independent) {
      bias_ += static_cast<std::uint64_t>(at) - page_down(bias_ + s.vaddr);
    }
    first = false;
    const bool code = (s.prot & PROT_EXEC) != 0;
    if (code) out.start_code = std::min(out.start_code, s.vaddr);
    if (code) out.end_code = std::max(out.end_code, s.vaddr + s.filesz);
    out.start_data = std::max(out.start_data, s.vaddr);
    out.end_data = std::max(out.end_data, s.vaddr + s.filesz);
    end_ = std::max(end_, s.vaddr + s.memsz);
  }
  for (std::uint64_t* a : {&out.start_code, &out.end_code, &out.start_data, &out.end_data}) *a += bias_;
  end_ += bias_;
  out.program_entry = plan.header.entry + bias_;
  out.phdr = plan.phdr_vaddr + bias_;
  return true;
}

bool Loading::map_interp(Loaded& out) {
  const ElfPlan& plan = images_.interp;
  std::uint64_t base = 0;
  std::uint64_t total = plan.span_bytes;
  bool placed = false;
  // With the program at an address of its own choice the interpreter gets mmap's; else the address it was
  // linked for is the hint, which for every real ld.so is 0 too.
  if (bias_ != 0 && plan.header.position_independent && !plan.segments.empty())
    base -= plan.segments[0].vaddr;
  for (const Segment& s : plan.segments) {
    int flags = MAP_PRIVATE;
    if (!plan.header.position_independent || placed) flags |= MAP_FIXED;
    const std::int64_t at = map_segment(images_.interp_fd.get(), base + s.vaddr, s, flags, total);
    total = 0;
    if (failed(at)) {
      out.verdict = Verdict::fail(static_cast<int>(-at), "a segment of the ELF interpreter cannot be mapped");
      return false;
    }
    if (!placed && plan.header.position_independent)
      base = static_cast<std::uint64_t>(at) - page_down(s.vaddr);
    placed = true;
    const std::uint64_t k = base + s.vaddr;
    if (k >= limit_ || limit_ - s.memsz < k) {
      out.verdict = Verdict::fail(ENOMEM, "the ELF interpreter reaches beyond the address space");
      return false;
    }
  }
  out.interp_base = base;
  out.entry = base + plan.header.entry;
  return true;
}

// A static PIE lies in the mmap area, where a heap would soon meet something: it gets the place of a PIE
// instead.
void Loading::place_brk(Loaded& out) const {
  const bool moved = images_.program.shape == Shape::StaticPie;
  out.brk = page_up(moved ? pie_base() : end_);
  if (!randomize_ || options_.randomize_va_space < 2) return;
  const std::uint64_t gap = moved ? 0 : kPageSize;
  const std::uint64_t random = out.brk + gap + (options_.random[1] % (kBrkRange / kPageSize)) * kPageSize;
  // Only a program linked to end right below the zone: its heap has no room there, but must not start inside.
  if (!touches_zone(random, kPageSize)) out.brk = random;
}

Loaded Loading::run(int fd) {
  const ElfPlan& plan = images_.program;
  Loaded out;
  out.abi = plan.header.abi;
  out.shape = plan.shape;
  out.phnum = plan.header.phnum;
  out.read_implies_exec = read_implies_exec_;
  out.exec_stack = plan.stack == StackExec::On || (plan.stack == StackExec::Default && read_implies_exec_);
  const bool has_interp = static_cast<bool>(images_.interp_fd);
  out.verdict = plan.verdict.ok() ? plan.late : plan.verdict;
  if (out.verdict.ok() && has_interp) {
    out.verdict = images_.interp.verdict.ok() ? images_.interp.late : images_.interp.verdict;
  }
  if (!out.verdict.ok() || !map_program(fd, out)) return out;
  out.entry = out.program_entry;
  if (has_interp && !map_interp(out)) return out;
  if (out.entry >= limit_) {
    out.verdict = Verdict::fail(EINVAL, "the ELF entry point lies beyond the address space");
    return out;
  }
  place_brk(out);
  if ((options_.personality & MMAP_PAGE_ZERO) != 0) {
    // SVr4 emulation; Linux does not care whether it works either.
    map(0, kPageSize, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
  }
  return out;
}

}  // namespace

Loaded load_program(Mapper& mapper, int fd, const Images& images, const LoadOptions& options) {
  return Loading(mapper, images, options).run(fd);
}

}  // namespace hpcvmm::load
