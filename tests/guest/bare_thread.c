// Goal: threads without a library: clone on a stack of its own, futex waiting, atomic counters, clearing of
// the tid.
#include "bare.h"

enum { kThreads = 4, kRounds = 300 };
static volatile int counter, go;
static volatile int tids[kThreads];
static char stacks[kThreads][16384] __attribute__((aligned(16)));

static void body(void) {
  while (go == 0) CALL(futex, &go, 0, 0, 0);
  for (int i = 0; i < kRounds; ++i) __atomic_fetch_add(&counter, 1, __ATOMIC_SEQ_CST);
  CALL(exit, 0);
}

// The child starts with nothing but its stack, which holds the function to run.
static long start(int n) {
  void** top = (void**)(stacks[n] + sizeof stacks[n] - 64);
  *top = (void*)body;
  // CLONE_VM|FS|FILES|SIGHAND|THREAD|SYSVSEM|PARENT_SETTID|CHILD_CLEARTID
  long flags = 0x100 | 0x200 | 0x400 | 0x800 | 0x10000 | 0x40000 | 0x100000 | 0x200000;
  long result;
#ifdef __x86_64__
  register long r10 __asm__("r10") = (long)&tids[n];
  register long r8 __asm__("r8") = 0;
  __asm__ volatile("syscall; test %%rax, %%rax; jnz 1f; pop %%rax; call *%%rax; hlt; 1:"
                   : "=a"(result)
                   : "a"(__NR_clone), "D"(flags), "S"(top), "d"(&tids[n]), "r"(r10), "r"(r8)
                   : "rcx", "r11", "memory");
#else
  __asm__ volatile("int $0x80; test %%eax, %%eax; jnz 1f; pop %%eax; call *%%eax; hlt; 1:"
                   : "=a"(result)
                   : "a"(__NR_clone), "b"(flags), "c"(top), "d"(&tids[n]), "S"(0), "D"(&tids[n])
                   : "memory");
#endif
  return result;
}

int bare_main(int argc, char** argv, char** envp) {
  (void)argc, (void)argv, (void)envp;
  int good = 0;
  for (int i = 0; i < kThreads; ++i) good += start(i) > 0;
  say_number("started", good);
  go = 1;
  CALL(futex, &go, 1, 100);
  for (int i = 0; i < kThreads; ++i) {
    for (int tid = tids[i]; tid != 0; tid = tids[i]) CALL(futex, &tids[i], 0, tid, 0);
  }
  say_number("counter", counter);
  return 0;
}
