/* fault MIB: how long the first touch of a page takes whose content is on another node.
 *
 * Prints AT address pages, then obeys lines of stdin and answers each with one line:
 *
 *   touch FIRST STEP COUNT VALUE LEAST   touches COUNT pages, each STEP behind the last (modulo all); word 1
 * of each must be VALUE moved FIRST STEP COUNT VALUE LEAST   the same, begun as soon as a gap of half a
 * millisecond shows that the process has moved
 *
 * The answer: TOUCHED, how many took at least a microsecond (the others were there), median and 99th
 * percentile of those in microseconds, and how many values were wrong. */
#include <string.h>
#include <sys/mman.h>

#include "bench.h"

enum { kPage = 4096, kWords = kPage / 8, kMost = 65536 };
static double g_times[kMost];

static int by_size(const void* a, const void* b) {
  const double x = *(const double*)a, y = *(const double*)b;
  return (x > y) - (x < y);
}

static void wait_for_a_gap(void) {
  for (double before = now_us(), now = before; now - before < 300; now = now_us()) before = now;
}

int main(int argc, char** argv) {
  need(argc == 2, "usage: fault MIB");
  const unsigned long pages = (unsigned long)atol(argv[1]) * 256;
  volatile uint64_t* memory =
      mmap(NULL, pages * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  need(memory != MAP_FAILED, "mmap");
  for (unsigned long i = 0; i < pages * kWords; ++i) memory[i] = i + 1;
  for (unsigned long i = 0; i < pages; ++i) memory[i * kWords + 1] = 0;
  memset(g_times, 0, sizeof g_times);
  printf("AT %llu %lu\n", (unsigned long long)(uintptr_t)memory, pages);
  fflush(stdout);
  char line[128];
  char what[16];
  double least;
  while (fgets(line, sizeof line, stdin) != NULL) {
    unsigned long first, step, count, value, wrong = 0, faults = 0;
    need(sscanf(line, "%15s %lu %lu %lu %lu %lf", what, &first, &step, &count, &value, &least) == 6 &&
             count <= kMost,
         "line");
    if (strcmp(what, "moved") == 0) wait_for_a_gap();
    for (unsigned long i = 0; i < count; ++i) {
      volatile uint64_t* page = memory + (first + i * step) % pages * kWords;
      const double begin = now_us();
      const uint64_t found = page[1];
      page[2] = found;
      const double took = now_us() - begin;
      wrong += found != value;
      if (took >= least) g_times[faults++] = took;
    }
    qsort(g_times, faults, sizeof g_times[0], by_size);
    printf("TOUCHED %lu %.3f %.3f %lu\n", faults, faults != 0 ? g_times[faults / 2] : 0.0,
           faults != 0 ? g_times[faults * 99 / 100] : 0.0, wrong);
    fflush(stdout);
  }
  return 0;
}
