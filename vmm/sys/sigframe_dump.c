/* Faults with known registers, dumps the frame that the running kernel built, tampers with it, returns, dumps
 * the result.  One source for both ABIs (-m64, -m32 -static); sigframe_kernel_test.cc runs it and compares.
 */
#include "sigframe_dump.h"

#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifdef __x86_64__
#define WORD(n) "%r" n
#define M(x) #x "(%rip)"
#else
#define WORD(n) "%e" n
#define M(x) #x
#endif

struct Dump dump __attribute__((aligned(64)));
static uint8_t stack[kMemoryBytes] __attribute__((aligned(4096)));
static int tamper;

/* Word-sized cells that the assembler below fills; order as struct DumpRegs up to r15. */
typedef unsigned long Word;
Word in_regs[16], entry_regs[16], after_regs[16], entry_flags, after_flags, entry_seg[4], after_seg[4];
Word saved_sp, fault_ip, want_mask[2] = {~0UL, ~0UL};
uint8_t after_fp[kXsaveBytes] __attribute__((aligned(64)));
uint32_t want_mxcsr = 0x1fa0;
uint8_t want_xmm[32]
    __attribute__((aligned(32))) = {1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13, 14, 15, 16,
                                    17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32};
void provoke(void);
void entry(void);
void back(void);
void old_back(void);
void ud2_site(void);
void pf_site(void);
void resume(void);

#ifdef __x86_64__
/* clang-format off */
#define STORE(a) \
  "mov %rax," #a "(%rip)\n mov %rbx,8+" #a "(%rip)\n mov %rcx,16+" #a "(%rip)\n mov %rdx,24+" #a "(%rip)\n" \
  "mov %rsi,32+" #a "(%rip)\n mov %rdi,40+" #a "(%rip)\n mov %rbp,48+" #a "(%rip)\n mov %rsp,56+" #a "(%rip)\n" \
  "mov %r8,64+" #a "(%rip)\n mov %r9,72+" #a "(%rip)\n mov %r10,80+" #a "(%rip)\n mov %r11,88+" #a "(%rip)\n" \
  "mov %r12,96+" #a "(%rip)\n mov %r13,104+" #a "(%rip)\n mov %r14,112+" #a "(%rip)\n mov %r15,120+" #a "(%rip)\n"
#define SEGS(a) \
  "mov %cs," #a "(%rip)\n mov %ss,8+" #a "(%rip)\n mov %ds,16+" #a "(%rip)\n mov %es,24+" #a "(%rip)\n"
__asm__(
  ".text\n provoke:\n push %rbx\n push %rbp\n push %r12\n push %r13\n push %r14\n push %r15\n mov %rsp,saved_sp(%rip)\n"
  "fninit\n fld1\n fldpi\n fldz\n ldmxcsr want_mxcsr(%rip)\n vmovdqa want_xmm(%rip),%ymm3\n vmovdqa %ymm3,%ymm12\n"
  "mov in_regs(%rip),%rax\n mov 8+in_regs(%rip),%rbx\n mov 16+in_regs(%rip),%rcx\n mov 24+in_regs(%rip),%rdx\n"
  "mov 32+in_regs(%rip),%rsi\n mov 40+in_regs(%rip),%rdi\n mov 48+in_regs(%rip),%rbp\n mov 56+in_regs(%rip),%rsp\n"
  "mov 64+in_regs(%rip),%r8\n mov 72+in_regs(%rip),%r9\n mov 80+in_regs(%rip),%r10\n mov 88+in_regs(%rip),%r11\n"
  "mov 96+in_regs(%rip),%r12\n mov 104+in_regs(%rip),%r13\n mov 112+in_regs(%rip),%r14\n mov 120+in_regs(%rip),%r15\n"
  "std\n stc\n jmp *fault_ip(%rip)\n ud2_site: ud2\n pf_site: movl %eax,0x10\n"
  "resume:\n" STORE(after_regs) SEGS(after_seg)
  "mov saved_sp(%rip),%rsp\n pushfq\n popq after_flags(%rip)\n push $0x202\n popfq\n"
  "mov $0x2e7,%eax\n xor %edx,%edx\n lea after_fp(%rip),%rcx\n xsave (%rcx)\n fninit\n"
  "pop %r15\n pop %r14\n pop %r13\n pop %r12\n pop %rbp\n pop %rbx\n ret\n"
  "entry:\n" STORE(entry_regs) SEGS(entry_seg) "pushfq\n popq entry_flags(%rip)\n jmp handle\n"
  "back: mov $15,%eax\n syscall\n old_back: ud2\n");
#else
#define STORE(a) \
  "mov %eax," #a "\n mov %ebx,4+" #a "\n mov %ecx,8+" #a "\n mov %edx,12+" #a "\n" \
  "mov %esi,16+" #a "\n mov %edi,20+" #a "\n mov %ebp,24+" #a "\n mov %esp,28+" #a "\n"
