/* calls getppid|clock: microseconds of one system call, of one clock_gettime. */
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "bench.h"

int main(int argc, char** argv) {
  const int clock_only = argc > 1 && strcmp(argv[1], "clock") == 0;
  const long n = clock_only ? scaled(2000000, 1000) : scaled(10000, 100);
  for (int i = 0; i < 50; ++i) syscall(SYS_getppid);
  const double begin = now_us();
  if (clock_only) {
    for (long i = 0; i < n; ++i) {
      struct timespec t;
      clock_gettime(CLOCK_MONOTONIC, &t);
    }
  } else {
    for (long i = 0; i < n; ++i) syscall(SYS_getppid);
  }
  return report((now_us() - begin) / (double)n);
}
