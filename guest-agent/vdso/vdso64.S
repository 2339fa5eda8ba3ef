// vDSO of x86-64 guests: linux-vdso.so.1.
//
// A function reads its entry from the table page in front of the image and tail-jumps there, so the host's own vDSO
// code returns straight to the guest.  An entry of 0 means the real system call.  Until the jump no argument register
// changes: a thread stopped inside a stub before its `syscall` may be restarted at the stub's first instruction,
// which is how a move gets rid of a half-used entry of the old node.
#include "hpcvmm/abi/vdso.h"

#define TABLE(offset) (image_start - HPCVMM_VDSO_TABLE_BYTES + offset)

.macro VDSO_FUNCTION name, entry, number
  .globl __vdso_\name
  .type __vdso_\name, @function
  .weak \name
  .type \name, @function
  .balign 32
__vdso_\name:
\name:
  .cfi_startproc
  movq TABLE(\entry)(%rip), %rax  // read once: the VMM may change the table while this thread is stopped
  testq %rax, %rax
  jz 1f
  jmp *%rax
1:
  movl $\number, %eax
  syscall
  ret
  .cfi_endproc
  .size __vdso_\name, . - __vdso_\name
  .size \name, . - \name
.endm

.hidden image_start
.text
VDSO_FUNCTION clock_gettime, HPCVMM_VDSO_CLOCK_GETTIME, 228
VDSO_FUNCTION gettimeofday, HPCVMM_VDSO_GETTIMEOFDAY, 96
VDSO_FUNCTION time, HPCVMM_VDSO_TIME, 201
VDSO_FUNCTION getcpu, HPCVMM_VDSO_GETCPU, 309
VDSO_FUNCTION clock_getres, HPCVMM_VDSO_CLOCK_GETRES, 229

.section .note.GNU-stack, "", @progbits