#define SEGS(a) "mov %cs," #a "\n mov %ss,4+" #a "\n mov %ds,8+" #a "\n mov %es,12+" #a "\n"
__asm__(
  ".text\n provoke:\n push %ebx\n push %ebp\n push %esi\n push %edi\n mov %esp,saved_sp\n"
  "fninit\n fld1\n fldpi\n fldz\n ldmxcsr want_mxcsr\n vmovdqa want_xmm,%ymm3\n"
  "mov in_regs,%eax\n mov 4+in_regs,%ebx\n mov 8+in_regs,%ecx\n mov 12+in_regs,%edx\n"
  "mov 16+in_regs,%esi\n mov 20+in_regs,%edi\n mov 24+in_regs,%ebp\n mov 28+in_regs,%esp\n"
  "std\n stc\n jmp *fault_ip\n ud2_site: ud2\n pf_site: movl %eax,0x10\n"
  "resume:\n" STORE(after_regs) SEGS(after_seg)
  "mov saved_sp,%esp\n pushf\n popl after_flags\n push $0x202\n popf\n"
  "mov $0x2e7,%eax\n xor %edx,%edx\n mov $after_fp,%ecx\n xsave (%ecx)\n fninit\n"
  "pop %edi\n pop %esi\n pop %ebp\n pop %ebx\n ret\n"
  "entry:\n" STORE(entry_regs) SEGS(entry_seg) "pushf\n popl entry_flags\n jmp handle\n"
  "back: mov $173,%eax\n int $0x80\n old_back: pop %eax\n mov $119,%eax\n int $0x80\n");
#endif
/* clang-format on */

static void unpack(const Word* from, struct DumpRegs* to) {
  uint64_t* out = &to->ax;
  for (int i = 0; i < 16; ++i) out[i] = from[i];
}

static void finish(int resumed) {
  dump.resumed = (uint64_t)resumed;
  const uint8_t* p = (const uint8_t*)&dump;
  for (size_t left = sizeof(dump); left != 0;) {
    ssize_t n = write(1, p, left);
    if (n <= 0) _exit(3);
    p += n;
    left -= (size_t)n;
  }
}

static void spoil_fp(uint8_t* fp, Word* fp_slot) {
  uint8_t* fx = fp + (sizeof(Word) == 4 ? 112 : 0);
  uint32_t size;
  memcpy(&size, fx + 464 + 16, 4);
  switch (tamper) {
    case kNoMagic2: fx[size] ^= 1; break;
    case kNoFpstate: *fp_slot = 0; break;
    case kNoAvx: fx[512] &= (uint8_t)~4; break;
    case kOnlyAvx: fx[512] &= (uint8_t)~3; break;
    case kNoWantedAvx: fx[464 + 8] &= (uint8_t)~4; break;
    case kXcompBv: fx[512 + 8] = 1; break;
    case kMxcsrReserved: fx[27] = 0x80; break;
    case kMxcsrReservedFx: fx[27] = 0x80, fx[size] ^= 1; break;
    case kHeaderReserved: fx[512 + 40] = 1; break;
    case kXstateUnknown: fx[512 + 6] = 1; break;
    case kMisaligned:
      memmove(fp - 8, fp, (size_t)(fx - fp) + size + 4);
      *fp_slot -= 8;
      break;
    case kX87Changed:
      fp[0] = 0x7e; /* invalid operation unmasked, 53 bits below */
      fp[1] = 0x0b;
      fp[sizeof(Word) == 4 ? 8 : 4] = sizeof(Word) == 4 ? 0xfc : 0x81;
      break;
    default: break;
  }
}

