// Goal: brk and sbrk: growth, zero pages, shrink and regrow, refusal when something is in the way.
#include "guest.h"

#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>

static char* raw_brk(char* to) { return (char*)syscall(SYS_brk, to); }

int main(void) {
  char* start = raw_brk(NULL);
  char* base = (char*)(((uintptr_t)start + 4095) & ~(uintptr_t)4095);
  SHOW(raw_brk(base + 100) - base);
  base[0] = 1;
  base[4095] = 2;
  SHOW(raw_brk(base + (1 << 20)) - base);
  int zeros = 1;
  for (int i = 4096; i < 1 << 20; ++i) zeros &= base[i] == 0;
  SHOW(zeros);
  memset(base, 7, 1 << 20);
  SHOW(raw_brk(base + 8192) - base);
  SHOW(base[8191]);
  SHOW(raw_brk(base + 65536) - base);
  SHOW(base[8191] + base[8192]);
  CHECK(raw_brk((char*)16) == base + 65536);
  void* wall = mmap(base + 131072, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
  CHECK(wall == base + 131072);
  SHOW(raw_brk(base + 262144) - base);
  CHECK(munmap(wall, 4096) == 0);
  SHOW(raw_brk(base + 262144) - base);
  struct rlimit limit = {1 << 20, RLIM_INFINITY};
  CHECK(setrlimit(RLIMIT_DATA, &limit) == 0);
  SHOW(raw_brk(base + (64 << 20)) - base);
  errno = 0;
  SHOW(sbrk(64 << 20) == (void*)-1);
  printf("errno %s\n", guest_errname(errno));
  return guest_end();
}
