// Goal: a libc that parses our image finds the right functions, and they tell the host's time.
// Method: map [table][image] as a guest has it, look up symbols the long way round (version table included,
// nothing shared with elf_symbols.cc), call them; let the system's own dynamic linker read the same image
// from its file.
#include "guest-agent/vdso/vdso.hh"

#include <dlfcn.h>
#include <elf.h>
#include <gtest/gtest.h>
#include <link.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "guest-agent/vdso/elf_symbols.hh"

namespace hpcvmm::vdso {
namespace {

using ClockFn = int (*)(clockid_t, timespec*);
using TimeofdayFn = int (*)(timeval*, void*);
using TimeFn = time_t (*)(time_t*);
using GetcpuFn = long (*)(unsigned*, unsigned*, void*);

std::int64_t ns(const timespec& t) { return t.tv_sec * 1'000'000'000LL + t.tv_nsec; }

/// Linear search with version check: slow, plain, and independent of the code under test.
void* versioned_symbol(const char* base, const char* name, const char* version) {
  const auto* ehdr = reinterpret_cast<const ElfW(Ehdr)*>(base);
  const auto* phdr = reinterpret_cast<const ElfW(Phdr)*>(base + ehdr->e_phoff);
  const ElfW(Dyn)* dyn = nullptr;
  std::uint64_t load = 0;
  for (int i = 0; i < ehdr->e_phnum; ++i) {
    if (phdr[i].p_type == PT_LOAD) load = phdr[i].p_vaddr;
    if (phdr[i].p_type == PT_DYNAMIC) dyn = reinterpret_cast<const ElfW(Dyn)*>(base + phdr[i].p_offset);
  }
  if (dyn == nullptr) return nullptr;
  const char *strtab = nullptr, *verdef = nullptr;
  const ElfW(Sym)* symtab = nullptr;
  const std::uint32_t* hash = nullptr;
  const std::uint16_t* versym = nullptr;
  for (; dyn->d_tag != DT_NULL; ++dyn) {
    const char* at = base + (dyn->d_un.d_ptr - load);
    if (dyn->d_tag == DT_STRTAB) strtab = at;
    if (dyn->d_tag == DT_SYMTAB) symtab = reinterpret_cast<const ElfW(Sym)*>(at);
    if (dyn->d_tag == DT_HASH) hash = reinterpret_cast<const std::uint32_t*>(at);
    if (dyn->d_tag == DT_VERSYM) versym = reinterpret_cast<const std::uint16_t*>(at);
    if (dyn->d_tag == DT_VERDEF) verdef = at;
  }
  if (strtab == nullptr || symtab == nullptr || hash == nullptr || versym == nullptr || verdef == nullptr)
    return nullptr;
  for (std::uint32_t i = 1; i < hash[1]; ++i) {
    if (std::strcmp(strtab + symtab[i].st_name, name) != 0) continue;
    for (const char* at = verdef;;) {
      const auto* def = reinterpret_cast<const ElfW(Verdef)*>(at);
      const auto* aux = reinterpret_cast<const ElfW(Verdaux)*>(at + def->vd_aux);
      const bool same = def->vd_ndx == (versym[i] & 0x7fff);
      if (same && std::strcmp(strtab + aux->vda_name, version) == 0)
        return const_cast<char*>(base) + symtab[i].st_value;
      if (def->vd_next == 0) break;
      at += def->vd_next;
    }
  }
  return nullptr;
}

class Mapped64 : public testing::Test {
 protected:
  void SetUp() override {
    const auto image = image64();
    bytes_ = HPCVMM_VDSO_TABLE_BYTES + image.size();
    pages_ = static_cast<char*>(
        ::mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    ASSERT_NE(pages_, MAP_FAILED);
    std::memcpy(base(), image.data(), image.size());
    auto host = host_vdso();
    ASSERT_TRUE(host) << host.error().op;
    host_ = *host;
  }
  void TearDown() override { ::munmap(pages_, bytes_); }
  char* base() const { return pages_ + HPCVMM_VDSO_TABLE_BYTES; }
  void seal() const {
    ASSERT_EQ(::mprotect(pages_, HPCVMM_VDSO_TABLE_BYTES, PROT_READ), 0);
    ASSERT_EQ(::mprotect(base(), image64().size(), PROT_READ | PROT_EXEC), 0);
  }
  template <class F> F symbol(const char* name) const {
    return reinterpret_cast<F>(versioned_symbol(base(), name, "LINUX_2.6"));
  }

  char* pages_ = nullptr;
  std::size_t bytes_ = 0;
  HostVdso host_;
};

TEST_F(Mapped64, EverySymbolWithItsAliasAndVersion) {
  const std::pair<const char*, std::uint32_t> expected[] = {
      {"clock_gettime", symbols64().clock_gettime},
      {"gettimeofday", symbols64().gettimeofday},
      {"time", symbols64().time},
      {"getcpu", symbols64().getcpu},
      {"clock_getres", symbols64().clock_getres},
  };
  for (const auto& [name, offset] : expected) {
    const std::string prefixed = std::string("__vdso_") + name;
    EXPECT_EQ(versioned_symbol(base(), prefixed.c_str(), "LINUX_2.6"), base() + offset) << name;
    EXPECT_EQ(versioned_symbol(base(), name, "LINUX_2.6"), base() + offset) << name;
    EXPECT_EQ(versioned_symbol(base(), name, "LINUX_2.5"), nullptr) << name;
  }
}

/// Reads `clock` through `fn` between two system calls, which are `offset` behind.
void expect_ahead_by(ClockFn fn, clockid_t clock, std::int64_t offset) {
  for (int i = 0; i < 2000; ++i) {
    timespec before{};
    timespec ours{};
    timespec after{};
    ASSERT_EQ(::syscall(SYS_clock_gettime, clock, &before), 0);
    ASSERT_EQ(fn(clock, &ours), 0);
    ASSERT_EQ(::syscall(SYS_clock_gettime, clock, &after), 0);
    ASSERT_GE(ours.tv_nsec, 0);
    ASSERT_LT(ours.tv_nsec, 1'000'000'000);
    ASSERT_LE(ns(before) + offset, ns(ours)) << "clock " << clock;
    ASSERT_LE(ns(ours), ns(after) + offset) << "clock " << clock;
  }
}

/// The three must be in order.
void expect_between_syscalls(ClockFn fn, clockid_t clock) { expect_ahead_by(fn, clock, 0); }

TEST_F(Mapped64, ClocksAgreeWithSystemCallsThroughTheTable) {
  host_.fill_table(pages_, 0);
  seal();
  const auto clock = symbol<ClockFn>("__vdso_clock_gettime");
  ASSERT_NE(clock, nullptr);
  for (const clockid_t id : {CLOCK_MONOTONIC, CLOCK_REALTIME, CLOCK_BOOTTIME, CLOCK_PROCESS_CPUTIME_ID})
    expect_between_syscalls(clock, id);
  timeval tv{};
  timespec now{};
  ASSERT_EQ(symbol<TimeofdayFn>("gettimeofday")(&tv, nullptr), 0);
  ASSERT_EQ(clock(CLOCK_REALTIME, &now), 0);
  EXPECT_LE(tv.tv_sec, now.tv_sec);
  EXPECT_LE(now.tv_sec - tv.tv_sec, 1);
  EXPECT_LE(now.tv_sec - symbol<TimeFn>("time")(nullptr), 1);
  timespec res{};
  timespec expected{};
  ASSERT_EQ(symbol<ClockFn>("clock_getres")(CLOCK_MONOTONIC, &res), 0);
  ASSERT_EQ(::syscall(SYS_clock_getres, CLOCK_MONOTONIC, &expected), 0);
  EXPECT_EQ(ns(res), ns(expected));
}

TEST_F(Mapped64, EmptyTableMeansSystemCalls) {
  fill_empty_table(pages_);
  seal();
  const auto clock = symbol<ClockFn>("__vdso_clock_gettime");
  expect_between_syscalls(clock, CLOCK_MONOTONIC);
  timespec t{};
  EXPECT_EQ(clock(9999, &t), -EINVAL);  // the raw kernel convention, as the host's own vDSO has it
  time_t stored = 0;
  EXPECT_EQ(symbol<TimeFn>("__vdso_time")(&stored), stored);
  EXPECT_GT(stored, 1'600'000'000);
  timeval tv{};
  EXPECT_EQ(symbol<TimeofdayFn>("__vdso_gettimeofday")(&tv, nullptr), 0);
  EXPECT_GE(tv.tv_sec, stored);
  unsigned cpu = ~0U;
  EXPECT_EQ(symbol<GetcpuFn>("__vdso_getcpu")(&cpu, nullptr, nullptr), 0);
  EXPECT_LT(cpu, static_cast<unsigned>(::sysconf(_SC_NPROCESSORS_CONF)));
}

int fixed_answer(clockid_t, timespec* t) {
  *t = {.tv_sec = 42, .tv_nsec = 7};
  return 3;
}

TEST_F(Mapped64, TheTableDecidesWhereACallGoes) {
  fill_empty_table(pages_);
  reinterpret_cast<hpcvmm_vdso_table*>(pages_)->clock_gettime =
      reinterpret_cast<std::uint64_t>(&fixed_answer);
  seal();
  timespec t{};
  EXPECT_EQ(symbol<ClockFn>("clock_gettime")(CLOCK_MONOTONIC, &t), 3);
  EXPECT_EQ(ns(t), 42'000'000'007);
}

TEST_F(Mapped64, OffsetsAreAddedToEachClockThatHasOne) {
  const ClockOffsets offsets{.realtime = -1'500'000'001,
                             .monotonic = 123'456'789'123'456'789,
                             .monotonic_raw = 999'999'999,
                             .boottime = -999'999'999,
                             .tai = 1};
  host_.fill_table(pages_, 0, offsets);
  seal();
  const auto clock = symbol<ClockFn>("__vdso_clock_gettime");
  for (const clockid_t id : {CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_MONOTONIC_RAW, CLOCK_REALTIME_COARSE,
                             CLOCK_MONOTONIC_COARSE, CLOCK_BOOTTIME, CLOCK_TAI})
    expect_ahead_by(clock, id, offsets.of(static_cast<std::uint32_t>(id)));
  // Not a node's: the system call, and nothing added.
  expect_between_syscalls(clock, CLOCK_PROCESS_CPUTIME_ID);
  timespec t{};
  EXPECT_EQ(clock(9999, &t), -EINVAL);
  EXPECT_EQ(clock(-1, &t), -EINVAL);
}

TEST_F(Mapped64, TheTimeOfDayHasTheOffsetOfItsClock) {
  const ClockOffsets offsets{.realtime = 5'000'000'700};
  host_.fill_table(pages_, 0, offsets);
  seal();
  const auto clock = symbol<ClockFn>("__vdso_clock_gettime");
  const auto of_day = symbol<TimeofdayFn>("__vdso_gettimeofday");
  for (int i = 0; i < 2000; ++i) {
    timespec before{};
    timeval ours{};
    timespec after{};
    ASSERT_EQ(clock(CLOCK_REALTIME, &before), 0);
    ASSERT_EQ(of_day(&ours, nullptr), 0);
    ASSERT_EQ(clock(CLOCK_REALTIME, &after), 0);
    const std::int64_t us = ours.tv_sec * 1'000'000LL + ours.tv_usec;
    ASSERT_LE(ns(before) / 1000, us);
    ASSERT_LE(us, ns(after) / 1000);
  }
  EXPECT_EQ(of_day(nullptr, nullptr), 0);
}

TEST_F(Mapped64, DeltaMovesEveryEntryAndGetcpuStaysASystemCall) {
  host_.fill_table(pages_, 0x1000);
  const auto* table = reinterpret_cast<const hpcvmm_vdso_table*>(pages_);
  EXPECT_EQ(table->clock_gettime, host_.clock_gettime + 0x1000);
  EXPECT_EQ(table->time, host_.time + 0x1000);
  EXPECT_EQ(table->getcpu, 0U);
  HostVdso none;
  none.fill_table(pages_, 0x1000);
  EXPECT_EQ(table->clock_gettime, 0U) << "an absent function must stay absent";
}

TEST_F(Mapped64, CostAgainstTheHostsOwn) {
  host_.fill_table(pages_, 0);
  seal();
  const auto ours = symbol<ClockFn>("__vdso_clock_gettime");
  const auto native = reinterpret_cast<ClockFn>(host_.clock_gettime);
  const auto cost = [](ClockFn fn) {
    timespec t{};
    timespec a{};
    timespec b{};
    std::vector<double> runs;
    for (int r = 0; r < 21; ++r) {
      ::clock_gettime(CLOCK_MONOTONIC, &a);
      for (int i = 0; i < 5000; ++i) fn(CLOCK_MONOTONIC, &t);
      ::clock_gettime(CLOCK_MONOTONIC, &b);
      runs.push_back(static_cast<double>(ns(b) - ns(a)) / 5000);
    }
    std::nth_element(runs.begin(), runs.begin() + 10, runs.end());
    return runs[10];
  };
  const double host_ns = cost(native);
  const double our_ns = cost(ours);
  std::printf("clock_gettime: host's vDSO %.1f ns, through ours %.1f ns, ratio %.3f\n", host_ns, our_ns,
              our_ns / host_ns);
  EXPECT_LT(our_ns,
            host_ns * 3 + 20);  // a system call would be ten times the host's; the promise is in bench/
}

TEST(HostVdso, RangeHoldsDataAndCode) {
  auto host = host_vdso();
  ASSERT_TRUE(host);
  EXPECT_EQ(host->base, host->range_end - host->bytes);
  EXPECT_LT(host->range_begin, host->base) << "no [vvar] in front of [vdso]";
  EXPECT_GE(host->clock_gettime, host->base);
  EXPECT_LT(host->clock_gettime, host->base + host->bytes);
}

TEST(Image, SystemDynamicLinkerAcceptsIt) {
  void* handle = ::dlopen(HPCVMM_VDSO64_FILE, RTLD_NOW | RTLD_LOCAL);
  ASSERT_NE(handle, nullptr) << ::dlerror();
  link_map* map = nullptr;
  ASSERT_EQ(::dlinfo(handle, RTLD_DI_LINKMAP, &map), 0);
  const char* strtab = nullptr;
  std::uint64_t soname = 0;
  for (const ElfW(Dyn)* dyn = map->l_ld; dyn->d_tag != DT_NULL; ++dyn) {
    if (dyn->d_tag == DT_STRTAB) strtab = reinterpret_cast<const char*>(map->l_addr + dyn->d_un.d_ptr);
    if (dyn->d_tag == DT_SONAME) soname = dyn->d_un.d_val;
  }
  ASSERT_NE(strtab, nullptr);
  EXPECT_STREQ(strtab + soname, "linux-vdso.so.1");  // the other image's: vdso32_program.c
  // dlvsym uses DT_GNU_HASH, so this covers the other table than the lookup above.
  for (const char* name : {"__vdso_clock_gettime", "__vdso_gettimeofday", "__vdso_time", "__vdso_getcpu",
                           "__vdso_clock_getres", "clock_gettime", "time"})
    EXPECT_NE(::dlvsym(handle, name, "LINUX_2.6"), nullptr) << name << ": " << ::dlerror();
  const auto* at = static_cast<const char*>(::dlvsym(handle, "__vdso_time", "LINUX_2.6"));
  EXPECT_EQ(static_cast<std::uint64_t>(at - reinterpret_cast<const char*>(map->l_addr)), symbols64().time);
  ::dlclose(handle);
}

TEST(Image, WholePages) {
  EXPECT_EQ(image64().size() % 4096, 0U);
  EXPECT_EQ(image32().size() % 4096, 0U);
  EXPECT_LE(image64().size(), 8192U);
  EXPECT_LE(image32().size(), 8192U);
}

TEST(Image, SignalTrampolinesAreByteForByteWhatDebuggersKnow) {
  const std::uint8_t sigreturn[] = {0x58, 0xb8, 0x77, 0, 0, 0, 0xcd, 0x80};
  const std::uint8_t rt_sigreturn[] = {0xb8, 0xad, 0, 0, 0, 0xcd, 0x80};
  const std::uint8_t vsyscall[] = {0xcd, 0x80, 0xc3};
  EXPECT_EQ(std::memcmp(image32().data() + symbols32().kernel_sigreturn, sigreturn, 8), 0);
  EXPECT_EQ(std::memcmp(image32().data() + symbols32().kernel_rt_sigreturn, rt_sigreturn, 7), 0);
  EXPECT_EQ(std::memcmp(image32().data() + symbols32().kernel_vsyscall, vsyscall, 3), 0);
}

/// Both hash tables must give the same answer: blank one at a time.
void blank_dynamic(std::vector<std::byte>& image, std::int64_t tag) {
  auto* ehdr = reinterpret_cast<Elf64_Ehdr*>(image.data());
  auto* phdr = reinterpret_cast<Elf64_Phdr*>(image.data() + ehdr->e_phoff);
  for (int i = 0; i < ehdr->e_phnum; ++i) {
    if (phdr[i].p_type != PT_DYNAMIC) continue;
    auto* dyn = reinterpret_cast<Elf64_Dyn*>(image.data() + phdr[i].p_offset);
    for (; dyn->d_tag != DT_NULL; ++dyn)
      if (dyn->d_tag == tag) dyn->d_tag = DT_DEBUG;
  }
}

TEST(FindSymbol, EitherHashTableWillDo) {
  for (const std::int64_t tag : {std::int64_t{DT_HASH}, std::int64_t{DT_GNU_HASH}}) {
    std::vector<std::byte> image(image64().begin(), image64().end());
    blank_dynamic(image, tag);
    const auto found = find_symbol(image, "__vdso_clock_getres");
    ASSERT_TRUE(found) << "without tag " << tag;
    EXPECT_EQ(found->offset, symbols64().clock_getres);
    EXPECT_FALSE(find_symbol(image, "__vdso_clock_getre"));
    EXPECT_FALSE(find_symbol(image, "LINUX_2.6"));
  }
}

TEST(FindSymbol, DamagedImagesAreRefusedWithoutReadingBeyondThem) {
  const std::vector<std::byte> whole(image64().begin(), image64().end());
  for (std::size_t bytes = 0; bytes < 0x640; ++bytes) {  // truncation anywhere; the sanitizers watch the edge
    const std::vector<std::byte> cut(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(bytes));
    const auto found = find_symbol(cut, "__vdso_time");
    EXPECT_TRUE(!found || found->offset == symbols64().time) << bytes;
  }
  for (std::size_t at = 0; at < 0x500; ++at) {
    std::vector<std::byte> bad = whole;
    bad[at] = std::byte{0xff};
    (void)find_symbol(bad, "__vdso_time");
  }
}

}  // namespace
}  // namespace hpcvmm::vdso
