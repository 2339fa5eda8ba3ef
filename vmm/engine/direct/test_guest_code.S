/* Guest code of the tests.  Copied to 0x10000000; data at 0x10010000 (see test_guest.hh):
 *   +0x000 expected registers, 8 bytes each, in the order rbx rcx rdx rsi rdi rbp r8..r15
 *   +0x100 iterations left     +0x110 expected result of the system call   +0x120.. scratch
 *   +0x200 16 x 32 bytes of vector data   +0x400 16 x 64 bytes of vector data
 * Wrong contents end in ud2, success in system call 0xfff. */
#define DATA 0x10010000
#define LEFT (DATA + 0x100)
#define WANT (DATA + 0x110)
#define SCRATCH (DATA + 0x120)
#define MXCSR (DATA + 0x140)
#define VECTORS (DATA + 0x200)
#define WIDE (DATA + 0x400)
#define DONE 0xfff

        .section .rodata
        .balign 64
        .globl guest_code_begin, guest_code_end
guest_code_begin:

#define GUEST(name) .balign 16; .globl name; name:
#define EXPECT(reg, slot) cmp %reg, DATA + 8 * slot; jne 9f

        .code64
GUEST(g64_syscall)
        syscall
        ud2

GUEST(g64_int80)
        int $0x80
        ud2

/* Nothing but system call r12 until r13 is 0: for timing. */
GUEST(g64_call_loop)
1:      mov %r12d, %eax
        syscall
        dec %r13
        jnz 1b
        mov $DONE, %eax
        syscall
        ud2

/* All registers, CF, FS and GS, all YMM but the first, x87 and MXCSR are as they were. */
GUEST(g64_check_loop)
        .set i, 0
        .irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
        vmovdqu VECTORS + 32 * i, %ymm\n
        .set i, i + 1
        .endr
        fldpi
        fld1
        ldmxcsr MXCSR
1:      stc
        nop
        nop
        jnc 9f
        EXPECT(rbx, 0); EXPECT(rcx, 1); EXPECT(rdx, 2); EXPECT(rsi, 3); EXPECT(rdi, 4); EXPECT(rbp, 5)
        EXPECT(r8, 6); EXPECT(r9, 7); EXPECT(r10, 8); EXPECT(r11, 9); EXPECT(r12, 10); EXPECT(r13, 11)
        EXPECT(r14, 12); EXPECT(r15, 13)
        .set i, 1
        .irp n, 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
        vpcmpeqd VECTORS + 32 * i, %ymm\n, %ymm0
        vpmovmskb %ymm0, %eax
        cmp $-1, %eax
        jne 9f
        .set i, i + 1
        .endr
        fxch
        fld %st(0)
        fstpt SCRATCH
        fxch
        movabs $0xc90fdaa22168c235, %rax        /* mantissa of pi */
        cmp %rax, SCRATCH
        jne 9f
        stmxcsr SCRATCH
        mov SCRATCH, %eax
        cmp %eax, MXCSR
        jne 9f
        mov %fs:0, %eax
        cmp $0x11111111, %eax
        jne 9f
        mov %gs:0, %eax
        cmp $0x22222222, %eax
        jne 9f
        decq LEFT
        jnz 1b
        mov $DONE, %eax
        syscall
9:      ud2

/* zmm16..31 and k2. */
GUEST(g64_zmm_loop)
        .set i, 0
        .irp n, 16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
        vmovdqu64 WIDE + 64 * i, %zmm\n
        .set i, i + 1
        .endr
        mov $0x1234abcd, %eax
        kmovd %eax, %k2
1:      mov $110, %eax
        syscall
        .set i, 0
        .irp n, 16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
        vpcmpeqd WIDE + 64 * i, %zmm\n, %k1
        kmovw %k1, %eax
        cmp $0xffff, %eax
        jne 9f
        .set i, i + 1
        .endr
        kmovd %k2, %eax
        cmp $0x1234abcd, %eax
        jne 9f
        decq LEFT
        jnz 1b
        mov $DONE, %eax
        syscall
