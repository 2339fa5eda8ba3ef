/* Dirties memory, allocates, frees, remaps, protects and checks every word of it, while somebody moves the
 * process. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#define PAGE 4096UL
static uint32_t state = 12345;
static uint32_t next_random(void) { return state = state * 1664525U + 1013904223U; }

static void fill(uint32_t* at, size_t words, uint32_t seed) {
  for (size_t i = 0; i < words; i += 16) at[i] = seed + (uint32_t)i;
}
static size_t wrong(const uint32_t* at, size_t words, uint32_t seed) {
  size_t bad = 0;
  for (size_t i = 0; i < words; i += 16) bad += at[i] != seed + (uint32_t)i;
  return bad;
}

int main(int argc, char** argv) {
  enum { kBlocks = 24 };
  uint32_t* block[kBlocks] = {0};
  size_t pages[kBlocks] = {0};
  uint32_t seed[kBlocks] = {0};
  size_t bad = 0;
  unsigned long steps = 0;
  const int seconds = argc > 1 ? atoi(argv[1]) : 2;
  struct timespec begin, now;
  clock_gettime(CLOCK_MONOTONIC, &begin);
  now = begin;
  do {
    const unsigned k = next_random() % kBlocks;
    const unsigned what = next_random() % 8;
    ++steps;
    if (block[k] == NULL) {
      pages[k] = 1 + next_random() % 64;
      block[k] = mmap(NULL, pages[k] * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
      if (block[k] == MAP_FAILED) return 2;
      for (size_t i = 0; i < pages[k]; ++i) bad += block[k][i * PAGE / 4] != 0;
      fill(block[k], pages[k] * PAGE / 4, seed[k] = next_random());
      continue;
    }
    bad += wrong(block[k], pages[k] * PAGE / 4, seed[k]);
    if (what == 0) {
      munmap(block[k], pages[k] * PAGE);
      block[k] = NULL;
    } else if (what == 1) {
      const size_t more = 1 + next_random() % 96;
      uint32_t* moved = mremap(block[k], pages[k] * PAGE, more * PAGE, MREMAP_MAYMOVE);
      if (moved == MAP_FAILED) return 3;
      block[k] = moved;
      const size_t kept = more < pages[k] ? more : pages[k];
      bad += wrong(moved, kept * PAGE / 4, seed[k]);
      pages[k] = more;
      fill(moved, more * PAGE / 4, seed[k]);
    } else if (what == 2) {
      madvise(block[k], pages[k] * PAGE, MADV_DONTNEED);
      for (size_t i = 0; i < pages[k]; ++i) bad += block[k][i * PAGE / 4] != 0;
      fill(block[k], pages[k] * PAGE / 4, seed[k] = next_random());
    } else if (what == 3) {
      mprotect(block[k], pages[k] * PAGE, PROT_READ);
      bad += wrong(block[k], pages[k] * PAGE / 4, seed[k]);
      mprotect(block[k], pages[k] * PAGE, PROT_READ | PROT_WRITE);
    } else {
      fill(block[k], pages[k] * PAGE / 4, seed[k] = next_random());
    }
    clock_gettime(CLOCK_MONOTONIC, &now);
  } while (now.tv_sec - begin.tv_sec < seconds);
  printf("wrong words: %zu\n", bad);
  return bad == 0 && steps > 10 ? 7 : 1;
}
