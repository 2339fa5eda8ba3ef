// Goal: huge sparse reservations as Go, Java and the sanitizers make them are cheap and usable at both ends.
#include "guest.h"

#include <sys/mman.h>

enum { kAnon = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE };

int main(void) {
#ifdef __x86_64__
  char* go = (char*)0xc000000000;
  SHOW(mmap(go, 64ULL << 20, PROT_NONE, kAnon, -1, 0) == go);
  SHOW(mmap(go, 4 << 20, PROT_READ | PROT_WRITE, kAnon | MAP_FIXED, -1, 0) == go);
  memset(go, 1, 4 << 20);
  size_t bytes = 1ULL << 40;
  // Shadow memory of a sanitizer, at its fixed place.
  char* shadow = (char*)0x7fff8000;
  SHOW(mmap(shadow, 0x10000000, PROT_READ | PROT_WRITE, kAnon | MAP_FIXED_NOREPLACE, -1, 0) == shadow);
  shadow[0] = shadow[0xfffffff] = 3;
#else
  size_t bytes = 1UL << 30;
#endif
  char* big = mmap(NULL, bytes, PROT_READ | PROT_WRITE, kAnon, -1, 0);
  CHECK(big != MAP_FAILED);
  // A stride that is no power of two, so that every level of page tables is exercised.
  size_t stride = bytes / 257 & ~(size_t)4095;
  for (size_t i = 0; i < 257; ++i) big[i * stride] = (char)i;
  unsigned sum = 0;
  for (size_t i = 0; i < 257; ++i) sum += (unsigned char)big[i * stride] + (unsigned)big[i * stride + 4095];
  SHOW(sum);
  big[bytes - 1] = 9;
  SHOW(big[bytes - 1]);
  SHOW_RC(mprotect(big + bytes / 2, bytes / 4, PROT_NONE));
  SHOW_RC(munmap(big + bytes / 4, bytes / 8));
  SHOW_RC(munmap(big, bytes));
  return guest_end();
}