9:      ud2

/* getppid; only rax, rcx and r11 may change. */
GUEST(g64_getppid_loop)
        mov $110, %eax
        syscall
        cmp %rax, WANT
        jne 9f
        EXPECT(rbx, 0); EXPECT(rdx, 2); EXPECT(rsi, 3); EXPECT(rdi, 4); EXPECT(rbp, 5)
        EXPECT(r8, 6); EXPECT(r9, 7); EXPECT(r10, 8); EXPECT(r12, 10); EXPECT(r13, 11)
        EXPECT(r14, 12); EXPECT(r15, 13)
        mov %fs:0, %eax
        cmp $0x11111111, %eax
        jne 9f
        decq LEFT
        jnz g64_getppid_loop
        mov $DONE, %eax
        syscall
9:      ud2

GUEST(g64_spin)
        incq LEFT
        jmp g64_spin

GUEST(g64_divide)
        xor %ecx, %ecx
        div %ecx
GUEST(g64_ud2)
        ud2
GUEST(g64_int3)
        int3
        ud2
GUEST(g64_hlt)
        hlt
GUEST(g64_read)
        mov (%rdi), %eax
        ud2
GUEST(g64_write)
        mov %eax, (%rdi)
        ud2
GUEST(g64_jump)
        jmp *%rdi

        .code32
GUEST(g32_syscall)
        int $0x80
        ud2

GUEST(g32_call_loop)
1:      mov %esi, %eax
        int $0x80
        dec %edi
        jnz 1b
        mov $DONE, %eax
        int $0x80
        ud2

GUEST(g32_check_loop)
        .set i, 0
        .irp n, 0,1,2,3,4,5,6,7
        movups VECTORS + 32 * i, %xmm\n
        .set i, i + 1
        .endr
        fldpi
        ldmxcsr MXCSR
1:      stc
        nop
        jnc 9f
        EXPECT(ebx, 0); EXPECT(ecx, 1); EXPECT(edx, 2); EXPECT(esi, 3); EXPECT(edi, 4); EXPECT(ebp, 5)
        .set i, 1
        .irp n, 1,2,3,4,5,6,7
        movups VECTORS + 32 * i, %xmm0
        pcmpeqd %xmm\n, %xmm0
        pmovmskb %xmm0, %eax
        cmp $0xffff, %eax
        jne 9f
        .set i, i + 1
        .endr
        fld %st(0)
        fstpt SCRATCH
        cmpl $0x2168c235, SCRATCH
        jne 9f
        stmxcsr SCRATCH
        mov SCRATCH, %eax
        cmp %eax, MXCSR
        jne 9f
        mov %gs:0, %eax
        cmp $0x22222222, %eax
        jne 9f
        mov %fs:0, %eax
        cmp $0x11111111, %eax
        jne 9f
        decl LEFT
        jnz 1b
        mov $DONE, %eax
        int $0x80
9:      ud2

GUEST(g32_getppid_loop)
        mov $64, %eax
        int $0x80
        cmp %eax, WANT
        jne 9f
        EXPECT(ebx, 0); EXPECT(ecx, 1); EXPECT(edx, 2); EXPECT(esi, 3); EXPECT(edi, 4); EXPECT(ebp, 5)
        mov %gs:0, %eax
        cmp $0x22222222, %eax
        jne 9f
        decl LEFT
        jnz g32_getppid_loop
        mov $DONE, %eax
        int $0x80
9:      ud2

GUEST(g32_read)
        mov (%edi), %eax
        ud2

        .code64
guest_code_end:
/* GoogleTest's death tests (not used here) bring glibc's fork(), which calls these when they are there: at the image's
 * address a call to an absent weak symbol does not fit 32 bits (see cmake/fixed_image_start.c). */
        .text
        .irp name, __mq_notify_fork_subprocess, __timer_fork_subprocess, __malloc_fork_lock_parent, \
             __malloc_fork_unlock_parent, __malloc_fork_unlock_child
        .weak \name
\name:
        .endr
        ret
        .section .note.GNU-stack, "", @progbits
