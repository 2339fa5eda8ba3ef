/* dirty MIB full|idle|RATE: a process of MIB MiB that is moved while it works; ends at SIGTERM.
 *
 * full: one word of page after page is written without a pause;  RATE: so that RATE MiB of pages are dirtied
 * a second; idle: it sleeps.  MIB may be 0: then it only reads the clock.
 *
 * Prints READY when all pages have been written once.  The loop reads the clock at every step; at the end it
 * prints each gap of at least 200 us that it saw (GAP begin_ns length_ns, CLOCK_MONOTONIC), the largest one
 * (LARGEST ns, also below that), and what the pages hold (INTACT pages, or a first wrong page and status 1).
 */
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bench.h"

enum { kPage = 4096, kWords = kPage / 8, kMostGaps = 65536, kNotable = 200000 };

static volatile sig_atomic_t g_end;
static struct { uint64_t begin, length; } g_gaps[kMostGaps];
static size_t g_gap_count, g_gaps_lost;
static uint64_t g_largest;

static void on_term(int signal) {
  (void)signal;
  g_end = 1;
}

static inline uint64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Differs from page to page, so that no two pages are the same and none is zero. */
static inline uint64_t filler(uint64_t page, size_t word) { return (page + 1) * 0x9e3779b97f4a7c15u + word; }

static inline uint64_t step(uint64_t before) {
  const uint64_t now = now_ns();
  const uint64_t gap = now - before;
  if (gap > g_largest) g_largest = gap;
  if (gap < kNotable) return now;
  if (g_gap_count == kMostGaps) {
    ++g_gaps_lost;
    return now;
  }
  g_gaps[g_gap_count].begin = before;
  g_gaps[g_gap_count++].length = gap;
  return now;
}

/* Word 0 of each page counts its passes.  How many pages were written, since the start. */
static uint64_t work(uint64_t* memory, uint64_t pages, double pages_per_ns) {
  const uint64_t begin = now_ns();
  uint64_t at = 0, written = 0, now = begin;
  while (!g_end) {
    now = step(now);
    if (pages == 0) continue;
    if (pages_per_ns > 0 && (double)written >= (double)(now - begin) * pages_per_ns) continue;
    ++memory[at * kWords];
    at = at + 1 == pages ? 0 : at + 1;
    ++written;
  }
  return written;
}

static int check(const uint64_t* memory, uint64_t pages, uint64_t written) {
  for (uint64_t i = 0; i < pages; ++i) {
    const uint64_t* p = memory + i * kWords;
    int good = p[0] == written / pages + (i < written % pages);
    for (size_t w = 1; w < kWords; ++w) good &= p[w] == filler(i, w);
    if (good) continue;
    printf("WRONG page %llu, its count is %llu\n", (unsigned long long)i, (unsigned long long)p[0]);
    return 1;
  }
  printf("INTACT %llu, %llu written\n", (unsigned long long)pages, (unsigned long long)written);
  return 0;
}

int main(int argc, char** argv) {
  need(argc == 3, "usage: dirty MIB full|idle|RATE");
  const uint64_t pages = (uint64_t)atol(argv[1]) * 256;
  const int idle = strcmp(argv[2], "idle") == 0;
  const double rate = strcmp(argv[2], "full") == 0 ? 0 : atof(argv[2]) * 256e-9;
  uint64_t* memory = NULL;
  if (pages != 0) {
    memory = mmap(NULL, pages * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    need(memory != MAP_FAILED, "mmap");
  }
  sigset_t term, before;
  sigemptyset(&term);
  sigaddset(&term, SIGTERM);
  /* Blocked until it is waited for, or it could come between the test and the wait. */
  if (idle) sigprocmask(SIG_BLOCK, &term, &before);
  struct sigaction act;
  memset(&act, 0, sizeof act);
  act.sa_handler = on_term;
  need(sigaction(SIGTERM, &act, NULL) == 0, "sigaction");
  for (uint64_t i = 0; i < pages; ++i) {
    memory[i * kWords] = 0;
    for (size_t w = 1; w < kWords; ++w) memory[i * kWords + w] = filler(i, w);
  }
  printf("READY\n");
  fflush(stdout);
  uint64_t written = 0;
  if (idle) {
    while (!g_end) sigsuspend(&before);
  } else {
    written = work(memory, pages, rate);
  }
  for (size_t i = 0; i < g_gap_count; ++i)
    printf("GAP %llu %llu\n", (unsigned long long)g_gaps[i].begin, (unsigned long long)g_gaps[i].length);
  printf("LARGEST %llu\n", (unsigned long long)g_largest);
  need(g_gaps_lost == 0, "more gaps than there was room for");
  return pages != 0 ? check(memory, pages, written) : 0;
}
