// siginfo_t of both ABIs in fixed-width types.  One template: the ABIs differ in the width of a word and its
// padding. Proven by sigframe_layout_check.cc.  Source: Linux include/uapi/asm-generic/siginfo.h,
// include/linux/compat.h.
#pragma once

#include <cstddef>
#include <cstdint>

namespace hpcvmm::sys::layout {

/// `Word` is long/pointer of the ABI, `SWord` its signed form (clock_t, band).
template <class Word, class SWord> struct SigInfo {
  std::int32_t signo, err, code;
  union {
    struct {
      std::int32_t pid;
      std::uint32_t uid;
    } kill;
    struct {
      std::int32_t tid, overrun;
      Word value;
    } timer;
    struct {
      std::int32_t pid;
      std::uint32_t uid;
      Word value;
    } rt;
    struct {
      std::int32_t pid;
      std::uint32_t uid;
      std::int32_t status;
      SWord utime, stime;
    } chld;
    struct {
      Word addr;
      union {
        std::int16_t lsb;
        struct {
          Word pad;
          Word lower, upper;
        } bnd;
        struct {
          Word pad;
          std::uint32_t key;
        } pkey;
        struct {
          Word data;
          std::uint32_t type, flags;
        } perf;
      };
    } fault;
    struct {
      SWord band;
      std::int32_t fd;
    } poll;
    struct {
      Word call_addr;
      std::int32_t syscall;
      std::uint32_t arch;
    } sys;
    std::uint8_t room[128 - (sizeof(Word) == 8 ? 16 : 12)];
  };
};

using SigInfo64 = SigInfo<std::uint64_t, std::int64_t>;
using SigInfo32 = SigInfo<std::uint32_t, std::int32_t>;

}  // namespace hpcvmm::sys::layout
