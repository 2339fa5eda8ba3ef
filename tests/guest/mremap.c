// Goal: mremap grows in place, moves, moves to a fixed place, shrinks, keeps contents and zeroes what is new.
#include "guest.h"

#include <sys/mman.h>

enum { kPage = 4096, kAnon = MAP_PRIVATE | MAP_ANONYMOUS, kRw = PROT_READ | PROT_WRITE };

static char* area_of(size_t pages) {
  char* area = mmap(NULL, pages * kPage, PROT_NONE, kAnon, -1, 0);
  CHECK(area != MAP_FAILED);
  return area;
}

int main(void) {
  char* area = area_of(64);
  CHECK(mmap(area, 4 * kPage, kRw, kAnon | MAP_FIXED, -1, 0) == area);
  for (int i = 0; i < 4; ++i) area[i * kPage] = (char)('a' + i);
  SHOW_RC(mremap(area, 4 * kPage, 8 * kPage, 0) == MAP_FAILED ? -1 : 0);  // the reservation is in the way
  CHECK(munmap(area + 4 * kPage, 28 * kPage) == 0);
  SHOW(mremap(area, 4 * kPage, 8 * kPage, 0) == area);
  printf("%c%c%c%c %d\n", area[0], area[kPage], area[2 * kPage], area[3 * kPage], area[7 * kPage]);
  area[7 * kPage] = 'h';
  char* fixed = area + 40 * kPage;
  SHOW(mremap(area, 8 * kPage, 10 * kPage, MREMAP_MAYMOVE | MREMAP_FIXED, fixed) == fixed);
  printf("%c%c%c %d\n", fixed[0], fixed[3 * kPage], fixed[7 * kPage], fixed[9 * kPage]);
  SHOW_RC(msync(area, kPage, MS_ASYNC));  // gone
  char* moved = mremap(fixed, 10 * kPage, 4096 * kPage, MREMAP_MAYMOVE);
  CHECK(moved != MAP_FAILED && moved != fixed);
  printf("%c%c%c %d\n", moved[0], moved[3 * kPage], moved[7 * kPage], moved[4095 * kPage]);
  SHOW(mremap(moved, 4096 * kPage, 2 * kPage, 0) == moved);
  SHOW_RC(msync(moved + 2 * kPage, kPage, MS_ASYNC));
  char* twin = mmap(NULL, kPage, kRw, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  twin[0] = 't';
  char* second = mremap(twin, 0, kPage, MREMAP_MAYMOVE);  // old size 0: a second mapping of the same pages
  CHECK(second != MAP_FAILED && second != twin);
  second[1] = 'w';
  printf("%c%c\n", second[0], twin[1]);
  errno = 0;
  char* left = mremap(moved, 2 * kPage, 2 * kPage, MREMAP_MAYMOVE | MREMAP_DONTUNMAP);
  SHOW_RC(left == MAP_FAILED ? -1 : 0);
  if (left != MAP_FAILED) printf("%c %d\n", left[0], moved[0]);
  SHOW_RC(mremap(area + 1, kPage, 2 * kPage, MREMAP_MAYMOVE) == MAP_FAILED ? -1 : 0);
  SHOW_RC(mremap(area, kPage, 2 * kPage, MREMAP_MAYMOVE) == MAP_FAILED ? -1 : 0);
  SHOW_RC(mremap(twin, kPage, kPage, MREMAP_MAYMOVE | MREMAP_FIXED, twin) == MAP_FAILED ? -1 : 0);
  SHOW_RC(mremap(twin, kPage, 0, MREMAP_MAYMOVE) == MAP_FAILED ? -1 : 0);
  return guest_end();
}
