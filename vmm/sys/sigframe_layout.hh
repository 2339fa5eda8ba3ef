// The bytes of Linux's signal frames for both ABIs, in fixed-width types, so that a 64-bit VMM can write
// either. sigframe_layout_check.cc proves them against the kernel's own headers, compiled once with -m64 and
// once with -m32. Source: Linux include/uapi/asm/{sigcontext,ucontext}.h, arch/x86/include/asm/sigframe.h.
#pragma once

#include <cstddef>
#include <cstdint>

namespace hpcvmm::sys::layout {

inline constexpr std::uint32_t kXstateMagic1 = 0x46505853;  // FP_XSTATE_MAGIC1
inline constexpr std::uint32_t kXstateMagic2 = 0x46505845;  // FP_XSTATE_MAGIC2
inline constexpr std::uint64_t kUcFpXstate = 1;             // UC_FP_XSTATE
inline constexpr std::uint64_t kUcSigcontextSs = 2;         // UC_SIGCONTEXT_SS
inline constexpr std::uint64_t kUcStrictRestoreSs = 4;      // UC_STRICT_RESTORE_SS

/// Bytes 464..511 of the FXSAVE image, which the CPU leaves to software.
struct FpxSwBytes {
  std::uint32_t magic1;
  std::uint32_t
      extended_size;  // bytes from the start of the fpstate (IA32: of its fsave header) to behind magic2
  std::uint64_t xfeatures;
  std::uint32_t xstate_size;
  std::uint32_t padding[7];
};

/// The 512-byte FXSAVE image (64-bit flavour).
struct Fxsave {
  std::uint16_t cwd, swd, twd, fop;
  std::uint64_t rip, rdp;
  std::uint32_t mxcsr, mxcsr_mask;
  std::uint8_t st[8][16];
  std::uint8_t xmm[16][16];
  std::uint32_t reserved[12];
  FpxSwBytes sw;
};

struct XstateHeader {
  std::uint64_t xstate_bv, xcomp_bv;
  std::uint64_t reserved[6];
};

/// The 112 bytes of FSAVE format before the FXSAVE image of an IA32 frame.
struct FsaveHeader {
  std::uint32_t cw, sw, tag, ipoff, cssel, dataoff, datasel;
  std::uint8_t st[8][10];
  std::uint16_t status, magic;
};

struct Sigcontext64 {
  std::uint64_t r8, r9, r10, r11, r12, r13, r14, r15;
  std::uint64_t di, si, bp, bx, dx, ax, cx, sp, ip, flags;
  std::uint16_t cs, gs, fs, ss;
  std::uint64_t err, trapno, oldmask, cr2, fpstate;
  std::uint64_t reserved[8];
};

struct Stack64 {
  std::uint64_t sp;
  std::uint32_t flags, pad;
  std::uint64_t size;
};

struct Ucontext64 {
  std::uint64_t flags, link;
  Stack64 stack;
  Sigcontext64 mcontext;
  std::uint64_t sigmask;
};

struct RtSigframe64 {
  std::uint64_t pretcode;
  Ucontext64 uc;
  std::uint8_t info[128];
};

struct Sigcontext32 {
  std::uint32_t gs, fs, es, ds;
  std::uint32_t di, si, bp, sp, bx, dx, cx, ax;
  std::uint32_t trapno, err, ip, cs, flags, sp_at_signal, ss;
  std::uint32_t fpstate, oldmask, cr2;
};

struct Stack32 {
  std::uint32_t sp, flags, size;
};

struct Ucontext32 {
  std::uint32_t flags, link;
  Stack32 stack;
  Sigcontext32 mcontext;
  std::uint32_t sigmask[2];
};

struct Sigframe32 {
  std::uint32_t pretcode, sig;
  Sigcontext32 sc;
  std::uint8_t fpstate_unused[624];
  std::uint32_t extramask;
  std::uint8_t retcode[8];
};

struct RtSigframe32 {
  std::uint32_t pretcode, sig, pinfo, puc;
  std::uint8_t info[128];
  Ucontext32 uc;
  std::uint8_t retcode[8];
};

// Where an IA32 frame holds 64-bit words only FpxSwBytes and the XSAVE area do, which are 8-aligned in both
// ABIs.
static_assert(sizeof(FpxSwBytes) == 48 && sizeof(Fxsave) == 512 && offsetof(Fxsave, sw) == 464);
static_assert(sizeof(XstateHeader) == 64 && sizeof(FsaveHeader) == 112);
static_assert(sizeof(Sigcontext64) == 256 && sizeof(Ucontext64) == 304 && sizeof(RtSigframe64) == 440);
static_assert(sizeof(Sigcontext32) == 88 && sizeof(Ucontext32) == 116);
static_assert(sizeof(Sigframe32) == 732 && sizeof(RtSigframe32) == 268);

}  // namespace hpcvmm::sys::layout
