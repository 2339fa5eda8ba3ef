// The pieces of the direct-engine measurements that cannot be C++.
.text

// void hpcvmm_probe_restorer(): rt_sigreturn, in a range of its own that Syscall User Dispatch exempts.
.globl hpcvmm_probe_restorer
.globl hpcvmm_probe_restorer_end
.type hpcvmm_probe_restorer, @function
.balign 16
hpcvmm_probe_restorer:
  movl $15, %eax
  syscall
  ud2  // never reached; the kernel looks at the address *behind* the syscall, so that must be inside the range
hpcvmm_probe_restorer_end:
.size hpcvmm_probe_restorer, . - hpcvmm_probe_restorer

// Template, copied below 4 GiB:  long run32(unsigned count /*edi*/, void* stack_top /*rsi*/)
// Enters 32-bit code, does `count` times getpid through int $0x80 and returns the last result.
.globl hpcvmm_probe_run32
.globl hpcvmm_probe_run32_end
.type hpcvmm_probe_run32, @function
.balign 16
hpcvmm_probe_run32:
  pushq %rbx
  pushq %rbp
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  // 32-bit code may lose the upper halves of all registers: the stack pointer waits on the low stack.
  movq %rsp, -8(%rsi)
  leaq -16(%rsi), %rsp
  leaq 1f(%rip), %rax
  pushq $0x23
  pushq %rax
  lretq
.code32
1:
  movl $0x2b, %edx
  movl %edx, %ds
  movl %edx, %es
2:
  movl $20, %eax
  int $0x80
  decl %edi
  jnz 2b
  movl %eax, %ebx
  calll 3f
3:
  popl %eax
  addl $(4f - 3b), %eax
  pushl $0x33
  pushl %eax
  lretl
.code64
4:
  movl %esp, %esp
  movq 8(%rsp), %rsp
  movl %ebx, %eax
  cltq
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbp
  popq %rbx
  ret
hpcvmm_probe_run32_end:
.size hpcvmm_probe_run32, . - hpcvmm_probe_run32
.section .note.GNU-stack, "", @progbits
