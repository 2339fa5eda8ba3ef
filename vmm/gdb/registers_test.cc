#include "vmm/gdb/registers.hh"

#include <gtest/gtest.h>

#include <cstring>
#include <regex>

namespace hpcvmm::gdb {
namespace {

/// Order and widths of the description are what read_register() produces.
void expect_description(Abi abi) {
  const std::string xml(target_xml(abi));
  const std::regex reg("<reg name=\"([a-z0-9_]+)\" bitsize=\"([0-9]+)\"");
  unsigned i = 0;
  for (auto it = std::sregex_iterator(xml.begin(), xml.end(), reg); it != std::sregex_iterator(); ++it, ++i)
    EXPECT_EQ(register_bytes(abi, i) * 8, std::stoul((*it)[2])) << (*it)[1];
  EXPECT_EQ(i, register_count(abi));
  EXPECT_EQ(register_bytes(abi, i), 0U);
  EXPECT_EQ(register_bytes(abi, ~0U), 0U);
}

TEST(Registers, DescriptionsMatchTheLayout) {
  expect_description(Abi::X64);
  expect_description(Abi::Ia32);
  // Sizes known to gdb: regs of amd64-linux with segments, i386-linux.
  EXPECT_EQ(file_bytes(Abi::X64), 17 * 8 + 7 * 4 + 8 * 10 + 8 * 4 + 16 * 16 + 4 + 8 + 16);
  EXPECT_EQ(file_bytes(Abi::Ia32), 9 * 4 + 7 * 4 + 8 * 10 + 8 * 4 + 8 * 16 + 4 + 4);
}

TEST(Registers, EveryOneCanBeReadBack) {
  for (const Abi abi : {Abi::X64, Abi::Ia32}) {
    RegisterFile f;
    f.regs.cs = kUserCs64;
    f.regs.ss = kUserDs;
    for (unsigned i = 0; i < register_count(abi); ++i) {
      std::string now;
      ASSERT_TRUE(read_register(f, abi, i, now));
      ASSERT_EQ(now.size(), register_bytes(abi, i));
      ASSERT_TRUE(write_register(f, abi, i, now)) << i;
      EXPECT_FALSE(write_register(f, abi, i, now + "x"));
      EXPECT_FALSE(write_register(f, abi, i, ""));
    }
    std::string none;
    EXPECT_FALSE(read_register(f, abi, register_count(abi), none));
    EXPECT_FALSE(write_register(f, abi, register_count(abi), "12345678"));
  }
}

TEST(Registers, OrderOfI386DiffersFromX64) {
  RegisterFile f;
  f.regs.rcx = 0x1122'3344;
  std::string ecx;
  ASSERT_TRUE(read_register(f, Abi::Ia32, 1, ecx));
  EXPECT_EQ(ecx, std::string("\x44\x33\x22\x11"));
  ASSERT_TRUE(write_register(f, Abi::Ia32, 3, std::string("\x01\0\0\0", 4)));
  EXPECT_EQ(f.regs.rbx, 1U);
}

TEST(Registers, PrivilegedValuesAreRefused) {
  RegisterFile f;
  f.regs.rflags = 0x202;
  const std::string all(4, '\xff');
  ASSERT_TRUE(write_register(f, Abi::X64, 17, all));
  EXPECT_EQ(f.regs.rflags & 0x3'7302U, 0x1'4202U);  // no TF, no IOPL; NT and RF, IF kept
  EXPECT_FALSE(write_register(f, Abi::X64, 18, std::string("\x10\0\0\0", 4)));  // cs of ring 0
  EXPECT_FALSE(write_register(f, Abi::X64, 20, std::string("\x10\0\0\0", 4)));  // ds of ring 0
  const unsigned fs_base = register_count(Abi::X64) - 2;
  EXPECT_FALSE(write_register(f, Abi::X64, fs_base, std::string(8, '\xff')));
}

TEST(Registers, TagWord) {
  FpState fp;
  EXPECT_EQ(full_tag_word(fp), 0xffff);
  const std::uint8_t valid = 0x80;  // one value pushed: TOP 7
  const std::uint16_t status = 7 << 11;
  std::memcpy(fp.area.data() + 4, &valid, 1);
  std::memcpy(fp.area.data() + 2, &status, 2);
  EXPECT_EQ(full_tag_word(fp), 0x7fff);  // +0.0: tag 1
  const std::uint64_t mantissa = std::uint64_t{1} << 63;
  const std::uint16_t exponent = 0x3fff;
  std::memcpy(fp.area.data() + 32, &mantissa, 8);
  std::memcpy(fp.area.data() + 40, &exponent, 2);
  EXPECT_EQ(full_tag_word(fp), 0x3fff);  // 1.0: tag 0
}

TEST(Registers, XmmMarksTheStateAsUsed) {
  RegisterFile f;
  const unsigned xmm0 = 17 + 1 + 6 + 8 + 8;
  ASSERT_TRUE(write_register(f, Abi::X64, xmm0, std::string(16, 'a')));
  std::uint64_t bv = 0;
  std::memcpy(&bv, f.fp.area.data() + 512, sizeof bv);
  EXPECT_EQ(bv, 2U);
}

}  // namespace
}  // namespace hpcvmm::gdb
