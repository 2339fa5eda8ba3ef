#include "vmm/engine/direct/fp_area.hh"

#include <gtest/gtest.h>

#include <cstring>

namespace hpcvmm::engine::direct {
namespace {

using Area = std::array<std::byte, FpState::kMaxBytes + 64>;

template <class T> T at(const std::byte* area, std::size_t offset) {
  T v;
  std::memcpy(&v, area + offset, sizeof v);
  return v;
}
template <class T> void put(std::byte* area, std::size_t offset, T v) {
  std::memcpy(area + offset, &v, sizeof v);
}

FpLayout avx512_layout() {
  Area frame{};
  put<std::uint32_t>(frame.data(), 28, 0x2ffff);
  put<std::uint32_t>(frame.data(), 464, 0x46505853);
  put<std::uint32_t>(frame.data(), 468, 2700);
  put<std::uint64_t>(frame.data(), 472, 0x2e7);
  put<std::uint32_t>(frame.data(), 480, 2696);
  auto layout = fp_layout_of(frame.data(), true);
  EXPECT_TRUE(layout);
  return *layout;
}

TEST(FpArea, LayoutIsReadFromTheKernelsWords) {
  const FpLayout layout = avx512_layout();
  EXPECT_EQ(layout.bytes, 2696u);
  EXPECT_EQ(layout.features, 0x2e7u);
  EXPECT_EQ(layout.mxcsr_mask, 0x2ffffu);
  EXPECT_TRUE(layout.xsave);
}

TEST(FpArea, TooLargeAnAreaIsRefused) {
  Area frame{};
  put<std::uint32_t>(frame.data(), 464, 0x46505853);
  put<std::uint32_t>(frame.data(), 480, 11008);
  auto layout = fp_layout_of(frame.data(), true);
  ASSERT_FALSE(layout);
  EXPECT_EQ(layout.error().code, EOPNOTSUPP);
}

TEST(FpArea, WithoutXsaveTheAreaIsFxsaveAlone) {
  const Area frame{};
  auto layout = fp_layout_of(frame.data(), false);
  ASSERT_TRUE(layout);
  EXPECT_EQ(layout->bytes, 512u);
  EXPECT_EQ(layout->mxcsr_mask, 0xffbfu);
}

TEST(FpArea, InitStateIsThatOfAFreshProcess) {
  const FpLayout layout = avx512_layout();
  Area area;
  area.fill(std::byte{0xaa});
  fp_init(area.data(), layout);
  EXPECT_EQ(at<std::uint16_t>(area.data(), 0), 0x37f);
  EXPECT_EQ(at<std::uint32_t>(area.data(), 24), 0x1f80u);
  EXPECT_EQ(at<std::uint64_t>(area.data(), 512), 0u);
  EXPECT_EQ(at<std::uint32_t>(area.data(), 464), 0x46505853u);
  EXPECT_EQ(at<std::uint32_t>(area.data(), 2696), 0x46505845u);
}

TEST(FpArea, ImportDropsWhatTheCpuWouldFaultOn) {
  const FpLayout layout = avx512_layout();
  FpState state;
  state.bytes = 2696;
  put<std::uint32_t>(state.area.data(), 24, 0xffffffff);
  put<std::uint64_t>(state.area.data(), 512, 0xffffffff);
  put<std::uint64_t>(state.area.data(), 520, ~0ull);  // XCOMP_BV
  Area area{};
  fp_import(area.data(), state, layout);
  EXPECT_EQ(at<std::uint32_t>(area.data(), 24), 0x2ffffu);
  EXPECT_EQ(at<std::uint64_t>(area.data(), 512), 0x2e7u);
  EXPECT_EQ(at<std::uint64_t>(area.data(), 520), 0u);
  EXPECT_EQ(at<std::uint32_t>(area.data(), 464), 0x46505853u);
}

TEST(FpArea, ExportThenImportKeepsEveryByteOfState) {
  const FpLayout layout = avx512_layout();
  Area area{};
  fp_init(area.data(), layout);
  put<std::uint64_t>(area.data(), 512, 0xe7);
  for (std::size_t i = 32; i < 464; ++i) area[i] = static_cast<std::byte>(i * 7);
  for (std::size_t i = 576; i < 2696; ++i) area[i] = static_cast<std::byte>(i * 5);
  FpState state;
  fp_export(state, area.data(), layout);
  EXPECT_EQ(at<std::uint32_t>(state.area.data(), 464), 0u) << "the kernel's words are not FP state";
  Area back{};
  fp_import(back.data(), state, layout);
  EXPECT_EQ(std::memcmp(area.data(), back.data(), 2700), 0);
}

TEST(FpArea, UnusedComponentsExportAsZeroWhateverTheBufferHeld) {
  const FpLayout layout = avx512_layout();
  Area area{};
  fp_init(area.data(), layout);
  put<std::uint64_t>(area.data(), 512, 0x7);
  FpState state;
  state.area.fill(std::byte{0xaa});
  fp_export(state, area.data(), layout);
  for (std::size_t i = 832; i < 2696; ++i) ASSERT_EQ(state.area[i], std::byte{0}) << i;
}

TEST(FpArea, CopyOfAFrameLeavesUnusedExtendedStateOut) {
  const FpLayout layout = avx512_layout();
  Area from{};
  Area to{};
  from[2000] = std::byte{1};
  put<std::uint64_t>(from.data(), 512, 0x7);
  fp_copy_frame(to.data(), from.data(), layout);
  EXPECT_EQ(to[2000], std::byte{0});
  put<std::uint64_t>(from.data(), 512, 0x87);
  fp_copy_frame(to.data(), from.data(), layout);
  EXPECT_EQ(to[2000], std::byte{1});
}

}  // namespace
}  // namespace hpcvmm::engine::direct
