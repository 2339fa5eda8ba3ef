/* Reads the clock all the time, so that most moves find it inside the vDSO: no clock goes back, and
 * thread-local storage (where the next function's stack guard comes from, too) stays the thread's own. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static __thread unsigned long own;
static int seconds = 2;

static void* read_clocks(void* arg) {
  const unsigned long seed = (unsigned long)arg;
  unsigned long bad = 0;
  struct timespec begin, last, now;
  clock_gettime(CLOCK_MONOTONIC, &begin);
  last = now = begin;
  own = seed;
  for (unsigned long k = 1; now.tv_sec - begin.tv_sec < seconds; ++k) {
    clock_gettime(CLOCK_MONOTONIC, &now);
    bad += now.tv_sec < last.tv_sec || (now.tv_sec == last.tv_sec && now.tv_nsec < last.tv_nsec);
    bad += time(NULL) < 1000000;
    bad += own++ != seed + k - 1;
    last = now;
  }
  return (void*)bad;
}

int main(int argc, char** argv) {
  if (argc > 1) seconds = atoi(argv[1]);
  pthread_t other;
  pthread_create(&other, NULL, read_clocks, (void*)1000UL);
  unsigned long bad = (unsigned long)read_clocks((void*)5000UL);
  void* more = NULL;
  pthread_join(other, &more);
  printf("%lu %lu\n", bad, (unsigned long)more);
  return bad + (unsigned long)more == 0 ? 9 : 1;
}
