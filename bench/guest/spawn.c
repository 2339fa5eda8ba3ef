/* spawn PROGRAM: microseconds of fork + exec + wait of PROGRAM. */
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"

int main(int argc, char** argv) {
  need(argc > 1, "spawn PROGRAM");
  const long n = scaled(60, 2);
  double begin = 0;
  for (long i = -1; i < n; ++i) { /* one to warm up */
    if (i == 0) begin = now_us();
    const pid_t child = fork();
    need(child >= 0, "fork");
    if (child == 0) {
      execl(argv[1], argv[1], (char*)NULL);
      _exit(127);
    }
    int status = 0;
    need(waitpid(child, &status, 0) == child && status == 0, argv[1]);
  }
  return report((now_us() - begin) / (double)n);
}
