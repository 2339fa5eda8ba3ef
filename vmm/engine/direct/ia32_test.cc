#include "vmm/engine/direct/ia32.hh"

#include <asm/ldt.h>
#include <gtest/gtest.h>

#include <cstring>

namespace hpcvmm::engine::direct {
namespace {

static_assert(sizeof(UserDesc) == sizeof(user_desc));

user_desc decoded(std::uint64_t descriptor) {
  const UserDesc mine = user_desc_of(12, descriptor);
  user_desc theirs;
  std::memcpy(&theirs, &mine, sizeof theirs);
  return theirs;
}

TEST(UserDesc, TlsSegmentAsGlibcMakesIt) {
  // base 0xf7d81740, limit 0xfffff pages, 32-bit writable data, present, DPL 3, AVL
  const std::uint64_t d = 0xf7df'f3d8'1740'ffff;
  const user_desc u = decoded(d);
  EXPECT_EQ(u.entry_number, 12u);
  EXPECT_EQ(u.base_addr, 0xf7d81740u);
  EXPECT_EQ(u.limit, 0xfffffu);
  EXPECT_EQ(u.seg_32bit, 1u);
  EXPECT_EQ(u.contents, 0u);
  EXPECT_EQ(u.read_exec_only, 0u);
  EXPECT_EQ(u.limit_in_pages, 1u);
  EXPECT_EQ(u.seg_not_present, 0u);
  EXPECT_EQ(u.useable, 1u);
}

TEST(UserDesc, ReadOnlyExpandDownBytes) {
  const std::uint64_t d = 0x1240'f534'5678'1234;  // type 5: read-only, expand-down, accessed
  const user_desc u = decoded(d);
  EXPECT_EQ(u.base_addr, 0x12345678u);
  EXPECT_EQ(u.limit, 0x01234u);
  EXPECT_EQ(u.seg_32bit, 1u);
  EXPECT_EQ(u.contents, 1u);
  EXPECT_EQ(u.read_exec_only, 1u);
  EXPECT_EQ(u.limit_in_pages, 0u);
  EXPECT_EQ(u.useable, 0u);
}

TEST(UserDesc, ZeroClearsTheEntry) {
  const user_desc u = decoded(0);
  EXPECT_EQ(u.base_addr, 0u);
  EXPECT_EQ(u.limit, 0u);
  EXPECT_EQ(u.contents, 0u);
  EXPECT_EQ(u.read_exec_only, 1u);
  EXPECT_EQ(u.seg_32bit, 0u);
  EXPECT_EQ(u.limit_in_pages, 0u);
  EXPECT_EQ(u.seg_not_present, 1u);
  EXPECT_EQ(u.useable, 0u);
}

}  // namespace
}  // namespace hpcvmm::engine::direct
