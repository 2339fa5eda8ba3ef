/* spawn PROGRAM: median microseconds of fork + exec + wait of PROGRAM. */
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"

static int ascending(const void* a, const void* b) {
  const double x = *(const double*)a, y = *(const double*)b;
  return (x > y) - (x < y);
}

int main(int argc, char** argv) {
  need(argc > 1, "spawn PROGRAM");
  enum { kMost = 60 };
  double times[kMost];
  const long n = scaled(kMost, 2) < kMost ? scaled(kMost, 2) : kMost;
  for (long i = -1; i < n; ++i) { /* one to warm up */
    const double begin = now_us();
    const pid_t child = fork();
    need(child >= 0, "fork");
    if (child == 0) {
      execl(argv[1], argv[1], (char*)NULL);
      _exit(127);
    }
    int status = 0;
    need(waitpid(child, &status, 0) == child && status == 0, argv[1]);
    if (i >= 0) times[i] = now_us() - begin;
  }
  qsort(times, (size_t)n, sizeof times[0], ascending);
  return report(times[n / 2]);
}
