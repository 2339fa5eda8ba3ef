// The FP area of signal frames: XSAVE image with Linux's software bytes, and for IA32 an FSAVE header before
// it.
#include "vmm/sys/sigframe_fp.hh"

#include <cpuid.h>

#include <cstddef>
#include <cstring>

#include "vmm/sys/sigframe_layout.hh"

namespace hpcvmm::sys {
namespace {

using detail::has_xsave;
using layout::FpxSwBytes;
using layout::FsaveHeader;
using layout::Fxsave;
using layout::XstateHeader;

constexpr std::uint64_t kFp = 1, kSse = 2, kAvx = 4, kPkru = 1ULL << 9;
constexpr unsigned kFirstExtended = 2, kComponents = 32;
constexpr std::uint16_t kFcwInit = 0x37f;
constexpr std::uint32_t kMxcsrInit = 0x1f80;
constexpr std::uint32_t kMxcsrMaskOld = 0xffbf;      // of CPUs that store no MXCSR_MASK
constexpr std::uint32_t kPkruDefault = 0x5555'5554;  // Linux init_pkru: only key 0 accessible
constexpr std::uint32_t kHeaderAt = sizeof(Fxsave), kHeaderEnd = kHeaderAt + sizeof(XstateHeader);

/// What this CPU and its kernel make of the XSAVE area.  Source: Intel SDM vol. 1, 13.2 and 13.4.
struct CpuLayout {
  std::uint64_t xcr0 = kFp | kSse;
  std::uint32_t mxcsr_mask = kMxcsrMaskOld;
  struct {
    std::uint32_t at, bytes;
  } component[kComponents]{};

  CpuLayout() {
    alignas(16) Fxsave image{};
    asm volatile("fxsave64 %0" : "=m"(image));
    if (image.mxcsr_mask != 0) mxcsr_mask = image.mxcsr_mask;
    unsigned a = 0, b = 0, c = 0, d = 0;
    constexpr unsigned kOsxsave = 1u << 27;
    if (__get_cpuid(1, &a, &b, &c, &d) == 0 || (c & kOsxsave) == 0) return;
    unsigned lo = 0, hi = 0;
    asm volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
    xcr0 = lo | static_cast<std::uint64_t>(hi) << 32;
    for (unsigned i = kFirstExtended; i < kComponents; ++i) {
      if ((xcr0 >> i & 1) == 0) continue;
      __cpuid_count(0xd, i, a, b, c, d);
      component[i] = {b, a};
    }
  }

  /// The components that lie within an area of `bytes`: what is beyond (AMX) is not offered to guests.
  [[nodiscard]] std::uint64_t features(std::uint32_t bytes) const {
    std::uint64_t mask = kFp | kSse;
    for (unsigned i = kFirstExtended; i < kComponents; ++i) {
      if (component[i].bytes != 0 && component[i].at + component[i].bytes <= bytes) mask |= 1ULL << i;
    }
    return mask;
  }
};

/// Asked once: CPUID may cost a VM exit each time.
const CpuLayout& cpu() {
  static const CpuLayout layout;
  return layout;
}

/// An FP area being built or read: the image and, behind it, room for magic2.
struct Area {
  alignas(64) std::byte bytes[FpState::kMaxBytes + sizeof(layout::kXstateMagic2)];

