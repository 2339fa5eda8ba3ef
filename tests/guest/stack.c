// Goal: the stack grows on touch up to RLIMIT_STACK; the overflow is a SIGSEGV that an alternate stack can
// take.
#include "guest.h"

#include <setjmp.h>
#include <sys/resource.h>

static sigjmp_buf escape;
static volatile int depth;
static char* volatile lowest;
static int seen_code;
static int address_close;

__attribute__((noinline)) static int dig(int levels) {
  volatile char frame[4096];
  frame[0] = (char)levels;
  lowest = (char*)frame;
  depth = depth + 1;
  if (levels == 0) return frame[0];
  return dig(levels - 1) + frame[0];
}

static void overflow(int sig, siginfo_t* info, void* context) {
  (void)sig, (void)context;
  seen_code = info->si_code;
  long distance = (char*)info->si_addr - lowest;
  address_close = distance < 65536 && distance > -65536;
  siglongjmp(escape, 1);
}

static void no_altstack(void) {
  signal(SIGSEGV, SIG_DFL);
  dig(1 << 30);
}

int main(void) {
  struct rlimit limit = {8 << 20, 8 << 20};
  CHECK(setrlimit(RLIMIT_STACK, &limit) == 0);
  dig(1500);
  SHOW(depth);
  static char other[65536];
  stack_t alternate = {.ss_sp = other, .ss_size = sizeof other};
  CHECK(sigaltstack(&alternate, NULL) == 0);
  for (int round = 0; round < 3; ++round) {
    depth = 0;
    guest_on(SIGSEGV, overflow, SA_ONSTACK);
    if (sigsetjmp(escape, 1) == 0) dig(1 << 30);
    SHOW(seen_code == SEGV_MAPERR || seen_code == SEGV_ACCERR);
    SHOW(address_close);
    SHOW(depth > 1700 && depth < 2048);
  }
  guest_child("overflow with no handler", no_altstack);
  // A large jump below the stack pointer is fine within the limit.
  volatile char* far = (char*)&limit - (7 << 20);
  *far = 1;
  SHOW(*far);
  return guest_end();
}
