/* What sigframe_dump writes to its stdout, for the test that compares.  Fixed width: the writer may be IA32.
 */
#pragma once
#include <stdint.h>

enum { kMemoryBytes = 16384, kXsaveBytes = 4096 };

/* Bits of the first argument. */
enum { kOnStack = 1, kSiginfo = 2, kRestorer = 4, kPageFault = 8 };

/* Second argument: what the handler does to the frame before it returns. */
enum Tamper {
  kNothing,
  kFlagsAndSelectors, /* privileged flags, RPL 0 selectors */
  kNoMagic2,          /* the FP area becomes a bare FXSAVE image */
  kNoFpstate,         /* null pointer */
  kNoAvx,             /* XSTATE_BV without AVX */
  kOnlyAvx,           /* XSTATE_BV without x87 and SSE */
  kNoWantedAvx,       /* sw_reserved.xfeatures without AVX */
  kXcompBv,           /* refused */
  kMxcsrReserved,     /* refused */
  kMxcsrReservedFx,   /* refused, in a bare image */
  kHeaderReserved,    /* bytes 24.. of the XSAVE header: IA32 refuses, XRSTOR does not look */
  kXstateUnknown,     /* refused: a component that does not exist */
  kMisaligned,        /* FP area moved by 8 bytes */
  kAltstackMoved,     /* other uc_stack */
  kX87Changed,        /* FSAVE header (IA32) or image (x86-64) with another control word and tags */
  kTampers
};

struct DumpRegs {
  uint64_t ax, bx, cx, dx, si, di, bp, sp, r8, r9, r10, r11, r12, r13, r14, r15;
  uint64_t ip, flags, cs, ss, ds, es, fs, gs;
};

struct Dump {
  uint64_t bits; /* 64 or 32 */
  struct DumpRegs before, entry,
      after; /* at the fault, at the handler's first instruction, behind sigreturn */
  uint64_t handler, flags, restorer, old_mask;
  uint64_t alt_sp, alt_size, alt_flags;
  uint64_t base; /* address of memory[0] */
  uint64_t after_alt_sp, after_alt_size, after_alt_flags, after_mask;
  uint64_t resumed;
  uint8_t memory[kMemoryBytes];   /* the stack as the kernel made it; 0xa5 where nobody wrote */
  uint8_t tampered[kMemoryBytes]; /* the same as the handler left it */
  uint8_t after_fp[kXsaveBytes];  /* XSAVE image behind sigreturn, without AMX: that has 11 KB */
};
