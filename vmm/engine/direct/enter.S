/* The way into guest code and the way back.
 *
 * In: direct_enter() leaves the VMM by rt_sigreturn(2) from the vCPU's frame.  That one call sets all general registers,
 * CS and SS (so also 32-bit code), the FP state and the signal mask, atomically as far as signals are concerned.
 *
 * Back: every signal enters at direct_signal_entry, on the alternate stack.  FS is the guest's at that point, therefore
 * nothing here may touch thread-local storage before FS is the VMM's again.
 *
 * Handlers run with everything blocked and do not nest.  The entry, however, gets interrupted while FS is already the
 * guest's: that is why the path for an interrupted VMM sets FS too. */
#include "vmm/engine/direct/offsets.h"

#define SYS_RT_SIGPROCMASK 14
#define SYS_RT_SIGRETURN 15
#define SYS_ARCH_PRCTL 158
#define ARCH_SET_FS 0x1002
#define ARCH_GET_FS 0x1003
#define SIGSYS_BIT 30

        .text

/* int direct_enter(ThreadBlock* rdi, KernelUcontext* rsi, const uint32_t* stop rdx)
 * Returns 0: *stop was set, the guest has not run; 1: direct_on_signal() has left the reason in the block. */
        .globl direct_enter, direct_enter_begin, direct_enter_end
        .type direct_enter, @function
direct_enter:
        push %rbp
        push %rbx
        push %r12
        push %r13
        push %r14
        push %r15
        mov %rsp, HPCVMM_BLK_SAVED_RSP(%rdi)
        mov %rdi, %rbx
        mov %rsi, %r12
        mov %rdx, %r13
/* A signal between here and direct_enter_end may come after the check of *stop and after the mask was read: its
 * handler finds RIP in this range and leaves by .Lleave instead of coming back.  So no stop and no mask is missed. */
direct_enter_begin:
        cmpl $0, (%r13)
        jne .Lstopped
        /* The guest runs under the mask the VMM has now ... */
        mov $SYS_RT_SIGPROCMASK, %eax
        xor %edi, %edi
        xor %esi, %esi
        lea HPCVMM_UC_SIGMASK(%r12), %rdx
        mov $8, %r10d
        syscall
        /* ... except that SIGSYS is never blocked: the kernel kills a thread whose dispatched call finds it so, and
         * C libraries do block everything around clone(2). */
        btrq $SIGSYS_BIT, HPCVMM_UC_SIGMASK(%r12)
        setc HPCVMM_BLK_SIGSYS_BLOCKED(%rbx)
        movl $1, HPCVMM_BLK_IN_GUEST(%rbx)

        movl HPCVMM_BLK_GUEST_FS_SEL(%rbx), %eax
        mov %fs, %ecx
        or %eax, %ecx                   /* both null is the common case: loading a selector is slow */
        jz 1f
        mov %eax, %fs
1:      cmpl $0, HPCVMM_BLK_WRITE_FS_BASE(%rbx)
        je 3f
        cmpb $0, direct_have_fsgsbase(%rip)
        je 2f
        mov HPCVMM_BLK_GUEST_FS(%rbx), %rax
        wrfsbase %rax
        jmp 3f
2:      mov $SYS_ARCH_PRCTL, %eax       /* CPU before Ivy Bridge / Zen, or booted with nofsgsbase */
        mov $ARCH_SET_FS, %edi
        mov HPCVMM_BLK_GUEST_FS(%rbx), %rsi
        syscall
3:      mov %r12, %rsp
        mov $SYS_RT_SIGRETURN, %eax
        syscall
        ud2
direct_enter_end:
.Lstopped:
        xor %eax, %eax
        jmp .Lpop

/* rbx = block, FS is the VMM's: back onto the VMM stack, out of direct_enter(). */
.Lleave:
        movl $0, HPCVMM_BLK_IN_GUEST(%rbx)
        mov HPCVMM_BLK_SAVED_RSP(%rbx), %rsp
        mov $1, %eax
.Lpop:
        pop %r15
        pop %r14
        pop %r13
        pop %r12
        pop %rbx
        pop %rbp
        ret
        .size direct_enter, . - direct_enter

/* Signal handler: edi = number, rsi = siginfo, rdx = ucontext, rsp = 8 mod 16, return address = the restorer. */
        .globl direct_signal_entry
        .type direct_signal_entry, @function
