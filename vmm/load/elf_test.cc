// Goal: the parser says of every file what Linux says, and reads nothing outside the bytes it was given.
// Method: files linked in every way, then the same files with one field changed.
#include "vmm/load/elf.hh"

#include <elf.h>
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <memory>

#include "hpcvmm/base/layout.hh"
#include "vmm/load/load_testing.hh"

namespace hpcvmm::load {
namespace {

using testing::guest;
using testing::read_file;

ElfPlan parse(const std::vector<std::byte>& file, Role role = Role::Program) {
  return parse_elf(file, file.size(), role);
}

struct Linked {
  const char* name;
  Abi abi;
  Shape shape;
};

class EveryLinking : public ::testing::TestWithParam<Linked> {};

TEST_P(EveryLinking, IsRecognised) {
  const ElfPlan plan = parse(read_file(guest(GetParam().name)));
  ASSERT_EQ(plan.verdict.error, 0) << plan.verdict.why;
  EXPECT_EQ(plan.late.error, 0) << plan.late.why;
  EXPECT_EQ(plan.header.abi, GetParam().abi);
  EXPECT_EQ(plan.shape, GetParam().shape);
  EXPECT_EQ(plan.stack, StackExec::Off);
  EXPECT_EQ(plan.interp_bytes != 0, GetParam().shape == Shape::Pie || GetParam().shape == Shape::Dynamic);
  ASSERT_GE(plan.segments.size(), 2U);
  EXPECT_NE(plan.phdr_vaddr, plan.header.position_independent ? 0U : plan.header.phoff);
  std::uint64_t end = 0;
  bool code = false;
  for (const Segment& s : plan.segments) {
    EXPECT_GE(s.vaddr, end) << "segments ascend";
    end = s.vaddr + s.memsz;
    code = code ||
           (s.prot == (PROT_READ | PROT_EXEC) && plan.header.entry >= s.vaddr && plan.header.entry < end);
  }
  EXPECT_TRUE(code) << "the entry point lies in code";
  EXPECT_EQ(plan.span_bytes, end - page_down(plan.segments[0].vaddr));
}

INSTANTIATE_TEST_SUITE_P(Elf, EveryLinking,
                         ::testing::Values(Linked{"show.static.64", Abi::X64, Shape::Static},
                                           Linked{"show.static.32", Abi::Ia32, Shape::Static},
                                           Linked{"show.static_pie.64", Abi::X64, Shape::StaticPie},
                                           Linked{"show.static_pie.32", Abi::Ia32, Shape::StaticPie},
                                           Linked{"show.pie.64", Abi::X64, Shape::Pie},
                                           Linked{"show.pie.32", Abi::Ia32, Shape::Pie},
                                           Linked{"show.dynamic.64", Abi::X64, Shape::Dynamic},
                                           Linked{"show.dynamic.32", Abi::Ia32, Shape::Dynamic}));

TEST(Elf, SystemFiles) {
  EXPECT_EQ(parse(read_file("/bin/true")).shape, Shape::Pie);
  const std::vector<std::byte> loader = read_file("/lib64/ld-linux-x86-64.so.2");
  EXPECT_EQ(parse(loader).shape, Shape::StaticPie);
  EXPECT_TRUE(parse(loader, Role::Interpreter).verdict.ok());
  EXPECT_EQ(parse(read_file("/etc/passwd")).verdict.error, ENOEXEC);
  EXPECT_EQ(parse(read_file("/etc/passwd"), Role::Interpreter).verdict.error, ELIBBAD);
}

// Every prefix lies in an allocation of just its size, so that AddressSanitizer sees a read behind it.
TEST(Elf, EveryTruncationIsRefused) {
  for (const char* name : {"tiny.static.64", "tiny.static.32"}) {
    const std::vector<std::byte> file = read_file(guest(name));
    const ElfHeader header = parse_header(file, Role::Program);
    const std::size_t need = header.phoff + header.phdrs_bytes;
    for (std::size_t n = 0; n <= need; ++n) {
      const auto copy = std::make_unique<std::byte[]>(n);
      std::copy_n(file.begin(), n, copy.get());
      EXPECT_EQ(parse_elf({copy.get(), n}, n, Role::Program).verdict.error, n < need ? ENOEXEC : 0) << n;
      EXPECT_EQ(parse_elf({copy.get(), n}, n, Role::Interpreter).verdict.error, n < need ? ELIBBAD : 0) << n;
    }
  }
}

template <class Change>
ElfPlan changed(Change change, Role role = Role::Program, const char* name = "tiny.static.64") {
  std::vector<std::byte> file = read_file(guest(name));
  auto* ehdr = reinterpret_cast<Elf64_Ehdr*>(file.data());
  change(*ehdr, reinterpret_cast<Elf64_Phdr*>(file.data() + ehdr->e_phoff));
  return parse(file, role);
}

TEST(Elf, HeaderFields) {
  using E = Elf64_Ehdr;
  using P = Elf64_Phdr;
  EXPECT_EQ(changed([](E&, P*) {}).verdict.error, 0);
  EXPECT_EQ(changed([](E& e, P*) { e.e_machine = EM_AARCH64; }).verdict.error, ENOEXEC);
  EXPECT_EQ(changed([](E& e, P*) { e.e_machine = EM_AARCH64; }, Role::Interpreter).verdict.error, ELIBBAD);
  EXPECT_EQ(changed([](E& e, P*) { e.e_machine = EM_386; }).verdict.error, ENOEXEC) << "phentsize of IA32";
  EXPECT_EQ(changed([](E& e, P*) { e.e_type = ET_REL; }).verdict.error, ENOEXEC);
  EXPECT_EQ(changed([](E& e, P*) { e.e_type = ET_CORE; }).verdict.error, ENOEXEC);
  EXPECT_EQ(changed([](E& e, P*) { e.e_type = ET_REL; }, Role::Interpreter).late.error, EPERM);
  EXPECT_EQ(changed([](E& e, P*) { e.e_phentsize = 32; }).verdict.error, ENOEXEC);
  EXPECT_EQ(changed([](E& e, P*) { e.e_phnum = 0; }).verdict.error, ENOEXEC);
  EXPECT_EQ(changed([](E& e, P*) { e.e_phnum = 1171; }).verdict.error, ENOEXEC) << "more than 64 KiB";
  EXPECT_EQ(changed([](E& e, P*) { e.e_phoff = UINT64_MAX - 10; }).verdict.error, ENOEXEC);
  EXPECT_EQ(changed([](E& e, P*) { e.e_ident[EI_CLASS] = ELFCLASS32; }).verdict.error, 0)
      << "Linux never looks";
}

TEST(Elf, SegmentFields) {
  using E = Elf64_Ehdr;
  using P = Elf64_Phdr;
  EXPECT_EQ(changed([](E&, P* p) { p[0].p_filesz = p[0].p_memsz + 1; }).late.error, EINVAL);
  EXPECT_EQ(changed([](E&, P* p) { p[0].p_memsz = kTaskSize64 - p[0].p_vaddr; }).verdict.error, ENOMEM)
      << "across the zone";
  EXPECT_EQ(changed([](E&, P* p) { p[0].p_memsz = kTaskSize64 - p[0].p_vaddr + 1; }).late.error, EINVAL);
  EXPECT_EQ(changed([](E&, P* p) { p[0].p_memsz = UINT64_MAX; }).late.error, EINVAL);
  EXPECT_EQ(changed([](E&, P* p) { p[0].p_vaddr = kTaskSize64; }).late.error, EINVAL);
  EXPECT_EQ(changed([](E&, P* p) { p[0].p_vaddr = kZoneBegin - p[0].p_memsz; }).verdict.error, 0);
  EXPECT_EQ(changed([](E&, P* p) { p[0].p_vaddr = kZoneBegin - p[0].p_memsz + 1; }).verdict.error, ENOMEM);
  EXPECT_EQ(changed([](E&, P* p) { p[0].p_vaddr = kZoneEnd - 1; }).verdict.error, ENOMEM);
  EXPECT_EQ(changed([](E&, P* p) { p[0].p_vaddr = kZoneEnd; }).verdict.error, 0);
  EXPECT_EQ(parse(read_file(guest("tiny.zone.64"))).verdict.error, ENOMEM);
}

TEST(Elf, InterpreterPathLength) {
  const auto with_interp = [](std::uint64_t bytes) {
    return changed([bytes](Elf64_Ehdr&, Elf64_Phdr* p) {
      p[1].p_type = PT_INTERP;
      p[1].p_filesz = bytes;
    });
  };
  for (const std::uint64_t bad : {0UL, 1UL, 4097UL, UINT64_MAX})
    EXPECT_EQ(with_interp(bad).verdict.error, ENOEXEC);
  EXPECT_EQ(with_interp(2).interp_bytes, 2U);
  EXPECT_EQ(with_interp(4096).shape, Shape::Dynamic);
}

TEST(Elf, ExecutableStack) {
  const auto without = [](const char* name) {
    std::vector<std::byte> file = read_file(guest(name));
    const ElfHeader h = parse_header(file, Role::Program);
    const std::size_t step = h.phdrs_bytes / h.phnum;  // p_type comes first in both classes
    for (std::size_t at = h.phoff; at < h.phoff + h.phdrs_bytes; at += step) {
      std::uint32_t type = 0;
      std::memcpy(&type, &file[at], 4);
      if (type == PT_GNU_STACK) std::memset(&file[at], 0, 4);
    }
    return parse(file);
  };
  EXPECT_EQ(parse(read_file(guest("tiny.execstack.64"))).stack, StackExec::On);
  EXPECT_EQ(parse(read_file(guest("tiny.execstack.32"))).stack, StackExec::On);
  EXPECT_FALSE(parse(read_file(guest("tiny.execstack.32"))).read_implies_exec);
  EXPECT_EQ(without("tiny.static.64").stack, StackExec::Default);
  EXPECT_FALSE(without("tiny.static.64").read_implies_exec);
  EXPECT_TRUE(without("tiny.static.32").read_implies_exec);
}

TEST(Elf, Alignment) {
  EXPECT_EQ(parse(read_file(guest("show.aligned.64"))).align, 0x200000U);
  EXPECT_EQ(changed([](Elf64_Ehdr& e, Elf64_Phdr* p) {
              for (unsigned i = 0; i < e.e_phnum; ++i) p[i].p_align = 3;
            }).align,
            0U);
  EXPECT_EQ(changed([](Elf64_Ehdr& e, Elf64_Phdr* p) {
              for (unsigned i = 0; i < e.e_phnum; ++i) p[i].p_align = 8;
            }).align,
            4096U);
}

}  // namespace
}  // namespace hpcvmm::load