  Fxsave& fx() { return *reinterpret_cast<Fxsave*>(bytes); }
  XstateHeader& header() { return *reinterpret_cast<XstateHeader*>(bytes + kHeaderAt); }
};

/// Writes out the initial state of every component that is not in `present`, so that all of them can be
/// marked valid and nobody finds stale data under a clear bit.
void fill_absent(Area& area, std::uint32_t size, std::uint64_t present) {
  Fxsave& fx = area.fx();
  if ((present & kFp) == 0) {
    std::memset(&fx, 0, offsetof(Fxsave, mxcsr));
    std::memset(fx.st, 0, sizeof(fx.st));
    fx.cwd = kFcwInit;
  }
  if ((present & kSse) == 0) std::memset(fx.xmm, 0, sizeof(fx.xmm));
  fx.mxcsr_mask = cpu().mxcsr_mask;
  const std::uint64_t absent = cpu().features(size) & ~present;
  for (unsigned i = kFirstExtended; i < kComponents; ++i) {
    const auto& part = cpu().component[i];
    if ((absent >> i & 1) != 0) std::memset(area.bytes + part.at, 0, part.bytes);
  }
}

/// FXSAVE keeps one bit per register; FSAVE's tag word says also what is in it.
std::uint32_t fsave_tags(const Fxsave& fx) {
  constexpr std::uint32_t kValid = 0, kZero = 1, kSpecial = 2, kEmpty = 3;
  const unsigned top = fx.swd >> 11 & 7;
  std::uint32_t tags = 0xffff'0000;
  for (unsigned reg = 0; reg < 8; ++reg) {
    std::uint32_t tag = kEmpty;
    if ((fx.twd >> reg & 1) != 0) {
      const std::uint8_t* st = fx.st[(reg - top) & 7];  // st[] is relative to the top, tags are physical
      std::uint64_t significand = 0;
      std::uint16_t exponent = 0;
      std::memcpy(&significand, st, sizeof(significand));
      std::memcpy(&exponent, st + sizeof(significand), sizeof(exponent));
      exponent &= 0x7fff;
      if (exponent == 0) {
        tag = significand == 0 ? kZero : kSpecial;
      } else if (exponent != 0x7fff && significand >> 63 != 0) {
        tag = kValid;
      } else {
        tag = kSpecial;
      }
    }
    tags |= tag << (2 * reg);
  }
  return tags;
}

FsaveHeader to_fsave(const GuestRegs& regs, const Fxsave& fx) {
  FsaveHeader h{};
  h.cw = fx.cwd | 0xffff'0000u;
  h.sw = fx.swd | 0xffff'0000u;
  h.tag = fsave_tags(fx);
  h.ipoff = static_cast<std::uint32_t>(fx.rip);
  h.cssel = regs.cs;  // the FXSAVE64 image has no selectors; Linux takes the present ones
  h.dataoff = static_cast<std::uint32_t>(fx.rdp);
  h.datasel = regs.ds | 0xffff'0000u;
  for (unsigned i = 0; i < 8; ++i) std::memcpy(h.st[i], fx.st[i], sizeof(h.st[i]));
  h.status = fx.swd;
  h.magic = 0;  // X86_FXSR_MAGIC: an FXSAVE image follows
  return h;
}

/// IA32 handlers that know only FSAVE change the header, so its x87 state wins over the image's.
void fold_fsave(const FsaveHeader& h, Fxsave& fx) {
  fx.cwd = static_cast<std::uint16_t>(h.cw);
  fx.swd = static_cast<std::uint16_t>(h.sw);
  fx.twd = 0;
  for (unsigned reg = 0; reg < 8; ++reg) {
    constexpr std::uint32_t kEmpty = 3;
    if ((h.tag >> (2 * reg) & 3) != kEmpty) fx.twd = static_cast<std::uint16_t>(fx.twd | 1u << reg);
  }
  fx.fop = static_cast<std::uint16_t>(h.cssel >> 16);
  fx.rip = h.ipoff;
  fx.rdp = h.dataoff;
  for (unsigned i = 0; i < 8; ++i) std::memcpy(fx.st[i], h.st[i], sizeof(h.st[i]));
}

/// Looks for an XSAVE area behind the image at `fx`.  False: EFAULT.  `features` 0: there is none.
bool find_xstate(std::uint64_t fx, const FpState& fp, const HostGate& gate, std::uint64_t& features) {
  features = 0;
  if (!has_xsave(fp)) return true;
  FpxSwBytes sw{};
  if (!gate.copy_in(&sw, fx + offsetof(Fxsave, sw), sizeof(sw))) return false;
  const bool plausible = sw.magic1 == layout::kXstateMagic1 && sw.xstate_size >= kHeaderEnd &&
                         sw.xstate_size <= fp.bytes && sw.xstate_size <= sw.extended_size;
  if (!plausible) return true;
  std::uint32_t magic2 = 0;
  if (!gate.copy_in(&magic2, fx + sw.xstate_size, sizeof(magic2))) return false;
  // The top bit only tells an XSAVE area that restores nothing from "none"; no component has it.
  if (magic2 == layout::kXstateMagic2) features = sw.xfeatures | 1ULL << 63;
  return true;
}

/// Reads the extended components that `present` names.
bool read_components(Area& area, std::uint64_t fx, std::uint64_t present, const HostGate& gate) {
  std::uint32_t end = kHeaderEnd;
  for (unsigned i = kFirstExtended; i < kComponents; ++i) {
    const auto& part = cpu().component[i];
    if ((present >> i & 1) != 0 && part.at + part.bytes > end) end = part.at + part.bytes;
  }
  return end == kHeaderEnd || gate.copy_in(area.bytes + kHeaderEnd, fx + kHeaderEnd, end - kHeaderEnd);
}

/// What XRSTOR (x86-64) or the kernel's copy (IA32) does with an XSAVE area.  `present`: in, the components
/// wanted; out, those of them that are there.  False: they would refuse it.
bool read_xstate(Area& area, std::uint64_t fx, std::uint32_t size, bool ia32, const HostGate& gate,
                 std::uint64_t& present) {
  if (!ia32 && fx % 64 != 0) return false;  // XRSTOR: #GP
  if (!gate.copy_in(area.bytes, fx, kHeaderEnd)) return false;
  const XstateHeader& header = area.header();
  const std::uint64_t usable = cpu().features(size);
  if ((header.xstate_bv & ~usable) != 0 || header.xcomp_bv != 0) return false;
  const unsigned checked = ia32 ? 6 : 1;  // XRSTOR looks at header bytes 8..23, the kernel at all of them
  for (unsigned i = 0; i < checked; ++i) {
    if (header.reserved[i] != 0) return false;
  }
  const std::uint64_t wanted = present;
  present = header.xstate_bv & wanted;
  // XRSTOR loads MXCSR if it may restore SSE or AVX, whatever XSTATE_BV says; the kernel's copy goes by
  // XSTATE_BV.
  const bool loads = ((ia32 ? header.xstate_bv : wanted & usable) & (kSse | kAvx)) != 0;
  if (loads && (area.fx().mxcsr & ~cpu().mxcsr_mask) != 0) return false;
  if (!loads || (ia32 && (present & kSse) == 0)) area.fx().mxcsr = kMxcsrInit;
  return read_components(area, fx, present, gate);
}

}  // namespace

void init_fp(FpState& fp, std::uint32_t bytes) {
  fp.bytes = bytes;
  fp.area.fill(std::byte{0});
  Fxsave& fx = *reinterpret_cast<Fxsave*>(fp.area.data());
  fx.cwd = kFcwInit;
  fx.mxcsr = kMxcsrInit;
  fx.mxcsr_mask = cpu().mxcsr_mask;
  if ((cpu().features(bytes) & kPkru) != 0) {
    reinterpret_cast<XstateHeader*>(fp.area.data() + kHeaderAt)->xstate_bv = kPkru;
    std::memcpy(fp.area.data() + cpu().component[9].at, &kPkruDefault, sizeof(kPkruDefault));
  }
}

namespace detail {

bool push_fp(const GuestRegs& regs, const FpState& fp, const Place& place, bool ia32, const HostGate& gate) {
  Area area;
  std::memcpy(area.bytes, fp.area.data(), fp.bytes);
  std::size_t bytes = fp.bytes;
  FpxSwBytes sw{};
  if (has_xsave(fp)) {
    std::uint64_t& present = area.header().xstate_bv;
    if ((present & (kSse | kAvx)) == 0) area.fx().mxcsr = kMxcsrInit;
    fill_absent(area, fp.bytes, present);
    present |= kFp | kSse;  // so that handlers which change only the legacy part are heard
    bytes += sizeof(layout::kXstateMagic2);
    std::memcpy(area.bytes + fp.bytes, &layout::kXstateMagic2, sizeof(layout::kXstateMagic2));
    sw.magic1 = layout::kXstateMagic1;
    sw.extended_size = static_cast<std::uint32_t>(bytes + (ia32 ? sizeof(FsaveHeader) : 0));
    sw.xfeatures = cpu().features(fp.bytes);
    sw.xstate_size = fp.bytes;
  }
  area.fx().sw = sw;
  if (ia32) {
    const FsaveHeader header = to_fsave(regs, area.fx());
    if (!gate.copy_out(place.fpstate, &header, sizeof(header))) return false;
  }
  return gate.copy_out(place.fx, area.bytes, bytes);
}

bool pop_fp(FpState& fp, std::uint64_t fpstate, bool ia32, const HostGate& gate) {
  if (fpstate == 0) {
    init_fp(fp, fp.bytes);
    return true;
  }
  const std::uint64_t fx = ia32 ? fpstate + sizeof(FsaveHeader) : fpstate;
  Area area;
  FsaveHeader header{};
  std::uint64_t wanted = 0, present = kFp | kSse;
  if (ia32 && !gate.copy_in(&header, fpstate, sizeof(header))) return false;
  if (!find_xstate(fx, fp, gate, wanted)) return false;
  if (wanted != 0) {
    present = wanted;
    if (!read_xstate(area, fx, fp.bytes, ia32, gate, present)) return false;
  } else {
    // A bare FXSAVE image: what is above it becomes initial.
    if (!ia32 && fx % 16 != 0) return false;  // FXRSTOR: #GP
    if (!gate.copy_in(area.bytes, fx, sizeof(Fxsave))) return false;
    if ((area.fx().mxcsr & ~cpu().mxcsr_mask) != 0) return false;
  }
  if (ia32) fold_fsave(header, area.fx());
  fill_absent(area, fp.bytes, present);
  std::memset(area.fx().reserved, 0, sizeof(area.fx().reserved));
  area.fx().sw = {};
  if (has_xsave(fp)) {
    area.header() = {};
    area.header().xstate_bv = present | kFp | kSse;
  }

  fp.area.fill(std::byte{0});
  std::memcpy(fp.area.data(), area.bytes, kHeaderEnd < fp.bytes ? kHeaderEnd : fp.bytes);
  for (unsigned i = kFirstExtended; i < kComponents; ++i) {
    const auto& part = cpu().component[i];
    if ((present >> i & 1) != 0) std::memcpy(fp.area.data() + part.at, area.bytes + part.at, part.bytes);
  }
  return true;
}

}  // namespace detail
}  // namespace hpcvmm::sys