direct_signal_entry:
        /* The block lies on top of the alternate stack, and the kernel tells in the frame which stack that is.
         * A thread without one (a helper thread of the VMM) never runs guest code. */
        mov HPCVMM_UC_STACK_SIZE(%rdx), %rax
        test %rax, %rax
        jz .Lplain
        add HPCVMM_UC_STACK_SP(%rdx), %rax
        mov %rax, %rcx
        shr $HPCVMM_ARENA_SHIFT, %rcx
        cmp $HPCVMM_ARENA_TOP, %rcx
        jne .Lplain
        cmpl $HPCVMM_BLK_MAGIC_VALUE, HPCVMM_BLK_MAGIC(%rax)
        jne .Lplain
        /* in_guest tells the vDSO called by the VMM from the vDSO called by the guest: both run outside the zone. */
        cmpl $0, HPCVMM_BLK_IN_GUEST(%rax)
        je .Lvmm
        cmpw $0x33, HPCVMM_UC_CS(%rdx)
        jne .Lguest
        mov HPCVMM_UC_RIP(%rdx), %rcx
        shr $HPCVMM_ZONE_SHIFT, %rcx
        cmp $HPCVMM_ZONE_TOP, %rcx
        jne .Lguest

.Lvmm:  /* The VMM was interrupted: an ordinary handler.  FS is the guest's only if that was in the entry range, from
         * which there is no way on: nothing has to be put back. */
        push %rbx
        mov %rax, %rbx
        mov %fs, %ecx
        test %ecx, %ecx
        jz 1f
        xor %eax, %eax
        mov %eax, %fs
1:      cmpb $0, direct_have_fsgsbase(%rip)
        je 2f
        mov HPCVMM_BLK_VMM_FS(%rbx), %rax
        wrfsbase %rax
        jmp 3f
2:      push %rdi
        push %rsi
        mov $SYS_ARCH_PRCTL, %eax
        mov $ARCH_SET_FS, %edi
        mov HPCVMM_BLK_VMM_FS(%rbx), %rsi
        syscall
        pop %rsi
        pop %rdi
3:      mov %rdx, %rcx
        mov %rsi, %rdx
        mov %edi, %esi
        mov %rbx, %rdi
        xor %r8d, %r8d
        call direct_on_signal
        test %eax, %eax
        jnz .Lleave
        pop %rbx
        ret

.Lguest: /* Guest code was interrupted.  The interrupted registers are in the frame: all are free here. */
        mov %rax, %rbx
        mov %edi, %r12d
        mov %rsi, %r13
        mov %rdx, %r14
        mov %fs, %ecx
        mov %ecx, HPCVMM_BLK_GUEST_FS_SEL(%rbx)
        cmpb $0, direct_have_fsgsbase(%rip)
        je 2f
        rdfsbase %rax
        mov %rax, HPCVMM_BLK_GUEST_FS(%rbx)
        test %ecx, %ecx
        jz 1f
        xor %eax, %eax
        mov %eax, %fs
1:      mov HPCVMM_BLK_VMM_FS(%rbx), %rax
        wrfsbase %rax
        jmp 3f
2:      mov $SYS_ARCH_PRCTL, %eax
        mov $ARCH_GET_FS, %edi
        lea HPCVMM_BLK_GUEST_FS(%rbx), %rsi
        syscall
        mov $SYS_ARCH_PRCTL, %eax       /* also makes the selector null */
        mov $ARCH_SET_FS, %edi
        mov HPCVMM_BLK_VMM_FS(%rbx), %rsi
        syscall
3:      movl $0, HPCVMM_BLK_IN_GUEST(%rbx)
        mov %rbx, %rdi
        mov %r12d, %esi
        mov %r13, %rdx
        mov %r14, %rcx
        mov $1, %r8d
        sub $8, %rsp
        call direct_on_signal
        jmp .Lleave

.Lplain:
        mov %rdx, %rcx
        mov %rsi, %rdx
        mov %edi, %esi
        xor %edi, %edi
        xor %r8d, %r8d
        sub $8, %rsp
        call direct_on_signal
        add $8, %rsp
        ret
        .size direct_signal_entry, . - direct_signal_entry

/* SA_RESTORER: in the zone, so that the call is not dispatched. */
        .globl direct_restorer
        .type direct_restorer, @function
direct_restorer:
        mov $SYS_RT_SIGRETURN, %eax
        syscall
        ud2
        .size direct_restorer, . - direct_restorer

        .section .note.GNU-stack, "", @progbits
