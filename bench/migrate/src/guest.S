// A guest for QEMU that does what dirty.c does: a firmware image of 64 KiB that needs nothing else.  It dirties memory at
// ring 3 in 64-bit mode, which runs natively under any KVM (without hardware virtualisation ring 0 is emulated).
//
// qemu.py fills in the parameters before the start and reads the results with QMP while it runs.
//
// The same image is the firmware at 0xffff0000, where it starts, and is laid at 0x10000 by QEMU's loader device: a firmware
// that copied itself and made tables would take seconds where ring 0 is emulated.
//
// Memory: 0x7000 stacks (below), 0x8000 results, 0x9000 task state, 0xa000 gaps, 0x10000 this image with page tables (8 GiB, identity,
// 2 MiB pages, all for ring 3); the ranges that are dirtied lie above 4 MiB.

        .set    kImage, 0x10000         // bytes, and where it lies in memory
        .set    kGiB, 8                 // that are mapped
        .set    kReady, 0x8000          // 1 when every page has been written once
        .set    kLast, 0x8008           // the time-stamp counter at the last step
        .set    kGapCount, 0x8010       // gaps between two steps that were noted
        .set    kPages, 0x8018          // pages written since kReady
        .set    kTask, 0x9000
        .set    kGaps, 0xa000           // when each began and how many cycles it lasted
        .set    kMostGaps, 0x6000 / 16
#define HERE(label) (kImage + (label) - image)
#define ROM(label) (0xffff0000 + (label) - image)

        .text
        .globl  image
image:
        .ascii  "hpc-vmm!"              // parameters follow; qemu.py knows their order
low_begin:      .quad 0
low_end:        .quad 0
high_begin:     .quad 0                 // both 0: there is no second range
high_end:       .quad 0
cycles:         .quad 0                 // per page, 0: as fast as possible
idle:           .quad 0
notable:        .quad 0                 // cycles from which on a gap is noted

        .balign 16
gdt:    .quad   0
        .quad   0x00cf9b000000ffff      // 0x08: 32-bit code
        .quad   0x00cf93000000ffff      // 0x10: data
        .quad   0x00af9b000000ffff      // 0x18: 64-bit code
        .quad   0x00cff3000000ffff      // 0x20: data, ring 3
        .quad   0x00affb000000ffff      // 0x28: 64-bit code, ring 3
        .quad   0x0000890090000067      // 0x30: task state at kTask
        .quad   0
gdt_end:
gdt_register:
        .word   gdt_end - gdt - 1
        .quad   HERE(gdt)
idt_register:
        .word   16 * 7 - 1
        .quad   HERE(idt)
        .balign 16
idt:    .fill   16 * 6, 1, 0
        .word   halt - image            // ud2: how ring 3 says that it will be idle
        .word   0x18
        .word   0x8e00                  // present, interrupt gate
        .word   kImage >> 16
        .quad   0

        .code16
start16:
        cli
        lgdtl   %cs:(gdt_register - image)
        movl    %cr0, %eax
        orb     $1, %al
        movl    %eax, %cr0
        ljmpl   $0x08, $ROM(start32)

        .code32
start32:
        movw    $0x10, %ax
        movw    %ax, %ds
        movw    %ax, %es
        movw    %ax, %ss
        movl    %cr4, %eax
        orl     $0x20, %eax             // PAE
        movl    %eax, %cr4
        movl    $HERE(tables), %eax
        movl    %eax, %cr3
        movl    $0xc0000080, %ecx       // EFER
        rdmsr
        orl     $0x100, %eax            // LME
        wrmsr
        movl    %cr0, %eax
        andl    $0x1fffffff, %eax       // caches on
        orl     $0x80000000, %eax
        movl    %eax, %cr0
        ljmpl   $0x18, $HERE(start64)

        .code64
start64:
        lgdt    HERE(gdt_register)
        lidt    HERE(idt_register)
        movw    $0x10, %ax
        movw    %ax, %ss
        movl    $0x7000, %esp
        movl    $0x6000, kTask + 4      // the stack of ring 0 when ring 3 comes to it
        movw    $0x30, %ax
        ltr     %ax
        pushq   $0x23
        pushq   $0x7000
        pushq   $0x2
        pushq   $0x2b
        pushq   $HERE(user)
        iretq

halt:   hlt                             // nothing wakes it: interrupts are off
        jmp     halt

        // Ring 3.
user:   movq    HERE(low_begin), %rdi
        movq    HERE(low_end), %rsi
        call    fill
        movq    HERE(high_begin), %rdi
        movq    HERE(high_end), %rsi
        call    fill
        movq    $1, kReady
        cmpq    $0, HERE(idle)
        je      1f
        ud2
        // r8 page, r9 end of its range, r10 cycles of the last step, r11 cycles at the start, r12 gaps noted,
        // r13 pages written
1:      xorl    %r12d, %r12d
        xorl    %r13d, %r13d
        movq    HERE(low_begin), %r8
        movq    HERE(low_end), %r9
        rdtsc
        shlq    $32, %rdx
        orq     %rdx, %rax
        movq    %rax, %r10
        movq    %rax, %r11
step:   rdtsc
        shlq    $32, %rdx
        orq     %rdx, %rax
        movq    %rax, kLast
        movq    %r10, %rdx
        movq    %rax, %r10
        movq    %rax, %rcx
        subq    %rdx, %rcx
        cmpq    HERE(notable), %rcx
        jl      1f                      // signed: the counter of another host may be behind
        cmpq    $kMostGaps, %r12
        jae     1f
        movq    %r12, %rsi
        shlq    $4, %rsi
        movq    %rdx, kGaps(%rsi)
        movq    %rcx, kGaps + 8(%rsi)
        incq    %r12
        movq    %r12, kGapCount
1:      movq    HERE(cycles), %rcx
        testq   %rcx, %rcx
        jz      2f
        imulq   %r13, %rcx
        addq    %r11, %rcx
        cmpq    %rcx, %rax
        jl      step                    // this page's time has not come
2:      incq    (%r8)
        incq    %r13
        movq    %r13, kPages
        addq    $0x1000, %r8
        cmpq    %r9, %r8
        jb      step
        // The other range, or the same one again.
        movq    HERE(low_begin), %r8
        cmpq    HERE(low_end), %r9
        movq    HERE(low_end), %r9
        jne     step
        cmpq    $0, HERE(high_end)
        je      step
        movq    HERE(high_begin), %r8
        movq    HERE(high_end), %r9
        jmp     step

fill:   cmpq    %rsi, %rdi
        jae     1f
        movq    %rdi, 8(%rdi)
        addq    $0x1000, %rdi
        jmp     fill
1:      ret

        // Present, writable, for ring 3, and accessed and dirty already.
        .org    image + 0x1000
tables: .quad   HERE(directories_of) + 0x67
        .org    image + 0x2000
directories_of:
        .set    i, 0
        .rept   kGiB
        .quad   HERE(directories) + i * 0x1000 + 0x67
        .set    i, i + 1
        .endr
        .org    image + 0x3000
directories:
        .set    i, 0
        .rept   kGiB * 512
        .quad   i * 0x200000 + 0xe7
        .set    i, i + 1
        .endr

        .org    image + kImage - 16
        .code16
reset:  jmp     start16
        .org    image + kImage
