// vDSO of x86-64 guests: linux-vdso.so.1.
//
// A function reads its entry from the table page in front of the image and tail-jumps there, so the host's own vDSO
// code returns straight to the guest.  An entry of 0 means the real system call.  Where the guest's clocks are not the
// node's (HPCVMM_VDSO_HAS_OFFSETS), clock_gettime calls the host's code instead and adds the offset, and so does
// gettimeofday by way of it.  A thread is never moved while it is in here (vmm/migrate/step_out.hh): what was read of
// the table holds until the function returns.
#include "hpcvmm/abi/vdso.h"

#define TABLE(offset) (image_start - HPCVMM_VDSO_TABLE_BYTES + offset)

.macro FUNCTION_BEGIN name
  .globl __vdso_\name
  .type __vdso_\name, @function
  .weak \name
  .type \name, @function
  .balign 32
__vdso_\name:
\name:
  .cfi_startproc
.endm

.macro FUNCTION_END name
  .cfi_endproc
  .size __vdso_\name, . - __vdso_\name
  .size \name, . - \name
.endm

.macro SYSTEM_CALL number
  movl $\number, %eax
  syscall
  ret
.endm

.macro PUSH register
  pushq %\register
  .cfi_adjust_cfa_offset 8
  .cfi_rel_offset \register, 0
.endm

.macro POP register
  popq %\register
  .cfi_adjust_cfa_offset -8
  .cfi_restore \register
.endm

// `adjusted`: where to go with the entry in %rax if the clocks are not the node's.
.macro VDSO_FUNCTION name, entry, number, adjusted
FUNCTION_BEGIN \name
  movq TABLE(\entry)(%rip), %rax
  testq %rax, %rax
  jz 1f
  .ifnb \adjusted
  testl $HPCVMM_VDSO_HAS_OFFSETS, TABLE(HPCVMM_VDSO_FLAGS)(%rip)
  jnz \adjusted
  .endif
  jmp *%rax
1:
  SYSTEM_CALL \number
FUNCTION_END \name
.endm

.hidden image_start
.text
VDSO_FUNCTION clock_gettime, HPCVMM_VDSO_CLOCK_GETTIME, 228, clock_gettime_adjusted
VDSO_FUNCTION gettimeofday, HPCVMM_VDSO_GETTIMEOFDAY, 96, gettimeofday_adjusted
// Whose clocks are not the node's asks the VMM.
VDSO_FUNCTION time, HPCVMM_VDSO_TIME, 201, time_adjusted
VDSO_FUNCTION getcpu, HPCVMM_VDSO_GETCPU, 309
VDSO_FUNCTION clock_getres, HPCVMM_VDSO_CLOCK_GETRES, 229

  .type clock_gettime_adjusted, @function
  .balign 32
clock_gettime_adjusted:
  .cfi_startproc
  cmpl $(HPCVMM_VDSO_CLOCKS - 1), %edi
  ja 1f
  movl $HPCVMM_VDSO_CLOCK_MASK, %ecx
  btl %edi, %ecx
  jnc 1f
  PUSH rbx
  PUSH r12
  PUSH r13
  movq %rsi, %rbx
  leaq TABLE(HPCVMM_VDSO_OFFSETS)(%rip), %rcx
  movl %edi, %edx
  shlq $4, %rdx
  movq (%rcx, %rdx), %r12
  movq 8(%rcx, %rdx), %r13
  call *%rax
  testl %eax, %eax
  jnz 3f
  addq 8(%rbx), %r13
  cmpq $1000000000, %r13
  jb 2f
  subq $1000000000, %r13
  incq %r12
2:
  movq %r13, 8(%rbx)
  addq %r12, (%rbx)
3:
  POP r13
  POP r12
  POP rbx
  ret
1:
  SYSTEM_CALL 228
  .cfi_endproc
  .size clock_gettime_adjusted, . - clock_gettime_adjusted

  .type gettimeofday_adjusted, @function
  .balign 32
gettimeofday_adjusted:
  .cfi_startproc
  testq %rdi, %rdi
  jz 1f
  testq %rsi, %rsi  // a time zone is wanted
  jnz 1f
  PUSH rbx
  subq $16, %rsp
  .cfi_adjust_cfa_offset 16
  movq %rdi, %rbx
  xorl %edi, %edi  // CLOCK_REALTIME
  movq %rsp, %rsi
  movq TABLE(HPCVMM_VDSO_CLOCK_GETTIME)(%rip), %rax
  call clock_gettime_adjusted
  movq (%rsp), %rax
  movq %rax, (%rbx)
  movq 8(%rsp), %rax
  xorl %edx, %edx
  movl $1000, %ecx
  divq %rcx
  movq %rax, 8(%rbx)
  xorl %eax, %eax
  addq $16, %rsp
  .cfi_adjust_cfa_offset -16
  POP rbx
  ret
1:
  SYSTEM_CALL 96
  .cfi_endproc
  .size gettimeofday_adjusted, . - gettimeofday_adjusted

  .type time_adjusted, @function
  .balign 32
time_adjusted:
  .cfi_startproc
  SYSTEM_CALL 201
  .cfi_endproc
  .size time_adjusted, . - time_adjusted

.section .note.GNU-stack, "", @progbits
