        .text

/* long hpcvmm_clone_vm(const struct clone_args* args, size_t bytes, void (*start)(void*), void* arg)
 * clone3(2) for a child that shares this memory and starts on the stack named in args: calls start(arg), which must
 * not return. */
        .globl hpcvmm_clone_vm
        .type hpcvmm_clone_vm, @function
hpcvmm_clone_vm:
        mov     %rdx, %r8
        mov     %rcx, %r9
        mov     $435, %eax
        syscall
        test    %rax, %rax
        jz      1f
        ret
1:      xor     %ebp, %ebp
        mov     %r9, %rdi
        call    *%r8
        ud2
        .size hpcvmm_clone_vm, . - hpcvmm_clone_vm

/* void hpcvmm_on_stack(void* top, void (*start)(void*), void* arg): leaves the present stack for good. */
        .globl hpcvmm_on_stack
        .type hpcvmm_on_stack, @function
hpcvmm_on_stack:
        mov     %rdi, %rsp
        xor     %ebp, %ebp
        mov     %rdx, %rdi
        call    *%rsi
        ud2
        .size hpcvmm_on_stack, . - hpcvmm_on_stack

/* void hpcvmm_sigreturn(void* frame): rt_sigreturn(2) from the frame (ucontext at frame + 8). */
        .globl hpcvmm_sigreturn
        .type hpcvmm_sigreturn, @function
hpcvmm_sigreturn:
        lea     8(%rdi), %rsp
        mov     $15, %eax
        syscall
        ud2
        .size hpcvmm_sigreturn, . - hpcvmm_sigreturn

/* The restorer of the deputy's own handlers. */
        .globl hpcvmm_restorer
        .type hpcvmm_restorer, @function
hpcvmm_restorer:
        mov     $15, %eax
        syscall
        .size hpcvmm_restorer, . - hpcvmm_restorer
        .section .note.GNU-stack, "", @progbits
