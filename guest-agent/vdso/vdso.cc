#include "guest-agent/vdso/vdso.hh"

#include <fcntl.h>
#include <sys/auxv.h>

#include <cstring>
#include <ctime>

#include "guest-agent/vdso/elf_symbols.hh"
#include "hpcvmm/base/layout.hh"
#include "hpcvmm/base/unique_fd.hh"

extern "C" {  // named in embed.S
// NOLINTBEGIN(readability-identifier-naming)
extern const std::byte hpcvmm_vdso64_image[];
extern const std::byte hpcvmm_vdso64_image_end[];
extern const std::byte hpcvmm_vdso32_image[];
extern const std::byte hpcvmm_vdso32_image_end[];
// NOLINTEND(readability-identifier-naming)
}

namespace hpcvmm::vdso {
namespace {

std::uint32_t offset_of(std::span<const std::byte> image, const char* name) {
  const auto symbol = find_symbol(image, name);
  // Cannot happen with the image this was linked with; a trap beats a guest that jumps to its ELF header.
  if (!symbol) __builtin_trap();
  return static_cast<std::uint32_t>(symbol->offset);
}

struct Mapping {
  std::uint64_t begin = 0, end = 0;
  bool ours = false;  // [vdso] or [vvar...]
};

bool parse_hex(const char*& at, const char* end, std::uint64_t& out) {
  const char* const start = at;
  out = 0;
  for (; at < end; ++at) {
    const char c = *at;
    if (c >= '0' && c <= '9')
      out = out * 16 + static_cast<unsigned>(c - '0');
    else if (c >= 'a' && c <= 'f')
      out = out * 16 + static_cast<unsigned>(c - 'a' + 10);
    else
      break;
  }
  return at != start;
}

Mapping parse_line(const char* line, std::size_t length) {
  Mapping mapping;
  const char* at = line;
  const char* const end = line + length;
  if (!parse_hex(at, end, mapping.begin) || at == end || *at++ != '-') return {};
  if (!parse_hex(at, end, mapping.end)) return {};
  const std::string_view rest(at, static_cast<std::size_t>(end - at));
  // A file could be *called* "/x/[vdso]"; only the kernel's own names start with the bracket.
  mapping.ours =
      rest.find(" [vdso]") != std::string_view::npos || rest.find(" [vvar") != std::string_view::npos;
  return mapping;
}

/// Calls `use(mapping)` for each line of /proc/self/maps, without allocating.
template <class F> Status for_each_mapping(F use) {
  const UniqueFd maps(::open("/proc/self/maps", O_RDONLY | O_CLOEXEC));
  if (!maps) return Error::last("open /proc/self/maps");
  char buffer[8192];
  std::size_t held = 0;
  bool skipping = false;  // inside a line longer than the buffer (a very long file name)
  for (;;) {
    const ssize_t got = ::read(maps.get(), buffer + held, sizeof(buffer) - held);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return Error::last("read /proc/self/maps");
    if (got == 0) return Unit{};
    held += static_cast<std::size_t>(got);
    std::size_t start = 0;
    while (const void* newline = std::memchr(buffer + start, '\n', held - start)) {
      const auto length = static_cast<std::size_t>(static_cast<const char*>(newline) - (buffer + start));
      if (!skipping) use(parse_line(buffer + start, length));
      skipping = false;
      start += length + 1;
    }
    if (start == 0 && held == sizeof(buffer)) {
      skipping = true;
      start = held;
    }
    held -= start;
    std::memmove(buffer, buffer + start, held);
  }
}

/// The run of adjacent vDSO mappings that holds `base`.
Status find_range(HostVdso& host) {
  std::uint64_t run_begin = 0;
  std::uint64_t run_end = 0;
  HPCVMM_CHECK_OK(for_each_mapping([&](const Mapping& mapping) {
    if (!mapping.ours) return;
    if (mapping.begin != run_end) run_begin = mapping.begin;
    run_end = mapping.end;
    if (run_begin <= host.base && host.base < run_end) {
      host.range_begin = run_begin;
      host.range_end = run_end;
      if (mapping.begin == host.base) host.bytes = mapping.end - mapping.begin;
    }
  }));
  if (host.bytes == 0) return Error::of(ENOENT, "no [vdso] mapping at AT_SYSINFO_EHDR");
  return Unit{};
}

}  // namespace

std::span<const std::byte> image64() { return {hpcvmm_vdso64_image, hpcvmm_vdso64_image_end}; }
std::span<const std::byte> image32() { return {hpcvmm_vdso32_image, hpcvmm_vdso32_image_end}; }

const Symbols64& symbols64() {
  static const Symbols64 table{
      .clock_gettime = offset_of(image64(), "__vdso_clock_gettime"),
      .gettimeofday = offset_of(image64(), "__vdso_gettimeofday"),
      .time = offset_of(image64(), "__vdso_time"),
      .getcpu = offset_of(image64(), "__vdso_getcpu"),
      .clock_getres = offset_of(image64(), "__vdso_clock_getres"),
  };
  return table;
}

const Symbols32& symbols32() {
  static const Symbols32 table{
      .kernel_vsyscall = offset_of(image32(), "__kernel_vsyscall"),
      .kernel_sigreturn = offset_of(image32(), "__kernel_sigreturn"),
      .kernel_rt_sigreturn = offset_of(image32(), "__kernel_rt_sigreturn"),
      .clock_gettime = offset_of(image32(), "__vdso_clock_gettime"),
      .gettimeofday = offset_of(image32(), "__vdso_gettimeofday"),
      .time = offset_of(image32(), "__vdso_time"),
      .clock_getres = offset_of(image32(), "__vdso_clock_getres"),
      .clock_gettime64 = offset_of(image32(), "__vdso_clock_gettime64"),
  };
  return table;
}

Result<HostVdso> host_vdso() {
  HostVdso host;
  host.base = ::getauxval(AT_SYSINFO_EHDR);
  if (host.base == 0) return Error::of(ENOENT, "AT_SYSINFO_EHDR: the host kernel gave no vDSO");
  HPCVMM_CHECK_OK(find_range(host));
  const std::span<const std::byte> image(reinterpret_cast<const std::byte*>(host.base), host.bytes);
  const auto address = [&](const char* name) -> std::uint64_t {
    const auto symbol = find_symbol(image, name);
    return symbol && symbol->offset < host.bytes ? host.base + symbol->offset : 0;
  };
  host.clock_gettime = address("__vdso_clock_gettime");
  host.gettimeofday = address("__vdso_gettimeofday");
  host.time = address("__vdso_time");
  host.getcpu = address("__vdso_getcpu");
  host.clock_getres = address("__vdso_clock_getres");
  if (host.clock_gettime == 0) return Error::of(ENOEXEC, "host vDSO: no __vdso_clock_gettime");
  return host;
}

void fill_empty_table(void* page) {
  std::memset(page, 0, HPCVMM_VDSO_TABLE_BYTES);
  auto* const table = static_cast<hpcvmm_vdso_table*>(page);
  table->magic = HPCVMM_VDSO_MAGIC;
  table->version = HPCVMM_VDSO_VERSION;
}

std::int64_t ClockOffsets::of(std::uint32_t clock) const {
  switch (clock) {
    case CLOCK_REALTIME:
    case CLOCK_REALTIME_COARSE: return realtime;
    case CLOCK_MONOTONIC:
    case CLOCK_MONOTONIC_COARSE: return monotonic;
    case CLOCK_MONOTONIC_RAW: return monotonic_raw;
    case CLOCK_BOOTTIME: return boottime;
    case CLOCK_TAI: return tai;
    default: return 0;
  }
}

void HostVdso::fill_table(void* page, std::uint64_t vdso_delta, const ClockOffsets& offsets) const {
  constexpr std::int64_t kSecond = 1'000'000'000;
  fill_empty_table(page);
  auto* const table = static_cast<hpcvmm_vdso_table*>(page);
  const auto moved = [vdso_delta](std::uint64_t address) { return address != 0 ? address + vdso_delta : 0; };
  table->clock_gettime = moved(clock_gettime);
  table->gettimeofday = moved(gettimeofday);
  table->time = moved(time);
  table->clock_getres = moved(clock_getres);
  if (!offsets.any()) return;
  table->flags = HPCVMM_VDSO_HAS_OFFSETS;
  for (std::uint32_t clock = 0; clock < HPCVMM_VDSO_CLOCKS; ++clock) {
    const std::int64_t offset = offsets.of(clock);
    const std::int64_t seconds = offset / kSecond - (offset % kSecond < 0 ? 1 : 0);
    table->offsets[clock].seconds = seconds;
    table->offsets[clock].nanoseconds = offset - seconds * kSecond;
  }
}

}  // namespace hpcvmm::vdso
