/* long hpcvmm_gate64(long nr, const uint64_t args[6], const volatile int* pending)
 * long hpcvmm_gate32(long nr, const uint64_t args[6], const volatile int* pending)
 *
 * Between *_begin and *_done nothing has happened yet: a signal handler that interrupts there (or that the kernel
 * runs with rip wound back to the call instruction, to restart it) continues at *_abort instead.  The flag is tested
 * inside the range, so a signal is either seen by the test or by the handler.
 */
#define RESTART 0x8000000000000000

        .text
        .globl hpcvmm_gate64
        .type hpcvmm_gate64, @function
hpcvmm_gate64:
        push    %rbx
        mov     %rdi, %rax
        mov     %rdx, %rbx
        mov     %rsi, %r11
        mov     0(%r11), %rdi
        mov     8(%r11), %rsi
        mov     16(%r11), %rdx
        mov     24(%r11), %r10
        mov     32(%r11), %r8
        mov     40(%r11), %r9
        .globl hpcvmm_gate64_begin
hpcvmm_gate64_begin:
        cmpl    $0, (%rbx)
        jne     hpcvmm_gate64_abort
        syscall
        .globl hpcvmm_gate64_done
hpcvmm_gate64_done:
        pop     %rbx
        ret
        .globl hpcvmm_gate64_abort
hpcvmm_gate64_abort:
        movabs  $RESTART, %rax
        pop     %rbx
        ret
        .size hpcvmm_gate64, . - hpcvmm_gate64

        .globl hpcvmm_gate32
        .type hpcvmm_gate32, @function
hpcvmm_gate32:
        push    %rbx
        push    %rbp
        push    %r12
        mov     %rdi, %rax
        mov     %rdx, %r12
        mov     %rsi, %r11
        mov     0(%r11), %ebx
        mov     8(%r11), %ecx
        mov     16(%r11), %edx
        mov     24(%r11), %esi
        mov     32(%r11), %edi
        mov     40(%r11), %ebp
        .globl hpcvmm_gate32_begin
hpcvmm_gate32_begin:
        cmpl    $0, (%r12)
        jne     hpcvmm_gate32_abort
        int     $0x80
        .globl hpcvmm_gate32_done
hpcvmm_gate32_done:
        pop     %r12
        pop     %rbp
        pop     %rbx
        ret
        .globl hpcvmm_gate32_abort
hpcvmm_gate32_abort:
        movabs  $RESTART, %rax
        jmp     hpcvmm_gate32_done
        .size hpcvmm_gate32, . - hpcvmm_gate32
        .section .note.GNU-stack, "", @progbits
