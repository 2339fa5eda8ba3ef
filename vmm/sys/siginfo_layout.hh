// siginfo_t of both ABIs in fixed-width types.  One template: the ABIs differ in the width of a word and its
// padding. Proven by sigframe_layout_check.cc.  Source: Linux include/uapi/asm-generic/siginfo.h,
// include/linux/compat.h.
#pragma once

#include <cstddef>
#include <cstdint>

namespace hpcvmm::sys::layout {

/// `Word` is long/pointer of the ABI, `SWord` its signed form (clock_t, band).
template <class Word, class SWord> struct SigInfo {
  struct Kill {
    std::int32_t pid;
    std::uint32_t uid;
  };
  struct Timer {
    std::int32_t tid, overrun;
    Word value;
  };
  struct Rt {
    std::int32_t pid;
    std::uint32_t uid;
    Word value;
  };
  struct Chld {
    std::int32_t pid;
    std::uint32_t uid;
    std::int32_t status;
    SWord utime, stime;
  };
  struct Bnd {
    Word pad;
    Word lower, upper;
  };
  struct Pkey {
    Word pad;
    std::uint32_t key;
  };
  struct Perf {
    Word data;
    std::uint32_t type, flags;
  };
  struct Fault {
    Word addr;
    union {
      std::int16_t lsb;
      Bnd bnd;
      Pkey pkey;
      Perf perf;
    };
  };
  struct Poll {
    SWord band;
    std::int32_t fd;
  };
  struct Sys {
    Word call_addr;
    std::int32_t syscall;
    std::uint32_t arch;
  };

  std::int32_t signo, err, code;
  union {
    Kill kill;
    Timer timer;
    Rt rt;
    Chld chld;
    Fault fault;
    Poll poll;
    Sys sys;
    std::uint8_t room[128 - (sizeof(Word) == 8 ? 16 : 12)];
  };
};

using SigInfo64 = SigInfo<std::uint64_t, std::int64_t>;
using SigInfo32 = SigInfo<std::uint32_t, std::int32_t>;

}  // namespace hpcvmm::sys::layout
