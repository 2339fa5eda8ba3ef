// FP state is the guest's own across VMM code that uses every vector register.
#include <gtest/gtest.h>

#include <cstring>

#include "vmm/engine/direct/test_guest.hh"

namespace hpcvmm::engine::direct::test {
namespace {

template <class T> T at(const FpState& fp, std::size_t offset) {
  T v;
  std::memcpy(&v, fp.area.data() + offset, sizeof v);
  return v;
}

std::unique_ptr<Vcpu> new_vcpu() {
  auto made = engine().make_vcpu();
  EXPECT_TRUE(made);
  return *std::move(made);
}

void spoil_vectors(std::uint64_t, Vcpu&) {
  asm volatile(
      "pcmpeqd %%xmm0, %%xmm0\n movdqa %%xmm0, %%xmm1\n movdqa %%xmm0, %%xmm2\n movdqa %%xmm0, %%xmm7\n"
      "movdqa %%xmm0, %%xmm8\n movdqa %%xmm0, %%xmm15\n fninit\n"
      :
      :
      : "xmm0", "xmm1", "xmm2", "xmm7", "xmm8", "xmm15");
}

TEST(DirectFp, FreshStateIsInitState) {
  auto vcpu = new_vcpu();
  FpState fp;
  vcpu->get_fp(fp);
  EXPECT_GE(fp.bytes, 512u);
  EXPECT_EQ(at<std::uint16_t>(fp, 0), 0x37f);
  EXPECT_EQ(at<std::uint32_t>(fp, 24), 0x1f80u);
  EXPECT_EQ(at<std::uint64_t>(fp, 160), 0u);
  prepare(*vcpu, g64_syscall, false, 0);
  ASSERT_EQ(vcpu->run().kind, ExitKind::Syscall64);
  vcpu->get_fp(fp);
  EXPECT_EQ(at<std::uint16_t>(fp, 0), 0x37f);
  EXPECT_EQ(at<std::uint32_t>(fp, 24), 0x1f80u);
}

TEST(DirectFp, SetGetAndSurviveARun) {
  HPCVMM_NEEDS_AVX2();
  auto vcpu = new_vcpu();
  FpState fp;
  vcpu->get_fp(fp);
  const std::uint64_t present = 0x7;
  std::memcpy(fp.area.data() + 512, &present, sizeof present);
  for (std::size_t i = 160; i < 416; ++i) fp.area[i] = static_cast<std::byte>(i);      // XMM0..15
  for (std::size_t i = 576; i < 832; ++i) fp.area[i] = static_cast<std::byte>(i * 3);  // upper halves of YMM
  const std::uint32_t mxcsr = 0x7f80;                                                  // round towards zero
  std::memcpy(fp.area.data() + 24, &mxcsr, sizeof mxcsr);
  vcpu->set_fp(fp);
  prepare(*vcpu, g64_syscall, false, 0);
  ASSERT_EQ(vcpu->run().kind, ExitKind::Syscall64);
  spoil_vectors(0, *vcpu);
  FpState after;
  vcpu->get_fp(after);
  EXPECT_EQ(after.bytes, fp.bytes);
  EXPECT_EQ(std::memcmp(after.area.data() + 160, fp.area.data() + 160, 256), 0);
  EXPECT_EQ(std::memcmp(after.area.data() + 576, fp.area.data() + 576, 256), 0);
  EXPECT_EQ(at<std::uint32_t>(after, 24), mxcsr);
}

TEST(DirectFp, StateMovesToAnotherVcpu) {
  HPCVMM_NEEDS_AVX2();
  auto first = new_vcpu();
  prepare(*first, g64_check_loop, false, 1);
  EXPECT_TRUE(is_done(run_guest(*first), *first));
  FpState fp;
  first->get_fp(fp);
  EXPECT_EQ(at<std::uint32_t>(fp, 24), 0x9fc0u);
  auto second = new_vcpu();
  second->set_fp(fp);
  prepare(*second, g64_syscall, false, 0);
  ASSERT_EQ(second->run().kind, ExitKind::Syscall64);
  FpState moved;
  second->get_fp(moved);
  EXPECT_EQ(moved.bytes, fp.bytes);
  EXPECT_EQ(std::memcmp(moved.area.data(), fp.area.data(), fp.bytes), 0);
}

TEST(DirectFp, Avx512AcrossSystemCalls) {
  if (!__builtin_cpu_supports("avx512bw")) GTEST_SKIP() << "this CPU has no AVX-512";
  auto vcpu = new_vcpu();
  prepare(*vcpu, g64_zmm_loop, false, 20'000);
  const Outcome out = run_guest(*vcpu, 0, spoil_vectors);
  EXPECT_TRUE(is_done(out, *vcpu)) << data_word(0x100);
  EXPECT_EQ(out.syscalls, 20'000u);
}

}  // namespace
}  // namespace hpcvmm::engine::direct::test
