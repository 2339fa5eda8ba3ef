// A child that shares its parent's memory and vCPU (vfork) is killed in the middle of its computation,
// wherever that is: nothing of it runs on, and its parent goes on.
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { kTurns = 12 };

static volatile uint64_t steps;

/// Reads who it is from `from`, and kills him shortly after.
static pid_t start_killer(int from) {
  const pid_t killer = fork();
  if (killer != 0) return killer;
  pid_t who = 0;
  if (read(from, &who, sizeof who) != sizeof who) _exit(1);
  usleep(60000);
  _exit(kill(who, SIGKILL) == 0 ? 0 : 2);
}

int main(void) {
  volatile double kept = 1.5;
  for (int i = 0; i < kTurns; ++i) {
    int pipes[2];
    if (pipe(pipes) != 0) return 1;
    const pid_t killer = start_killer(pipes[0]);
    const pid_t child = vfork();
    if (child == 0) {
      const pid_t self = getpid();
      if (write(pipes[1], &self, sizeof self) != sizeof self) _exit(3);
      for (;;) ++steps;
    }
    int status = 0;
    const uint64_t seen = steps;
    usleep(20000);
    const uint64_t later = steps;
    if (waitpid(child, &status, 0) != child || !WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL) return 4;
    if (waitpid(killer, &status, 0) != killer || status != 0) return 5;
    if (seen == 0 || seen != later) return 6;
    kept = kept * 3 - 2;
    close(pipes[0]);
    close(pipes[1]);
  }
  printf("%d killed, %.1f\n", kTurns, kept);
  return 0;
}
