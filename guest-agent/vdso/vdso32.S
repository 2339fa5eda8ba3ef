// vDSO of IA32 guests: linux-gate.so.1.  Functions as in vdso64.S, with the address of the table taken from EIP.
#include "hpcvmm/abi/vdso.h"

#define TABLE image_start - HPCVMM_VDSO_TABLE_BYTES

// name, offset of the table entry, system call, number of arguments (1 or 2)
.macro VDSO_FUNCTION name, entry, number, arguments
  .globl __vdso_\name
  .type __vdso_\name, @function
  .balign 32
__vdso_\name:
  .cfi_startproc
  calll 1f  // not a get_pc_thunk: the pop keeps CFI and return-stack prediction costs nothing beside int $0x80
  .cfi_adjust_cfa_offset 4
1:
  popl %eax
  .cfi_adjust_cfa_offset -4
2:
  addl $(TABLE + \entry - 1b), %eax
  movl (%eax), %eax
  testl %eax, %eax
  jz 3f
  jmp *%eax
3:
  pushl %ebx
  .cfi_adjust_cfa_offset 4
  .cfi_rel_offset ebx, 0
  movl 8(%esp), %ebx
  .if \arguments > 1
  movl 12(%esp), %ecx
  .endif
  movl $\number, %eax
  int $0x80
  popl %ebx
  .cfi_adjust_cfa_offset -4
  .cfi_restore ebx
  ret
  .cfi_endproc
  .size __vdso_\name, . - __vdso_\name
.endm

.hidden image_start
.text
  .globl __kernel_vsyscall
  .type __kernel_vsyscall, @function
  .balign 32
__kernel_vsyscall:
  .cfi_startproc
  int $0x80
  ret
  .cfi_endproc
  .size __kernel_vsyscall, . - __kernel_vsyscall

// CFI of a signal frame.  ESP points `at` bytes below the saved context (struct sigcontext of <asm/sigcontext.h>:
// edi 16, esi 20, ebp 24, esp 28, ebx 32, edx 36, ecx 40, eax 44, eip 56).  Expressions, because the caller's CFA
// is a *value* in the frame; 0x74 = DW_OP_breg4 (esp), operands below 64 so that one sleb128 byte or two do.
.macro SAVED register, offset
  .if (\offset) < 64
  .cfi_escape 0x10, \register, 2, 0x74, (\offset)
  .else
  .cfi_escape 0x10, \register, 3, 0x74, ((\offset) & 0x7f) | 0x80, (\offset) >> 7
  .endif
.endm
.macro SIGNAL_FRAME at
  .if \at + 28 < 64
  .cfi_escape 0x0f, 3, 0x74, \at + 28, 0x06  // DW_CFA_def_cfa_expression: *(esp + at + 28)
  .else
  .cfi_escape 0x0f, 4, 0x74, ((\at + 28) & 0x7f) | 0x80, (\at + 28) >> 7, 0x06
  .endif
  SAVED 0, \at + 44
  SAVED 1, \at + 40
  SAVED 2, \at + 36
  SAVED 3, \at + 32
  SAVED 5, \at + 24
  SAVED 6, \at + 20
  SAVED 7, \at + 16
  SAVED 8, \at + 56
.endm

// Byte for byte what gdb and libgcc look for.  Each frame description starts one byte early, at a nop: an unwinder
// looks up (return address - 1), and nobody *called* the trampoline.
  .globl __kernel_sigreturn
  .type __kernel_sigreturn, @function
  .balign 32
  nop
  nop
  nop
  nop
  nop
  nop
  nop
  .cfi_startproc simple
  .cfi_signal_frame
  SIGNAL_FRAME 4
  nop
__kernel_sigreturn:
  popl %eax
  SIGNAL_FRAME 0
  movl $119, %eax
  int $0x80
  .cfi_endproc
  .size __kernel_sigreturn, . - __kernel_sigreturn

  .globl __kernel_rt_sigreturn
  .type __kernel_rt_sigreturn, @function
  .balign 32
  nop
  nop
  nop
  nop
  nop
  nop
  nop
  .cfi_startproc simple
  .cfi_signal_frame
  SIGNAL_FRAME 160  // int, two pointers, siginfo (128), then 20 bytes of ucontext
  nop
__kernel_rt_sigreturn:
  movl $173, %eax
  int $0x80
  .cfi_endproc
  .size __kernel_rt_sigreturn, . - __kernel_rt_sigreturn

VDSO_FUNCTION clock_gettime, HPCVMM_VDSO_CLOCK_GETTIME, 265, 2
VDSO_FUNCTION gettimeofday, HPCVMM_VDSO_GETTIMEOFDAY, 78, 2
VDSO_FUNCTION time, HPCVMM_VDSO_TIME, 13, 1
VDSO_FUNCTION clock_getres, HPCVMM_VDSO_CLOCK_GETRES, 266, 2
VDSO_FUNCTION clock_gettime64, HPCVMM_VDSO_CLOCK_GETTIME64, 403, 2

.section .note.GNU-stack, "", @progbits
