// Goal: a handler may change where and with what the program goes on: siglongjmp, edited registers,
// setcontext.
#include "guest.h"

#include <setjmp.h>
#include <ucontext.h>

#ifdef __x86_64__
#define IP REG_RIP
#define ACC REG_RAX
#else
#define IP REG_EIP
#define ACC REG_EAX
#endif

static sigjmp_buf escape;
static volatile int jumps;
static ucontext_t back, other;

static void jump(int sig, siginfo_t* info, void* context) {
  (void)sig, (void)info, (void)context;
  siglongjmp(escape, 1);
}

static void edit(int sig, siginfo_t* info, void* context) {
  (void)sig, (void)info;
  ucontext_t* where = context;
  where->uc_mcontext.gregs[IP] += 2;  // length of ud2
  where->uc_mcontext.gregs[ACC] += 1000;
  where->uc_mcontext.gregs[REG_EFL] |= 1;  // carry
}

static void coroutine(int a, int b) {
  printf("coroutine %d %d\n", a, b);
  swapcontext(&other, &back);
  puts("coroutine again");
}

int main(void) {
  guest_on(SIGUSR1, jump, 0);
  for (int i = 0; i < 1000; ++i) {
    if (sigsetjmp(escape, 1) == 0) {
      raise(SIGUSR1);
      puts("not reached");
    } else {
      jumps = jumps + 1;
    }
  }
  SHOW(jumps);
  guest_on(SIGILL, edit, 0);
  long accumulator = 7;
  unsigned char carry = 0;
  __asm__ volatile("clc; ud2; setc %1" : "+a"(accumulator), "=q"(carry) : : "cc");
  SHOW(accumulator);
  SHOW(carry);
  long kept[4] = {11, 22, 33, 44};
  for (int i = 0; i < 100; ++i) {
#ifdef __x86_64__
    register long r12 __asm__("r12") = kept[0];
    register long r13 __asm__("r13") = kept[1];
    register long r9 __asm__("r9") = kept[2];
    register long r11 __asm__("r11") = kept[3];
    accumulator = 0;
    __asm__ volatile("ud2" : "+a"(accumulator), "+r"(r12), "+r"(r13), "+r"(r9), "+r"(r11) : : "cc");
    kept[0] = r12, kept[1] = r13, kept[2] = r9, kept[3] = r11;
#else
    __asm__ volatile("ud2"
                     : "+a"(accumulator), "+c"(kept[0]), "+d"(kept[1]), "+S"(kept[2]), "+D"(kept[3])
                     :
                     : "cc");
#endif
  }
  printf("%ld %ld %ld %ld\n", kept[0], kept[1], kept[2], kept[3]);
  static char stack[65536];
  CHECK(getcontext(&other) == 0);
  other.uc_stack.ss_sp = stack;
  other.uc_stack.ss_size = sizeof stack;
  other.uc_link = &back;
  makecontext(&other, (void (*)(void))coroutine, 2, 5, 6);
  CHECK(swapcontext(&back, &other) == 0);
  puts("main between");
  CHECK(swapcontext(&back, &other) == 0);
  return guest_end();
}
