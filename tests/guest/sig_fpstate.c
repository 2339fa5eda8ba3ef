// Goal: x87, SSE and AVX registers, MXCSR and the x87 control word survive handlers that use them; a handler
// sees the interrupted values in its frame and may change them.
#include "guest.h"

#include <fenv.h>
#include <math.h>
#include <setjmp.h>
#include <ucontext.h>
#include <unistd.h>

static volatile sig_atomic_t handled;
static volatile double sink;

static void spoil(int sig, siginfo_t* info, void* context) {
  (void)sig, (void)info, (void)context;
  double x = 3.25;
  for (int i = 0; i < 8; ++i) x = x * 1.5 + (double)i / 3.0;
  long double y = x;
  sink = (double)(y * 1.1L);
  fesetround(FE_UPWARD);
#ifdef __x86_64__
  if (__builtin_cpu_supports("avx")) {
    __asm__ volatile(
        "vpcmpeqd %%xmm3, %%xmm3, %%xmm3; vinsertf128 $1, %%xmm3, %%ymm3, %%ymm3; vmovaps %%ymm3, %%ymm7; "
        "vxorps %%ymm15, %%ymm15, %%ymm15" ::
            : "xmm3", "xmm7", "xmm15");
  }
#endif
  handled = handled + 1;
}

#ifdef __x86_64__
// Loads three ymm registers, traps, and stores them; the trap runs the handler in between.
static void vectors(void) {
  if (!__builtin_cpu_supports("avx")) {
    puts("vectors: equal");
    return;
  }
  unsigned char in[96], out[96];
  for (int i = 0; i < 96; ++i) in[i] = (unsigned char)(i * 7 + 1);
  int same = 1;
  for (int round = 0; round < 200; ++round) {
    memset(out, 0, sizeof out);
    __asm__ volatile(
        "vmovups (%0), %%ymm3; vmovups 32(%0), %%ymm7; vmovups 64(%0), %%ymm15; int3; "
        "vmovups %%ymm3, (%1); vmovups %%ymm7, 32(%1); vmovups %%ymm15, 64(%1); vzeroupper" ::"r"(in),
        "r"(out)
        : "xmm3", "xmm7", "xmm15", "memory");
    same &= memcmp(in, out, sizeof in) == 0;
    in[round % 96]++;
  }
  printf("vectors: %s\n", same != 0 ? "equal" : "DIFFERENT");
}
#else
static void vectors(void) { puts("vectors: equal"); }
#endif

static void edit(int sig, siginfo_t* info, void* context) {
  (void)sig, (void)info;
  ucontext_t* where = context;
#ifdef __x86_64__
  unsigned* word = where->uc_mcontext.fpregs->_xmm[5].element;
#else
  // struct _fpstate: the 108-byte x87 part, then the fxsave image, whose xmm registers start at 160.
  unsigned* word = (unsigned*)((char*)where->uc_mcontext.fpregs + 112 + 160 + 5 * 16);
#endif
  CHECK(word[0] == 0x11111111);
  word[0] = 0x22222222;
}

__attribute__((target("sse2"))) static void edited(void) {
  unsigned in[4] = {0x11111111, 1, 2, 3}, out[4];
  guest_on(SIGTRAP, edit, 0);
  __asm__ volatile("movups (%0), %%xmm5; int3; movups %%xmm5, (%1)" ::"r"(in), "r"(out) : "xmm5", "memory");
  printf("edited: %x %x %x %x\n", out[0], out[1], out[2], out[3]);
}

int main(void) {
  guest_on(SIGTRAP, spoil, 0);
  guest_on(SIGALRM, spoil, SA_RESTART);
  vectors();
  SHOW(handled);
  fesetround(FE_DOWNWARD);
  long double before = 1.0L / 3.0L;
  __asm__ volatile("fldt %1; int3; fstpt %0" : "=m"(before) : "m"(before));
  printf("x87 %.18Lf rounding kept %d\n", before, fegetround() == FE_DOWNWARD);
  fesetround(FE_TONEAREST);
  // Asynchronous: a sum that any lost register bit would change, under a timer.
  handled = 0;
  ualarm(2000, 2000);
  double sum = 0;
  long terms = 0;
  while (handled < 100) {
    double part = 0;
    for (int i = 1; i <= 1000; ++i) part += 1.0 / ((double)i * (double)i);
    if (terms == 0) sum = part;
    if (part != sum) {
      printf("DIFFERENT after %ld: %.17g %.17g\n", terms, part, sum);
      break;
    }
    ++terms;
  }
  ualarm(0, 0);
  printf("%.17g\n", sum);
  edited();
  return guest_end();
}
