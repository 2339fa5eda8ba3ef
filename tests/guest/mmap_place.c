// Goal: where mmap puts things: hints, MAP_FIXED, MAP_FIXED_NOREPLACE, MAP_32BIT, MAP_GROWSDOWN, alignment
// errors.
#include "guest.h"

#include <sys/mman.h>
#include <sys/syscall.h>

enum { kPage = 4096, kAnon = MAP_PRIVATE | MAP_ANONYMOUS };
#ifdef __x86_64__
#define HINT 0x200000000000
#else
#define HINT 0x30000000
#endif

static void grows_down(void) {
  char* area = mmap(NULL, 600 * kPage, PROT_NONE, kAnon, -1, 0);
  CHECK(munmap(area, 600 * kPage) == 0);
  char* top = area + 599 * kPage;
  CHECK(mmap(top, kPage, PROT_READ | PROT_WRITE, kAnon | MAP_GROWSDOWN | MAP_FIXED, -1, 0) == top);
  for (int page = 0; page < 100; ++page) top[-page * kPage] = (char)page;
  int sum = 0;
  for (int page = 0; page < 100; ++page) sum += top[-page * kPage];
  SHOW(sum);
}

int main(void) {
  char* at = (char*)HINT;
  SHOW(mmap(at, 4 * kPage, PROT_READ | PROT_WRITE, kAnon, -1, 0) == at);
  at[kPage] = 5;
  SHOW(mmap(at, kPage, PROT_READ, kAnon, -1, 0) == at);
  SHOW(mmap(at + 123, kPage, PROT_READ, kAnon, -1, 0) == at);
  char* place = at + 16 * kPage;
  SHOW(mmap(place + 123, kPage, PROT_READ, kAnon, -1, 0) == place);
  SHOW_RC(mmap(at + 1, kPage, PROT_READ, kAnon | MAP_FIXED, -1, 0) == at ? 0 : -1);
  SHOW(mmap(at + kPage, kPage, PROT_READ, kAnon | MAP_FIXED, -1, 0) == at + kPage);
  SHOW(at[kPage]);
  SHOW_RC(mmap(at, kPage, PROT_READ, kAnon | MAP_FIXED_NOREPLACE, -1, 0) == at ? 0 : -1);
  SHOW(mmap(at + 32 * kPage, kPage, PROT_READ, kAnon | MAP_FIXED_NOREPLACE, -1, 0) == at + 32 * kPage);
  SHOW_RC(mmap(NULL, 0, PROT_READ, kAnon, -1, 0) == NULL ? 0 : -1);
  SHOW_RC(mmap(NULL, (size_t)-1, PROT_READ, kAnon, -1, 0) == NULL ? 0 : -1);
  SHOW_RC(mmap(NULL, kPage, PROT_READ, MAP_ANONYMOUS, -1, 0) == NULL ? 0 : -1);
  SHOW_RC(mmap(NULL, kPage, PROT_READ, MAP_PRIVATE, 1000, 0) == NULL ? 0 : -1);
  SHOW_RC(mmap((void*)(uintptr_t)0, kPage, PROT_READ, kAnon | MAP_FIXED_NOREPLACE, -1, 0) == NULL ? 0 : -1);
  uintptr_t low = (uintptr_t)mmap(NULL, kPage, PROT_READ, kAnon | MAP_32BIT, -1, 0);
#ifdef __x86_64__
  SHOW(low >= 0x40000000 && low < 0x80000000);
  SHOW_RC(mmap((void*)0x7ffffffff000, kPage, PROT_READ, kAnon | MAP_FIXED, -1, 0) == NULL ? 0 : -1);
  SHOW_RC(mmap((void*)0xffff800000000000, kPage, PROT_READ, kAnon | MAP_FIXED, -1, 0) == NULL ? 0 : -1);
  SHOW((uintptr_t)mmap(NULL, kPage, PROT_READ, kAnon, -1, 0) >> 41 == 0x3f);
#else
  CHECK(low != (uintptr_t)-1);
  SHOW((uintptr_t)mmap(NULL, kPage, PROT_READ, kAnon, -1, 0) >> 24 == 0xf7);
#endif
  // Two areas without a hint lie next to each other, the later one below.
  char* first = mmap(NULL, 64 * kPage, PROT_READ | PROT_WRITE, kAnon, -1, 0);
  char* second = mmap(NULL, 64 * kPage, PROT_READ | PROT_WRITE, kAnon, -1, 0);
  SHOW((first - second) / kPage);
  memset(second, 1, 128 * kPage);
  SHOW_RC(munmap(second, 128 * kPage));
  grows_down();
  SHOW_RC(munmap(at + 1, kPage));
  SHOW_RC(munmap(at, 0));
  SHOW_RC(munmap(at, 64 * kPage));
  return guest_end();
}