__attribute__((used)) static void handle(void) {
  unpack(entry_regs, &dump.entry);
  dump.entry.flags = entry_flags;
  dump.entry.cs = entry_seg[0], dump.entry.ss = entry_seg[1];
  dump.entry.ds = entry_seg[2], dump.entry.es = entry_seg[3];
  uint8_t* frame = (uint8_t*)entry_regs[7];
  const size_t at = (size_t)(frame - stack);
  memset(dump.memory, 0xa5, at); /* what this handler itself used */
  memcpy(dump.memory + at, frame, kMemoryBytes - at);
#ifdef __x86_64__
  uint8_t *sc = frame + 8 + 40, *uc_stack = frame + 8 + 16;
  const size_t ip = 128, flags = 136, cs = 144, ss = 150, fp = 184;
  const int rt = 1;
#else
  const int rt = (dump.flags & SA_SIGINFO) != 0;
  uint8_t *sc = rt ? frame + 16 + 128 + 20 : frame + 8, *uc_stack = frame + 16 + 128 + 8;
  const size_t ip = 56, flags = 64, cs = 60, ss = 72, fp = 76;
#endif
  const Word go = (Word)resume;
  memcpy(sc + ip, &go, sizeof(go));
  Word fpstate;
  memcpy(&fpstate, sc + fp, sizeof(fpstate));
  spoil_fp((uint8_t*)fpstate, &fpstate);
  memcpy(sc + fp, &fpstate, sizeof(fpstate));
  if (tamper == kFlagsAndSelectors) {
    Word f;
    memcpy(&f, sc + flags, sizeof(f));
    f = (f | 0x3000 | 0x4000 | 0x200000 | 0x40000 | 0x800) &
        ~(Word)0x201; /* IOPL NT ID AC OF, no IF, no CF */
    memcpy(sc + flags, &f, sizeof(f));
    sc[cs] &= (uint8_t)~3;
    sc[ss] &= (uint8_t)~3;
  }
  if (tamper == kAltstackMoved && rt) {
    Word other = (Word)stack + 4096;
    memcpy(uc_stack, &other, sizeof(other));
  }
  memset(dump.tampered, 0xa5, at);
  memcpy(dump.tampered + at - 64, frame - 64, kMemoryBytes - at + 64);
  finish(0); /* the kernel may refuse the frame */
}

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  const int how = atoi(argv[1]);
  tamper = atoi(argv[2]);
  memset(stack, 0xa5, sizeof(stack));
  dump.bits = 8 * sizeof(Word);
  dump.base = (Word)stack;
  stack_t alt = {.ss_sp = stack, .ss_size = sizeof(stack)};
  if ((how & kOnStack) != 0) sigaltstack(&alt, NULL);
  sigaltstack(NULL, &alt);
  dump.alt_sp = (Word)alt.ss_sp, dump.alt_size = alt.ss_size, dump.alt_flags = (uint64_t)alt.ss_flags;

  const int sigs[] = {SIGUSR1, 40};
  sigset_t set;
  sigemptyset(&set);
  for (int i = 0; i < 2; ++i) sigaddset(&set, sigs[i]);
  sigprocmask(SIG_SETMASK, &set, NULL);
  memcpy(&dump.old_mask, &set, 8);

  struct {
    Word handler, flags, restorer;
    uint64_t mask;
  } __attribute__((packed)) act = {0};
  dump.flags = (how & kOnStack ? SA_ONSTACK : 0) | (how & kSiginfo ? SA_SIGINFO : 0) |
               (how & kRestorer ? 0x04000000 : 0);
  dump.handler = act.handler = (Word)entry;
  act.flags = (Word)dump.flags;
  dump.restorer = act.restorer =
      (how & kRestorer) == 0 ? 0 : (Word)(sizeof(Word) == 4 && (how & kSiginfo) == 0 ? old_back : back);
  syscall(SYS_rt_sigaction, how & kPageFault ? SIGSEGV : SIGILL, &act, NULL, 8);

  for (int i = 0; i < 16; ++i) in_regs[i] = (Word)0x1111111111111111ULL * (Word)(i + 1) + (Word)i;
  /* With an alternate stack the interrupted one is the ordinary one; else this array, with a red zone. */
  in_regs[7] = how & kOnStack ? (Word)__builtin_frame_address(0) - 8192 : (Word)stack + kMemoryBytes - 24;
  fault_ip = (Word)(how & kPageFault ? pf_site : ud2_site);
  unpack(in_regs, &dump.before);
  if (sizeof(Word) == 4) memset(&dump.before.r8, 0, 64);
  dump.before.ip = fault_ip;
  Word seg[6] = {0};
  __asm__("mov %%cs,%0\n mov %%ss,%1\n mov %%ds,%2\n mov %%es,%3\n mov %%fs,%4\n mov %%gs,%5"
          : "=r"(seg[0]), "=r"(seg[1]), "=r"(seg[2]), "=r"(seg[3]), "=r"(seg[4]), "=r"(seg[5]));
  dump.before.cs = seg[0], dump.before.ss = seg[1], dump.before.ds = seg[2], dump.before.es = seg[3];
  dump.before.fs = seg[4], dump.before.gs = seg[5];
  provoke();

  unpack(after_regs, &dump.after);
  dump.after.flags = after_flags;
  dump.after.cs = after_seg[0], dump.after.ss = after_seg[1];
  dump.after.ip = (Word)resume;
  sigaltstack(NULL, &alt);
  dump.after_alt_sp = (Word)alt.ss_sp, dump.after_alt_size = alt.ss_size,
  dump.after_alt_flags = (uint64_t)alt.ss_flags;
  sigprocmask(SIG_SETMASK, NULL, &set);
  memcpy(&dump.after_mask, &set, 8);
  memcpy(dump.after_fp, after_fp, sizeof(after_fp));
  finish(1);
  return 0;
}
