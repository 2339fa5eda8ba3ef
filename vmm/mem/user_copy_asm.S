/* bool hpcvmm_user_copy(void* to, const void* from, size_t bytes): one string instruction that a fault handler
 * recognises by its address and leaves at hpcvmm_user_copy_failed. */
        .text
        .globl hpcvmm_user_copy
        .hidden hpcvmm_user_copy
        .type hpcvmm_user_copy, @function
hpcvmm_user_copy:
        mov     %rdx, %rcx
        .globl hpcvmm_user_copy_insn
        .hidden hpcvmm_user_copy_insn
hpcvmm_user_copy_insn:
        rep movsb
        mov     $1, %eax
        ret
        .globl hpcvmm_user_copy_failed
        .hidden hpcvmm_user_copy_failed
hpcvmm_user_copy_failed:
        xor     %eax, %eax
        ret
        .size hpcvmm_user_copy, . - hpcvmm_user_copy

/* bool hpcvmm_user_probe(void* at): writes the byte at `at` back as it is, in one step. */
        .globl hpcvmm_user_probe
        .hidden hpcvmm_user_probe
        .type hpcvmm_user_probe, @function
hpcvmm_user_probe:
        .globl hpcvmm_user_probe_insn
        .hidden hpcvmm_user_probe_insn
hpcvmm_user_probe_insn:
        lock orb $0, (%rdi)
        mov     $1, %eax
        ret
        .size hpcvmm_user_probe, . - hpcvmm_user_probe
        .section .note.GNU-stack, "", @progbits
