// Goal: every exit and every moment of an interruption is told right, without KVM.
// Method: hand-made registers and exception frames; the layouts are those of guest-agent/stub/stub.S and of
// Intel SDM vol. 3, 6.14.2.  Random frames: tests/fuzz/exit_target.cc.
#include "vmm/engine/kvm/decode.hh"

#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <memory>

namespace hpcvmm::engine::kvm {
namespace {

constexpr std::uint64_t kPageVa = kVcpuPages + 3 * kPageSize;
constexpr std::uint64_t kSysret = kStubCode + 2;
constexpr std::uint64_t kUserRip = 0x40'1234;

std::array<std::uint8_t, 2> g_code{0x90, 0x90};  // what copy_in finds at kUserRip
bool read_code(void* to, std::uint64_t guest, std::size_t bytes) {
  if (guest != kUserRip || bytes != g_code.size()) return false;
  std::memcpy(to, g_code.data(), bytes);
  return true;
}

class Decode : public testing::Test {
 protected:
  void SetUp() override { g_code = {0x90, 0x90}; }

  /// The state behind the stub's `out %al, $0x81` for this exception.
  Exit exception(std::uint64_t vector, std::uint64_t error, std::uint64_t cs = kUserCs64) {
    const std::array<std::uint64_t, 7> frame{vector, error, kUserRip, cs, 0x246, 0x7fff'0000'1000, kUserDs};
    const std::uint64_t offset = kStackTop - sizeof frame;
    std::memcpy(page_.data() + offset, frame.data(), sizeof frame);
    regs_.rip = kStubExceptions + 16 * vector + 6;
    regs_.cs = kKernelCs;
    regs_.ss = kKernelDs;
    regs_.rsp = kPageVa + offset;
    return decode_io(io(kPortException, false), regs_);
  }
  [[nodiscard]] IoExit io(std::uint16_t port, bool at_user) const {
    return {.port = port,
            .at_user = at_user,
            .page = page_.data(),
            .page_va = kPageVa,
            .cr2 = 0xdead'b000,
            .copy_in = read_code};
  }
  void expect_user_state() const {
    EXPECT_EQ(regs_.rip, kUserRip);
    EXPECT_EQ(regs_.cs, kUserCs64);
    EXPECT_EQ(regs_.rflags, 0x246U);
    EXPECT_EQ(regs_.rsp, 0x7fff'0000'1000U);
    EXPECT_EQ(regs_.ss, kUserDs);
  }

