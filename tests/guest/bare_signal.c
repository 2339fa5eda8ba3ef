// Goal: signals without a library: handler frames, return, faults with addresses, masks, a timer over
// computation.
#include "bare.h"

static volatile int handled, last_code, last_signal, on_own_stack;
static volatile uintptr_t last_address;
static char own_stack[16384];

static void on(int sig, void* info, void* context) {
  (void)context;
  const int* words = info;
  last_signal = sig;
  last_code = words[2];
  last_address = *(uintptr_t*)((char*)info + (sizeof(void*) == 8 ? 16 : 12));
  char here;
  on_own_stack = &here > own_stack && &here < own_stack + sizeof own_stack;
  ++handled;
}

static void repair(int sig, void* info, void* context) {
  on(sig, info, context);
  CALL(mprotect, last_address & ~(uintptr_t)4095, 4096, 3);
}

int bare_main(int argc, char** argv, char** envp) {
  (void)argc, (void)argv, (void)envp;
  long pid = CALL(getpid, 0);
  bare_on(10, on, 0);
  for (int i = 0; i < 20; ++i) CALL(kill, pid, 10);
  say_number("handled", handled);
  say_number("code", last_code);
  struct {
    void* sp;
    int flags;
    size_t size;
  } alternate = {own_stack, 0, sizeof own_stack};
  say_number("sigaltstack", CALL(sigaltstack, &alternate, 0));
  bare_on(12, on, 0x08000000);  // SA_ONSTACK
  CALL(kill, pid, 12);
  say_number("on its own stack", on_own_stack);
#ifdef __x86_64__
  char* page = (char*)CALL(mmap, 0, 3 * 4096, 1, 0x22, -1);
#else
  char* page = (char*)CALL(mmap2, 0, 3 * 4096, 1, 0x22, -1);
#endif
  bare_on(11, repair, 0);
  handled = 0;
  page[4096 + 7] = 9;
  say_number("faults", handled);
  say_number("code", last_code);
  say_number("address exact", last_address == (uintptr_t)(page + 4096 + 7));
  say_number("value", page[4096 + 7]);
  uint32_t mask[2] = {1u << 9, 0}, old[2];
  CALL(rt_sigprocmask, 0, mask, old, 8);
  handled = 0;
  CALL(kill, pid, 10);
  say_number("blocked", handled);
  CALL(rt_sigprocmask, 2, old, 0, 8);
  say_number("unblocked", handled);
  bare_on(14, on, 0);
  handled = 0;
  long timer[4] = {0, 2000, 0, 2000};
  CALL(setitimer, 0, timer, 0);
  while (handled < 20) {
  }
  timer[1] = timer[3] = 0;
  CALL(setitimer, 0, timer, 0);
  say("timer came\n");
  bare_on(11, (void (*)(int, void*, void*))0, 0);
  *(volatile char*)16 = 1;
  return 0;
}
