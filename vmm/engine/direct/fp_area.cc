#include "vmm/engine/direct/fp_area.hh"

#include <algorithm>
#include <cstring>

namespace hpcvmm::engine::direct {
namespace {

// Intel SDM vol. 1, 10.5.1 (FXSAVE) and 13.4 (XSAVE area).
constexpr std::size_t kFcw = 0;
constexpr std::size_t kMxcsr = 24;
constexpr std::size_t kMxcsrMask = 28;
constexpr std::size_t kSw = 464;  // uapi/asm/sigcontext.h: struct _fpx_sw_bytes
constexpr std::size_t kLegacyBytes = 512;
constexpr std::size_t kXstateBv = 512;
constexpr std::size_t kHeaderBytes = 64;
constexpr std::size_t kAvxEnd = kLegacyBytes + kHeaderBytes + 256;
constexpr std::uint64_t kUpToAvx = 0x7;  // x87, SSE, AVX
constexpr std::uint32_t kMagic1 = 0x46505853;
constexpr std::uint32_t kMagic2 = 0x46505845;
constexpr std::uint16_t kFcwInit = 0x37f;
constexpr std::uint32_t kMxcsrInit = 0x1f80;
constexpr std::uint32_t kMxcsrMaskDefault = 0xffbf;  // what a stored mask of 0 stands for (SDM 11.6.6)

template <class T> T load(const std::byte* at) {
  T v;
  std::memcpy(&v, at, sizeof v);
  return v;
}
template <class T> void store(std::byte* at, T v) { std::memcpy(at, &v, sizeof v); }

void finish(std::byte* area, const FpLayout& layout) {
  std::memcpy(area + kSw, layout.sw.data(), layout.sw.size());
  if (layout.xsave) store(area + layout.bytes, kMagic2);
}

}  // namespace

Result<FpLayout> fp_layout_of(const std::byte* area, bool xsave) {
  FpLayout layout;
  layout.mxcsr_mask = load<std::uint32_t>(area + kMxcsrMask);
  if (layout.mxcsr_mask == 0) layout.mxcsr_mask = kMxcsrMaskDefault;
  std::memcpy(layout.sw.data(), area + kSw, layout.sw.size());
  layout.xsave = xsave && load<std::uint32_t>(area + kSw) == kMagic1;
  layout.bytes = kLegacyBytes;
  layout.features = 0x3;
  if (layout.xsave) {
    layout.features = load<std::uint64_t>(area + kSw + 8);
    layout.bytes = load<std::uint32_t>(area + kSw + 16);
  }
  if (layout.bytes > FpState::kMaxBytes || layout.bytes < kLegacyBytes) {
    return Error::of(EOPNOTSUPP,
                     "direct engine: signal frame with more FP state than a vCPU holds (AMX enabled?)");
  }
  return layout;
}

void fp_init(std::byte* area, const FpLayout& layout) {
  std::memset(area, 0, layout.bytes);
  store(area + kFcw, kFcwInit);
  store(area + kMxcsr, kMxcsrInit);
  store(area + kMxcsrMask, layout.mxcsr_mask);
  finish(area, layout);
}

void fp_copy_frame(std::byte* to, const std::byte* from, const FpLayout& layout) {
  std::size_t bytes = layout.bytes;
  if (layout.xsave && (load<std::uint64_t>(from + kXstateBv) & ~kUpToAvx) == 0)
    bytes = std::min(bytes, kAvxEnd);
  std::memcpy(to, from, bytes);
}

void fp_export(FpState& to, const std::byte* area, const FpLayout& layout) {
  fp_copy_frame(to.area.data(), area, layout);
  if (layout.xsave && (load<std::uint64_t>(area + kXstateBv) & ~kUpToAvx) == 0 && layout.bytes > kAvxEnd) {
    std::memset(to.area.data() + kAvxEnd, 0, layout.bytes - kAvxEnd);
  }
  std::memset(to.area.data() + kSw, 0, layout.sw.size());
  to.bytes = layout.bytes;
}

void fp_import(std::byte* area, const FpState& from, const FpLayout& layout) {
  fp_init(area, layout);
  const std::size_t bytes = std::min<std::size_t>(from.bytes, layout.bytes);
  if (bytes < kLegacyBytes) return;
  std::memcpy(area, from.area.data(), bytes);
  store(area + kMxcsrMask, layout.mxcsr_mask);
  store(area + kMxcsr, load<std::uint32_t>(area + kMxcsr) & layout.mxcsr_mask);
  if (layout.xsave) {
    // Without an XSAVE header of its own the source is an FXSAVE image: x87 and SSE, the rest in init state.
    std::uint64_t present = 0x3;
    if (bytes >= kLegacyBytes + kHeaderBytes)
      present = load<std::uint64_t>(area + kXstateBv) & layout.features;
    std::memset(area + kXstateBv, 0, kHeaderBytes);
    store(area + kXstateBv, present);
  }
  finish(area, layout);
}

}  // namespace hpcvmm::engine::direct