  std::array<char, kPageSize> page_{};
  GuestRegs regs_{};
};

TEST_F(Decode, PageFault) {
  const Exit e = exception(14, 0x8000'0007);
  EXPECT_EQ(e.kind, ExitKind::Exception);
  EXPECT_EQ(e.vector, 14);
  EXPECT_EQ(e.error_code, 7U) << "bits that Linux does not tell are cut";
  EXPECT_EQ(e.fault_address, 0xdead'b000U);
  expect_user_state();
}

TEST_F(Decode, OtherExceptionsHaveNoAddress) {
  for (const unsigned vector : {0U, 1U, 3U, 4U, 5U, 7U, 11U, 12U, 13U, 16U, 17U, 19U}) {
    const Exit e = exception(vector, 0x158);
    EXPECT_EQ(e.kind, ExitKind::Exception);
    EXPECT_EQ(e.vector, vector);
    EXPECT_EQ(e.error_code, 0x158U);
    EXPECT_EQ(e.fault_address, 0U);
    expect_user_state();
  }
}

TEST_F(Decode, Int80) {
  EXPECT_EQ(exception(0x80, 0).kind, ExitKind::Syscall32);
  expect_user_state();
}

TEST_F(Decode, Int80AsPvmTellsIt) {
  g_code = {0xcd, 0x80};
  for (const auto& [vector, error] : {std::pair{6, 0}, std::pair{13, 0x402}}) {
    EXPECT_EQ(exception(static_cast<unsigned>(vector), static_cast<unsigned>(error)).kind,
              ExitKind::Syscall32);
    EXPECT_EQ(regs_.rip, kUserRip + 2);
  }
  // Another #GP at the same instruction is not the call.
  EXPECT_EQ(exception(13, 0).kind, ExitKind::Exception);
  EXPECT_EQ(regs_.rip, kUserRip);
}

TEST_F(Decode, OtherGatesAreProtectionFaults) {
  g_code = {0xcd, 0x21};
  const Exit e = exception(6, 0);
  EXPECT_EQ(e.kind, ExitKind::Exception);
  EXPECT_EQ(e.vector, 13);
  EXPECT_EQ(e.error_code, 0x21U << 3 | 2);
  expect_user_state();
}

TEST_F(Decode, InvalidOpcodes) {
  g_code = {0x0f, 0x0b};
  EXPECT_EQ(exception(6, 0).vector, 6);
  expect_user_state();
}

TEST_F(Decode, AnExceptionOfTheStubIsBroken) {
  const Exit e = exception(13, 0, kKernelCs);
  EXPECT_EQ(e.kind, ExitKind::Broken);
  EXPECT_EQ(e.vector, 13);
}

TEST_F(Decode, StackPointersOutsideThePage) {
  const std::uint64_t wrong[] = {0,
                                 kPageVa - 1,
                                 kPageVa - 8,
                                 kPageVa - 56,
                                 kPageVa + kStackTop - 55,
                                 kPageVa + kStackTop,
                                 kPageVa + kPageSize * 2,
                                 ~std::uint64_t{0}};
  for (const std::uint64_t rsp : wrong) {
    regs_.rsp = rsp;
    const Exit e = decode_io(io(kPortException, false), regs_);
    EXPECT_EQ(e.kind, ExitKind::Broken) << std::hex << rsp;
    // Not Broken for what was read there.
    EXPECT_STREQ(e.detail, "exception stack pointer out of range") << std::hex << rsp;
  }
}

TEST_F(Decode, SyscallOnEveryHost) {
  // VT-x and SVM stop behind the `out`; a PVM host may show it at its beginning.
  for (const std::uint64_t behind : {0U, 1U, 2U}) {
    regs_ = {};
    regs_.rip = kStubCode + behind;
    regs_.rcx = kUserRip;
    regs_.r11 = 0x202;
    regs_.rax = 39;
    EXPECT_EQ(decode_io(io(kPortSyscall, behind == 0), regs_).kind, ExitKind::Syscall64);
    EXPECT_EQ(regs_.rip, kUserRip);
    EXPECT_EQ(regs_.rflags, 0x202U);
    EXPECT_EQ(regs_.cs, kUserCs64);
    EXPECT_EQ(regs_.ss, kUserDs);
    EXPECT_EQ(regs_.rax, 39U);
  }
}

TEST_F(Decode, AGuestsOwnOutIsAProtectionFault) {
  for (const std::uint16_t port : {kPortSyscall, kPortException, std::uint16_t{0x60}}) {
    regs_ = {};
    regs_.rip = kUserRip + 2;
    const Exit e = decode_io(io(port, true), regs_);
    EXPECT_EQ(e.kind, ExitKind::Exception);
    EXPECT_EQ(e.vector, 13);
    EXPECT_EQ(e.error_code, 0U);
    EXPECT_EQ(regs_.rip, kUserRip) << "at the instruction, as on Linux";
  }
}

TEST_F(Decode, InterruptedAtTheCall) {
  regs_.rip = kStubCode;
  regs_.rcx = kUserRip;
  regs_.r11 = 0x246;
  EXPECT_EQ(interrupted_at(regs_, kSysret).kind, ExitKind::Syscall64) << "a call that was made is not lost";
  EXPECT_EQ(regs_.rip, kUserRip);
  EXPECT_EQ(regs_.rflags, 0x246U);
}

TEST_F(Decode, InterruptedOnTheWayBack) {
  regs_.rip = kSysret;
  regs_.cs = kKernelCs;
  regs_.rcx = kUserRip;
  regs_.r11 = 0x246;
  EXPECT_EQ(interrupted_at(regs_, kSysret).kind, ExitKind::Interrupted) << "the call is over";
  EXPECT_EQ(regs_.rip, kUserRip);
  EXPECT_EQ(regs_.cs, kUserCs64);
}

TEST_F(Decode, InterruptedInUserCode) {
  regs_.rip = kUserRip;
  regs_.cs = kUserCs64;
  regs_.rcx = 1;
  regs_.r11 = 2;
  regs_.rflags = 0x293;
  EXPECT_EQ(interrupted_at(regs_, kSysret).kind, ExitKind::Interrupted);
  EXPECT_EQ(regs_.rip, kUserRip);
  EXPECT_EQ(regs_.rflags, 0x293U);
  // A guest that jumped to the sysretq itself is at CPL 3: its registers are its own.
  regs_.rip = kSysret;
  EXPECT_EQ(interrupted_at(regs_, kSysret).kind, ExitKind::Interrupted);
  EXPECT_EQ(regs_.rip, kSysret);
}

TEST(Cpuid, Lookups) {
  const auto table = std::make_unique<CpuidTable>();
  table->head.nent = 3;
  table->entries[0] = {
      .function = 0xd, .index = 1, .flags = 0, .eax = 0, .ebx = 0, .ecx = 0, .edx = 0, .padding = {}};
  table->entries[1] = {
      .function = 0xd, .index = 0, .flags = 0, .eax = 7, .ebx = 1, .ecx = 2, .edx = 4, .padding = {}};
  table->entries[2] = {
      .function = 7, .index = 0, .flags = 0, .eax = 0, .ebx = 1, .ecx = 2, .edx = 4, .padding = {}};
  table->entries[3] = {
      .function = 9, .index = 0, .flags = 0, .eax = 1, .ebx = 0, .ecx = 0, .edx = 0, .padding = {}};
  EXPECT_EQ(find_cpuid(*table, 0xd, 0), &table->entries[1]);
  EXPECT_EQ(find_cpuid(*table, 0xd, 1), &table->entries[0]);
  EXPECT_EQ(find_cpuid(*table, 0xd, 2), nullptr);
  EXPECT_EQ(find_cpuid(*table, 9, 0), nullptr) << "behind the number of entries";
  EXPECT_TRUE(cpuid_has_leaf(*table, 0xd));
  EXPECT_FALSE(cpuid_has_leaf(*table, 7)) << "present, but empty";
  EXPECT_FALSE(cpuid_has_leaf(*table, 1));
  EXPECT_TRUE(cpuid_bit(*table, 7, 0, 'b', 0));
  EXPECT_TRUE(cpuid_bit(*table, 7, 0, 'c', 1));
  EXPECT_TRUE(cpuid_bit(*table, 7, 0, 'd', 2));
  EXPECT_TRUE(cpuid_bit(*table, 0xd, 0, 'a', 2));
  EXPECT_FALSE(cpuid_bit(*table, 7, 0, 'b', 31));
  EXPECT_FALSE(cpuid_bit(*table, 1, 0, 'a', 0));
}

TEST(InitFp, IsWhatLinuxGivesAProcess) {
  FpState fp;
  fp.area.fill(std::byte{0xff});
  init_fp_area(fp);
  EXPECT_EQ(std::to_integer<int>(fp.area[0]), 0x7f);
  EXPECT_EQ(std::to_integer<int>(fp.area[1]), 0x03);
  std::uint32_t mxcsr = 0;
  std::memcpy(&mxcsr, fp.area.data() + 24, sizeof mxcsr);
  EXPECT_EQ(mxcsr, 0x1f80U);
  EXPECT_GE(fp.bytes, 576U);
  EXPECT_LE(fp.bytes, FpState::kMaxBytes);
}

}  // namespace
}  // namespace hpcvmm::engine::kvm
