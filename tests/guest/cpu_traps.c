// Goal: processor exceptions become the right signal: division, undefined opcode, breakpoint, single step,
// alignment.
#include "guest.h"

#include <setjmp.h>
#include <ucontext.h>

#ifdef __x86_64__
#define IP REG_RIP
#else
#define IP REG_EIP
#endif

static sigjmp_buf escape;
static siginfo_t last;
static uintptr_t at;
static long trap_number;
static int steps;

static void leave(int sig, siginfo_t* info, void* context) {
  (void)sig;
  last = *info;
  ucontext_t* where = context;
  at = (uintptr_t)where->uc_mcontext.gregs[IP];
  trap_number = (long)where->uc_mcontext.gregs[REG_TRAPNO];
  siglongjmp(escape, 1);
}

static void step(int sig, siginfo_t* info, void* context) {
  (void)sig, (void)context;
  last = *info;
  ++steps;
}

static void count_breakpoint(int sig, siginfo_t* info, void* context) { step(sig, info, context); }

extern char ud2_here[], div_here[], int3_behind[], hlt_here[];
// "used" functions with labels, so that the reported address can be checked.
__attribute__((noinline, noclone)) static void do_ud2(void) { __asm__ volatile("ud2_here: ud2"); }
__attribute__((noinline, noclone)) static void do_int3(void) { __asm__ volatile("int3\nint3_behind: nop"); }
__attribute__((noinline, noclone)) static void do_hlt(void) { __asm__ volatile("hlt_here: hlt"); }
__attribute__((noinline, noclone)) static void do_div(void) {
  int zero = 0, high = 0, low = 1;
  __asm__ volatile("div_here: idivl %2" : "+a"(low), "+d"(high) : "r"(zero));
}
__attribute__((noinline, noclone)) static void do_overflow(void) {
  int minus = -1, high = -1, low = (int)0x80000000;
  __asm__ volatile("idivl %2" : "+a"(low), "+d"(high) : "r"(minus));
}
__attribute__((noinline, noclone)) static void do_io(void) { __asm__ volatile("outb %%al, $0x80" ::"a"(0)); }
__attribute__((noinline, noclone)) static void do_cli(void) { __asm__ volatile("cli"); }
__attribute__((noinline, noclone)) static void do_int_0x42(void) { __asm__ volatile("int $0x42"); }

static void probe(const char* label, void (*action)(void), const char* where) {
  if (sigsetjmp(escape, 1) == 0) {
    action();
    printf("%-10s nothing\n", label);
    return;
  }
  printf("%-10s SIG%s code %d trap %ld", label, sigabbrev_np(last.si_signo), last.si_code, trap_number);
  if (where != NULL) printf(" ip %s", at == (uintptr_t)where ? "exact" : "WRONG");
  if (last.si_signo == SIGFPE || last.si_signo == SIGILL)
    printf(" addr==ip %d", (uintptr_t)last.si_addr == at);
  printf("\n");
}

static void single_step(void) {
  guest_on(SIGTRAP, step, 0);
  steps = 0;
#ifdef __x86_64__
  __asm__ volatile(
      "lea -128(%%rsp), %%rsp; pushfq; orl $0x100, (%%rsp); popfq; nop; nop; nop; "
      "pushfq; andl $~0x100, (%%rsp); popfq; lea 128(%%rsp), %%rsp" ::
          : "cc", "memory");
#else
  __asm__ volatile(
      "pushfl; orl $0x100, (%%esp); popfl; nop; nop; nop; pushfl; andl $~0x100, (%%esp); popfl" ::
          : "cc", "memory");
#endif
  printf("single step: %d traps, code %d\n", steps, last.si_code);
}

static void child_ud2(void) {
  signal(SIGILL, SIG_DFL);
  do_ud2();
}
static void child_div(void) {
  signal(SIGFPE, SIG_DFL);
  do_div();
}
static void child_blocked(void) {
  // A synchronous fault whose signal is blocked kills, whatever the handler.
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGILL);
  sigprocmask(SIG_BLOCK, &set, NULL);
  do_ud2();
}
static void child_ignored(void) {
  signal(SIGFPE, SIG_IGN);
  do_div();
}

int main(void) {
  guest_on(SIGFPE, leave, 0);
  guest_on(SIGILL, leave, 0);
  guest_on(SIGSEGV, leave, 0);
  guest_on(SIGTRAP, leave, 0);
  for (int round = 0; round < 2; ++round) {
    probe("ud2", do_ud2, ud2_here);
    probe("div", do_div, div_here);
    probe("overflow", do_overflow, NULL);
    probe("int3", do_int3, int3_behind);
    probe("hlt", do_hlt, hlt_here);
    probe("out", do_io, NULL);
    probe("cli", do_cli, NULL);
    probe("int 0x42", do_int_0x42, NULL);
  }
  guest_on(SIGTRAP, count_breakpoint, 0);
  steps = 0;
  for (int i = 0; i < 100; ++i) do_int3();
  SHOW(steps);
  single_step();
  guest_child("ud2 unhandled", child_ud2);
  guest_child("div unhandled", child_div);
  guest_child("ud2 blocked", child_blocked);
  guest_child("div ignored", child_ignored);
  return guest_end();
}
