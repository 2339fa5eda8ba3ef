/* crunch ROUNDS LOOPS: at most so many rounds, and none begun after SIGTERM, of integer and floating-point
 * work over a table of 256 KiB, in as many threads as OpenMP gives where it is built with it.
 *
 * Prints a line for each: ROUND number begin_us microseconds checksum.  The checksums are the same wherever
 * and in however many threads it runs; the time of printing is in no round. */
#include <math.h>
#include <signal.h>
#include <string.h>

#include "bench.h"

enum { kTable = 32768, kParts = 8 };
static double g_table[kTable];

static volatile sig_atomic_t g_end;

static void on_term(int signal) {
  (void)signal;
  g_end = 1;
}

static uint32_t part(uint32_t seed, long loops) {
  uint32_t h = seed * 2654435761u + 1;
  double x = 1;
  for (long i = 0; i < loops; ++i) {
    h = (h ^ (uint32_t)i) * 16777619u;
    h ^= h >> 15;
    x = x * 0.999 + g_table[h % kTable] * 0.001;
  }
  return h ^ (uint32_t)(x * 1e9);
}

int main(int argc, char** argv) {
  need(argc == 3, "usage: crunch ROUNDS LOOPS");
  struct sigaction act;
  memset(&act, 0, sizeof act);
  act.sa_handler = on_term;
  act.sa_flags = SA_RESTART;
  need(sigaction(SIGTERM, &act, NULL) == 0, "sigaction");
  const int rounds = atoi(argv[1]);
  const long loops = atol(argv[2]);
  for (int i = 0; i < kTable; ++i) g_table[i] = sqrt((double)i) / 200;
  uint32_t sum = 0;
  for (int round = 0; round < rounds && !g_end; ++round) {
    const double begin = now_us();
#pragma omp parallel for reduction(+ : sum)
    for (int i = 0; i < kParts; ++i) sum += part((uint32_t)(round * kParts + i), loops);
    printf("ROUND %d %.0f %.3f %08x\n", round, begin, now_us() - begin, sum);
    fflush(stdout);
  }
  return 0;
}
