/* 32 MiB of which most pages are like others, some near and some far away.  A line on stdin asks for a sum of
 * it all. */
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#define PAGES 8192
#define KINDS 60

static uint64_t (*pages)[512];

int main(void) {
  char line[16];
  pages = mmap(NULL, sizeof *pages * PAGES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (pages == MAP_FAILED) return 1;
  for (uint64_t i = 0; i < PAGES; ++i)
    for (unsigned k = 0; k < 512; ++k) pages[i][k] = (i % KINDS + 1) * 0x9E3779B97F4A7C15 + k;
  puts("ready");
  fflush(stdout);
  while (fgets(line, sizeof line, stdin) != NULL) {
    uint64_t sum = 0;
    for (unsigned i = 0; i < PAGES; ++i)
      for (unsigned k = 0; k < 512; ++k) sum = sum * 31 + pages[i][k];
    printf("%016llx\n", (unsigned long long)sum);
    fflush(stdout);
    pages[77][77] += 1;
  }
  return 0;
}
