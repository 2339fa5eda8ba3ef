// Goal: reads, writes and jumps into the launcher's zone end as on unmapped memory: SIGSEGV, MAPERR, exact
// address.
#include "zone.h"

#include <setjmp.h>

static sigjmp_buf escape;
static siginfo_t last;

static void leave(int sig, siginfo_t* info, void* context) {
  (void)sig, (void)context;
  last = *info;
  siglongjmp(escape, 1);
}

static void read_at(volatile char* at) { (void)*at; }
static void write_at(volatile char* at) { *at = 1; }
static void exchange_at(volatile char* at) { __atomic_fetch_add(at, 1, __ATOMIC_SEQ_CST); }
static void run_at(volatile char* at) { ((void (*)(void))at)(); }
static void copy_at(volatile char* at) {
  static char buffer[64];
  void *to = buffer, *from = (void*)(uintptr_t)at;
  unsigned long count = sizeof buffer;
  __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(count) : : "memory");
}

static const struct {
  const char* name;
  void (*act)(volatile char*);
} kWays[] = {
    {"read", read_at}, {"write", write_at}, {"exchange", exchange_at}, {"run", run_at}, {"copy", copy_at}};

static void stack_in_zone(void) {
  // A stack pointer in the zone: no handler can be entered, so the process dies.
#ifdef __x86_64__
  __asm__ volatile("mov %0, %%rsp; push %%rax" ::"r"(kZone[1] + 64));
#else
  __asm__ volatile("mov %0, %%esp; push %%eax" ::"r"(kZone[1] + 64));
#endif
}
static void handler_in_zone(void) {
  struct sigaction action = {.sa_handler = (void (*)(int))kZone[1]};
  sigaction(SIGUSR1, &action, NULL);
  signal(SIGSEGV, SIG_DFL);
  raise(SIGUSR1);
}
static void altstack_in_zone(void) {
  stack_t stack = {.ss_sp = kZone[1], .ss_size = 65536};
  SHOW_RC(sigaltstack(&stack, NULL));
  guest_on(SIGUSR1, leave, SA_ONSTACK);
  signal(SIGSEGV, SIG_DFL);
  fflush(stdout);
  raise(SIGUSR1);
}

int main(void) {
  guest_on(SIGSEGV, leave, 0);
  for (int i = 0; i < kZonePlaces; ++i) {
    for (size_t way = 0; way < sizeof kWays / sizeof kWays[0]; ++way) {
      for (int offset = 0; offset < kPage; offset += kPage - 64) {
        char* at = kZone[i] + offset;
        if (sigsetjmp(escape, 1) == 0) {
          kWays[way].act(at);
          printf("FAILED place %d %s went through\n", i, kWays[way].name);
          guest_failures = 1;
        } else {
          printf("place %d %s: SIG%s code %d address %s\n", i, kWays[way].name, sigabbrev_np(last.si_signo),
                 last.si_code, last.si_addr == at ? "exact" : "WRONG");
        }
      }
    }
  }
  guest_child("stack in the zone", stack_in_zone);
  guest_child("handler in the zone", handler_in_zone);
  guest_child("alternate stack in the zone", altstack_in_zone);
  return guest_end();
}
