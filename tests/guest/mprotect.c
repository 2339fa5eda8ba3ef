// Goal: mprotect is exact in both directions, a handler can repair and go on, and execution obeys PROT_EXEC.
#include "guest.h"

#include <setjmp.h>
#include <sys/mman.h>

enum { kPage = 4096, kAnon = MAP_PRIVATE | MAP_ANONYMOUS, kRw = PROT_READ | PROT_WRITE };

static char* area;
static int faults;
static sigjmp_buf escape;
static siginfo_t last;

static void repair(int sig, siginfo_t* info, void* context) {
  (void)sig, (void)context;
  ++faults;
  char* page = (char*)((uintptr_t)info->si_addr & ~(uintptr_t)(kPage - 1));
  if (mprotect(page, kPage, kRw) != 0) _exit(9);
}

static void leave(int sig, siginfo_t* info, void* context) {
  (void)sig, (void)context;
  last = *info;
  siglongjmp(escape, 1);
}

static void write_barrier(void) {
  guest_on(SIGSEGV, repair, 0);
  for (int round = 0; round < 5; ++round) {
    CHECK(mprotect(area, 64 * kPage, round % 2 != 0 ? PROT_NONE : PROT_READ) == 0);
    faults = 0;
    for (int i = 0; i < 64; i += 3) area[i * kPage + 17]++;
    SHOW(faults);
  }
  CHECK(mprotect(area, 64 * kPage, kRw) == 0);
  int sum = 0;
  for (int i = 0; i < 64; ++i) sum += area[i * kPage + 17];
  SHOW(sum);
}

static void execution(void) {
  static const unsigned char code[] = {0xb8, 42, 0, 0, 0, 0xc3};  // mov $42, %eax; ret
  memcpy(area, code, sizeof code);
  int (*function)(void) = (int (*)(void))area;
  guest_on(SIGSEGV, leave, 0);
  for (int round = 0; round < 3; ++round) {
    CHECK(mprotect(area, kPage, PROT_READ) == 0);
    if (sigsetjmp(escape, 1) == 0) {
      SHOW(function());
    } else {
      printf("no execution: code %d, at the function %d\n", last.si_code, last.si_addr == (void*)area);
    }
    CHECK(mprotect(area, kPage, PROT_READ | PROT_EXEC) == 0);
    SHOW(function());
    CHECK(mprotect(area, kPage, kRw | PROT_EXEC) == 0);
    area[1] = (char)(43 + round);
    SHOW(function());
  }
}

int main(void) {
  area = mmap(NULL, 64 * kPage, kRw, kAnon, -1, 0);
  write_barrier();
  execution();
  SHOW_RC(mprotect(area + 1, kPage, PROT_READ));
  SHOW_RC(mprotect(area, 0, PROT_READ));
  SHOW_RC(mprotect(area, kPage, 0x80));
  CHECK(munmap(area + 8 * kPage, kPage) == 0);
  SHOW_RC(mprotect(area, 16 * kPage, PROT_READ));  // ENOMEM, but what lies before the hole has changed
  if (sigsetjmp(escape, 1) == 0) {
    area[7 * kPage] = 1;
    puts("written before the hole");
  } else {
    printf("read only before the hole, code %d\n", last.si_code);
  }
  area[9 * kPage] = 1;
  return guest_end();
}
