// Children of fork start a thread at once while other threads of their parent's start and end: what the
// parent's libc held at that moment is held by nobody in the child.
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { kThreads = 3 };

static volatile int done;

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void* nothing(void* unused) { return unused; }

static void* starts(void* unused) {
  while (!done) {
    pthread_t t;
    if (pthread_create(&t, NULL, nothing, NULL) == 0) pthread_join(t, NULL);
  }
  return unused;
}

int main(void) {
  pthread_t threads[kThreads];
  for (int i = 0; i < kThreads; ++i) pthread_create(&threads[i], NULL, starts, NULL);
  const double end = now() + 4;
  unsigned wrong = 0;
  while (now() < end) {
    const pid_t child = fork();
    if (child == 0) {
      alarm(20);
      // This program's own libc has its own such locks, which it sees to.
      pthread_t t;
      if (pthread_create(&t, NULL, nothing, NULL) != 0) _exit(2);
      pthread_join(t, NULL);
      _exit(3);
    }
    int status = 0;
    if (waitpid(child, &status, 0) != child || status != 3 << 8) ++wrong;
    if (wrong != 0) break;
  }
  done = 1;
  for (int i = 0; i < kThreads; ++i) pthread_join(threads[i], NULL);
  printf("%u children did not end well\n", wrong);
  return 0;
}
