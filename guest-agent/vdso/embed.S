// The images as page-aligned, page-padded read-only data.
.section .rodata, "a", @progbits
.macro EMBED name, file
  .globl \name
  .globl \name\()_end
  .type \name, @object
  .balign 4096
\name:
  .incbin "\file"
  .balign 4096, 0
\name\()_end:
  .size \name, . - \name
.endm
EMBED hpcvmm_vdso64_image, HPCVMM_VDSO64_FILE
EMBED hpcvmm_vdso32_image, HPCVMM_VDSO32_FILE
.section .note.GNU-stack, "", @progbits
