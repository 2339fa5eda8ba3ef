// The XSAVE area inside a signal frame.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "hpcvmm/base/cpu.hh"
#include "hpcvmm/base/result.hh"

namespace hpcvmm::engine::direct {

/// How this kernel lays out the FP part of a signal frame; the same for all frames of a process (AMX
/// permission, the one thing that could change it, is not given to guests).
struct FpLayout {
  std::uint32_t bytes = 0;       ///< size of the XSAVE area, 512 on a CPU without XSAVE
  std::uint64_t features = 0;    ///< state components in it (XSTATE_BV bits)
  std::uint32_t mxcsr_mask = 0;  ///< bits of MXCSR that may be set
  bool xsave = false;
  std::array<std::byte, 48> sw{};  ///< the kernel's own words at 464: magic, sizes, features
};

/// Reads the layout from the FP area of a real signal frame; `xsave` is UC_FP_XSTATE of its uc_flags.
/// Errors: EOPNOTSUPP the area is larger than FpState (AMX enabled for this process).
Result<FpLayout> fp_layout_of(const std::byte* area, bool xsave);

/// Makes `area` the state of a fresh Linux process: FCW 0x37f, MXCSR 0x1f80, the rest in init state.
void fp_init(std::byte* area, const FpLayout& layout);

/// Copies the area of a frame the kernel made.  Components in init state (XSTATE_BV bit clear) above AVX are
/// left out: XRSTOR does not read them, and they are two thirds of the bytes.
void fp_copy_frame(std::byte* to, const std::byte* from, const FpLayout& layout);

/// Area of a frame -> FpState; what is in init state reads as zero, and the kernel's private words are
/// removed.
void fp_export(FpState& to, const std::byte* area, const FpLayout& layout);

/// FpState -> area of a frame.  What this CPU has not, or would fault on (reserved bits of MXCSR and of the
/// header), is dropped: a bad area would make rt_sigreturn(2) fail.
void fp_import(std::byte* area, const FpState& from, const FpLayout& layout);

}  // namespace hpcvmm::engine::direct
