// Both sides want the same page at the same time: while one thread waits at home for a word on its stack, the
// other counts it down where the process is.  setuid() in a process with threads is that: glibc makes each of
// them do the call. Several processes at a time, for the load.
#include <pthread.h>
#include <stdio.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

enum { kProcesses = 6, kRounds = 3, kUser = 65534 };

static void* other(void* barrier) {
  pthread_barrier_wait(barrier);
  pthread_barrier_wait(barrier);
  return geteuid() == kUser ? NULL : barrier;
}

static int child(void) {
  pthread_t thread;
  pthread_barrier_t barrier;
  void* wrong = NULL;
  pthread_barrier_init(&barrier, NULL, 2);
  if (pthread_create(&thread, NULL, other, &barrier) != 0) return 2;
  pthread_barrier_wait(&barrier);
  if (setuid(kUser) != 0) return 3;
  pthread_barrier_wait(&barrier);
  if (pthread_join(thread, &wrong) != 0 || wrong != NULL) return 4;
  return geteuid() == kUser ? 0 : 5;
}

int main(void) {
  int good = 0;
  for (int round = 0; round < kRounds; ++round) {
    int status = 0;
    for (int i = 0; i < kProcesses; ++i)
      if (fork() == 0) _exit(child());
    while (wait(&status) > 0) good += status == 0;
  }
  printf("%d of %d good\n", good, kProcesses * kRounds);
  return good == kProcesses * kRounds ? 0 : 1;
}
