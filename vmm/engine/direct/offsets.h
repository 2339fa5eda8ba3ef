/* Offsets that enter.S uses.  thread.hh and kernel_frame.hh assert each against the C++ structure. */
#pragma once

/* struct ThreadBlock */
#define HPCVMM_BLK_MAGIC 0
#define HPCVMM_BLK_IN_GUEST 4
#define HPCVMM_BLK_SAVED_RSP 8
#define HPCVMM_BLK_VMM_FS 16
#define HPCVMM_BLK_GUEST_FS 24
#define HPCVMM_BLK_GUEST_FS_SEL 32
#define HPCVMM_BLK_WRITE_FS_BASE 36
#define HPCVMM_BLK_SIGSYS_BLOCKED 40
#define HPCVMM_BLK_MAGIC_VALUE 0x44425448

/* struct KernelUcontext (arch/x86/include/uapi/asm/ucontext.h and sigcontext.h, 64-bit) */
#define HPCVMM_UC_STACK_SP 16
#define HPCVMM_UC_STACK_SIZE 32
#define HPCVMM_UC_RIP 168
#define HPCVMM_UC_CS 184
#define HPCVMM_UC_SIGMASK 296

/* The zone of layout.hh is exactly the addresses with (address >> 40) == 0x6a; the arena (address >> 36) ==
 * 0x6a9. */
#define HPCVMM_ZONE_SHIFT 40
#define HPCVMM_ZONE_TOP 0x6a
#define HPCVMM_ARENA_SHIFT 36
#define HPCVMM_ARENA_TOP 0x6a9
