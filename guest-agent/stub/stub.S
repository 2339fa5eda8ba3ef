/* The ring-0 stub of a kvm guest: the few instructions that turn a system call or an exception into a VM exit.
 *
 * It is data to the VMM (never executed on the host): the kvm engine copies [hpcvmm_stub_begin, hpcvmm_stub_end) to a
 * page of its own in the guest's page tables, at kStubCode of vmm/engine/kvm/layout.hh.  Everything is position
 * independent and touches no memory but the stack the CPU has already switched to.
 *
 * Page one, reachable from ring 3: the LSTAR entry.  Real CPUs enter it at CPL 0; a PVM host leaves CPL at 3, so the
 * page must be executable from there, and `out` must be allowed by the TSS I/O bitmap.  The bytes are harmless to a
 * guest that jumps here on purpose: it makes an exit that the engine recognises as not coming from a call.
 * Page two, supervisor only: the exception entries.
 */
        .section .rodata.hpcvmm_stub, "a", @progbits
        .balign 4096
        .globl hpcvmm_stub_begin
        .hidden hpcvmm_stub_begin
hpcvmm_stub_begin:
        /* LSTAR: rcx = user rip, r11 = user rflags. */
        out     %al, $0x80
        /* VT-x/SVM only: the VMM resumes here at CPL 0.  (A PVM host never does: a sysretq there raises #GP.) */
        .globl hpcvmm_stub_sysret
        .hidden hpcvmm_stub_sysret
hpcvmm_stub_sysret:
        sysretq

        .balign 4096
        .globl hpcvmm_stub_exceptions
        .hidden hpcvmm_stub_exceptions
hpcvmm_stub_exceptions:
        /* 33 entries of 16 bytes: vectors 0..31, then int $0x80.  Each leaves [vector][error code] on top of the
         * frame the CPU pushed, and exits. */
        .set vector, 0
        .rept 32
        .balign 16, 0xcc
        .if !(vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 || vector == 21 || vector == 29 || vector == 30)
        push    $0
        .endif
        push    $vector
        out     %al, $0x81
        hlt
        .set vector, vector + 1
        .endr
        .balign 16, 0xcc
        push    $0
        pushq   $0x80
        out     %al, $0x81
        hlt
        .balign 16, 0xcc
        .globl hpcvmm_stub_end
        .hidden hpcvmm_stub_end
hpcvmm_stub_end:

        .section .note.GNU-stack, "", @progbits
