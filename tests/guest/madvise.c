// Goal: holes by munmap, MADV_DONTNEED and friends; what is gone is gone and what is left is left.
#include "guest.h"

#include <sys/mman.h>

enum { kPage = 4096, kPages = 1024, kAnon = MAP_PRIVATE | MAP_ANONYMOUS, kRw = PROT_READ | PROT_WRITE };

static int sum_of(const char* area) {
  int sum = 0;
  for (int i = 0; i < kPages; ++i) sum += area[i * kPage];
  return sum;
}

static void fill(char* area) {
  for (int i = 0; i < kPages; ++i) area[i * kPage] = 1;
}

int main(void) {
  char* area = mmap(NULL, kPages * kPage, kRw, kAnon, -1, 0);
  fill(area);
  SHOW(sum_of(area));
  SHOW_RC(madvise(area, kPages * kPage / 2, MADV_DONTNEED));
  SHOW(sum_of(area));
  fill(area);
  SHOW_RC(madvise(area + 100 * kPage, 300 * kPage, MADV_DONTNEED));
  SHOW(sum_of(area));
  fill(area);
  SHOW_RC(madvise(area, kPages * kPage, MADV_FREE));
  fill(area);  // written after MADV_FREE: must stay
  SHOW(sum_of(area));
  for (int i = 1; i < kPages; i += 4) CHECK(munmap(area + i * kPage, kPage) == 0);
  int sum = 0;
  for (int i = 0; i < kPages; ++i) sum += i % 4 != 1 ? area[i * kPage] : 0;
  SHOW(sum);
  SHOW_RC(madvise(area, kPages * kPage, MADV_DONTNEED));  // ENOMEM for the holes, done for the rest
  sum = 0;
  for (int i = 0; i < kPages; ++i) sum += i % 4 != 1 ? area[i * kPage] : 0;
  SHOW(sum);
  unsigned char resident[4] = {9, 9, 9, 9};
  SHOW_RC(mincore(area, 4 * kPage, resident));
  CHECK(mmap(area, kPages * kPage, kRw, kAnon | MAP_FIXED, -1, 0) == area);
  SHOW(sum_of(area));
  char* shared = mmap(NULL, 16 * kPage, kRw, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  shared[0] = 5;
  SHOW_RC(madvise(shared, kPage, MADV_DONTNEED));
  SHOW(shared[0]);  // shared memory survives
  SHOW_RC(madvise(shared, kPage, MADV_REMOVE));
  SHOW(shared[0]);
  SHOW_RC(madvise(area, kPage, 12345));
  SHOW_RC(madvise(area + 1, kPage, MADV_DONTNEED));
  SHOW_RC(madvise(area, kPage, MADV_WIPEONFORK));
  area[0] = 7;
  fflush(stdout);
  pid_t pid = fork();
  if (pid == 0) _exit(area[0]);
  guest_reap("MADV_WIPEONFORK child", pid);
  SHOW_RC(mlock(area, 4 * kPage));
  SHOW_RC(munlock(area, 4 * kPage));
  SHOW_RC(msync(area, kPage, MS_SYNC | MS_ASYNC));
  return guest_end();
}
