// Threat model: a guest writes any bytes into a file and executes it.  The file must not make the VMM read
// outside its buffers, map anything over the VMM's own zone, or place an IA32 program beyond 4 GiB. Input
// grammar: two bytes (length of the program, in 16ths of the rest; answers of the mapper), the first bytes of
// the program's file, then those of its ELF interpreter's.
#include <fcntl.h>
#include <sys/mman.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>

#include "hpcvmm/base/layout.hh"
#include "tests/fuzz/fuzz_targets.hh"
#include "vmm/load/loader.hh"

namespace hpcvmm::fuzz {
namespace {

void require(bool holds, const char* promise) {
  if (holds) return;
  std::fprintf(stderr, "broken promise: %s\n", promise);
  std::abort();
}

/// Maps nothing and checks every request; places NULL hints like a kernel, or out of bounds if `hostile`.
class CheckingMapper : public load::Mapper {
 public:
  CheckingMapper(std::uint64_t limit, std::uint8_t mood) : limit_(limit), mood_(mood) {}

  std::int64_t map(std::uint64_t addr, std::uint64_t bytes, int, int flags, int,
                   std::uint64_t offset) override {
    const bool fixed = (flags & (MAP_FIXED | MAP_FIXED_NOREPLACE)) != 0;
    require(addr % kPageSize == 0 && bytes % kPageSize == 0, "map() is page aligned");
    require(offset % kPageSize == 0, "file offsets are page aligned");
    require(bytes != 0 && bytes <= limit_, "lengths are sane");
    if (fixed) {
      require(!touches_zone(addr, bytes), "no fixed mapping in the zone");
      require(addr <= limit_ - bytes, "no fixed mapping beyond the address space");
      return static_cast<std::int64_t>(addr);
    }
    ++placed_;
    if ((mood_ & 1) != 0 && placed_ > (mood_ >> 1) % 4) return -ENOMEM;
    const std::uint64_t at = page_down(limit_ - bytes) / 2;
    return static_cast<std::int64_t>((mood_ & 0x80) != 0 ? kZoneBegin - kPageSize : page_down(at));
  }
  std::int64_t unmap(std::uint64_t addr, std::uint64_t bytes) override {
    require(addr % kPageSize == 0 && bytes % kPageSize == 0 && bytes != 0, "unmap() is page aligned");
    require(!touches_zone(addr, bytes), "nothing is unmapped in the zone");
    return 0;
  }
  bool zero(std::uint64_t addr, std::uint64_t bytes) override {
    require(bytes != 0 && page_down(addr) == page_down(addr + bytes - 1), "zero() stays in one page");
    require(!touches_zone(addr, bytes), "nothing is cleared in the zone");
    return (mood_ & 0x40) == 0;
  }

 private:
  std::uint64_t limit_;
  std::uint8_t mood_;
  unsigned placed_ = 0;
};

void check_plan(const load::ElfPlan& plan) {
  require(plan.verdict.error >= 0 && plan.verdict.error < 4096, "verdicts are errnos");
  if (!plan.verdict.ok()) return;
  require(plan.header.phnum != 0 && plan.segments.size() <= plan.header.phnum, "no invented segments");
  require(plan.header.phdrs_bytes <= load::kPhdrsMaxBytes, "program headers are bounded");
  require(plan.interp_bytes <= 4096 && plan.interp_bytes != 1, "the interpreter's path is bounded");
  if (!plan.late.ok()) return;
  for (const load::Segment& s : plan.segments) {
    const std::uint64_t limit = load::task_size(plan.header.abi);
    require(s.filesz <= s.memsz && s.memsz <= limit && s.vaddr <= limit - s.memsz, "segments are in bounds");
    const std::uint64_t begin = page_down(s.vaddr);
    const bool fixed = !plan.header.position_independent;
    require(!fixed || !touches_zone(begin, page_up(s.vaddr + s.memsz) - begin), "the zone is refused");
  }
}

}  // namespace

void elf(const std::uint8_t* data, std::size_t bytes) {
  if (bytes < 2) return;
  const auto all = std::as_bytes(std::span(data + 2, bytes - 2));
  const std::size_t cut = all.size() * (data[0] % 17) / 16;
  load::Images images;
  images.program = load::parse_elf(all.first(cut), cut, load::Role::Program);
  images.interp = load::parse_elf(all.subspan(cut), all.size() - cut, load::Role::Interpreter);
  check_plan(images.program);
  check_plan(images.interp);
  if (!images.program.verdict.ok()) return;
  const bool same_abi = images.interp.header.abi == images.program.header.abi;
  if (images.program.interp_bytes != 0 && images.interp.verdict.ok() && same_abi) {
    images.interp_fd = UniqueFd(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  }
  const std::uint64_t limit = load::task_size(images.program.header.abi);
  CheckingMapper mapper(limit, data[1]);
  load::LoadOptions options;
  options.random = {data[1] * std::uint64_t{0x0123'4567'89ab'cdef},
                    data[0] * std::uint64_t{0xfedc'ba98'7654'3210}};
  const load::Loaded loaded = load::load_program(mapper, -1, images, options);
  if (!loaded.verdict.ok()) return;
  require(loaded.brk % kPageSize == 0, "brk is page aligned");
  require(loaded.entry < limit, "the entry point is in the address space");
}

}  // namespace hpcvmm::fuzz
