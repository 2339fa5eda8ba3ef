/* tsc: prints the time-stamp counter, CLOCK_MONOTONIC in ns and the counter's frequency in Hz (measured for
 * 50 ms), so that what a guest notes in cycles can be put on the host's clock. */
#include <x86intrin.h>

#include "bench.h"

int main(void) {
  const double begin = now_us();
  const uint64_t first = __rdtsc();
  while (now_us() - begin < 50e3) {
  }
  const uint64_t last = __rdtsc();
  const double end = now_us();
  printf("TSC %llu %.0f %.0f\n", (unsigned long long)last, end * 1e3,
         (double)(last - first) / (end - begin) * 1e6);
  return 0;
}
