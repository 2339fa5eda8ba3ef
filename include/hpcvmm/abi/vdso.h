/* The page in front of every vDSO image: what the VMM and the guest's vDSO share.
 *
 * Layout in the guest: [table page][image pages], so the image reaches the table relative to its own code and
 * needs no relocation.  One layout for both ABIs: an IA32 image reads the low half of a 64-bit entry.
 * Freestanding and of fixed width; read by the assembler (offsets below) and by C++ (struct below). */
#ifndef HPCVMM_ABI_VDSO_H
#define HPCVMM_ABI_VDSO_H

#define HPCVMM_VDSO_TABLE_BYTES 4096 /* image base - this = the table */
#define HPCVMM_VDSO_MAGIC 0x48435644 /* "DVCH" in memory */
#define HPCVMM_VDSO_VERSION 2

/* Byte offsets of the entries.  0 in an entry: absent, the stub issues the real system call. */
#define HPCVMM_VDSO_CLOCK_GETTIME 16
#define HPCVMM_VDSO_GETTIMEOFDAY 24
#define HPCVMM_VDSO_TIME 32
#define HPCVMM_VDSO_GETCPU 40
#define HPCVMM_VDSO_CLOCK_GETRES 48
#define HPCVMM_VDSO_CLOCK_GETTIME64 56 /* IA32 only */
#define HPCVMM_VDSO_ENTRY_END 144      /* 16 entries, the rest is spare */
#define HPCVMM_VDSO_FLAGS 12
/* Flag: the guest's clocks are not this node's; guest's clock = node's clock + offset of its id. */
#define HPCVMM_VDSO_HAS_OFFSETS 1
#define HPCVMM_VDSO_OFFSETS 144 /* by clock id, 16 bytes each: seconds, nanoseconds */
#define HPCVMM_VDSO_CLOCKS 12
/* Ids that have one: REALTIME, MONOTONIC, MONOTONIC_RAW, both COARSE, BOOTTIME, TAI. */
#define HPCVMM_VDSO_CLOCK_MASK 0x8f3

#ifndef __ASSEMBLER__
#include <stddef.h>
#include <stdint.h>

/* NOLINTNEXTLINE(readability-identifier-naming): a C name, as the rest of this header */
struct hpcvmm_vdso_table {
  uint32_t magic;
  uint32_t version;
  uint32_t node_epoch; /* raised whenever the entries change, i.e. when the process has moved */
  uint32_t flags;
  uint64_t clock_gettime;
  uint64_t gettimeofday;
  uint64_t time;
  uint64_t getcpu;
  uint64_t clock_getres;
  uint64_t clock_gettime64;
  uint64_t spare[10];
  struct {
    int64_t seconds;
    int64_t nanoseconds; /* 0 to 999 999 999 */
  } offsets[HPCVMM_VDSO_CLOCKS];
};

#ifdef __cplusplus
static_assert(offsetof(hpcvmm_vdso_table, clock_gettime) == HPCVMM_VDSO_CLOCK_GETTIME);
static_assert(offsetof(hpcvmm_vdso_table, gettimeofday) == HPCVMM_VDSO_GETTIMEOFDAY);
static_assert(offsetof(hpcvmm_vdso_table, time) == HPCVMM_VDSO_TIME);
static_assert(offsetof(hpcvmm_vdso_table, getcpu) == HPCVMM_VDSO_GETCPU);
static_assert(offsetof(hpcvmm_vdso_table, clock_getres) == HPCVMM_VDSO_CLOCK_GETRES);
static_assert(offsetof(hpcvmm_vdso_table, clock_gettime64) == HPCVMM_VDSO_CLOCK_GETTIME64);
static_assert(offsetof(hpcvmm_vdso_table, flags) == HPCVMM_VDSO_FLAGS);
static_assert(offsetof(hpcvmm_vdso_table, offsets) == HPCVMM_VDSO_ENTRY_END);
static_assert(offsetof(hpcvmm_vdso_table, offsets) == HPCVMM_VDSO_OFFSETS);
static_assert(sizeof(hpcvmm_vdso_table::offsets) == 16 * HPCVMM_VDSO_CLOCKS);
static_assert(sizeof(hpcvmm_vdso_table) <= HPCVMM_VDSO_TABLE_BYTES);
#endif
#endif
#endif
