/* Its clocks go on as they began, wherever it runs: none goes back, none jumps, the C library (by way of the
 * vDSO) and system calls agree, and waiting until a time ends then. */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define SECOND 1000000000LL
#define MOST \
  (20 * SECOND) /* a machine may stand still for a while; the clocks of two machines are further apart */

static const clockid_t clocks[] = {CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_MONOTONIC_RAW, CLOCK_BOOTTIME,
                                   CLOCK_TAI};
enum { CLOCKS = sizeof clocks / sizeof *clocks };
static int bad;

static void complain(const char* what, long long a, long long b) {
  if (bad++ < 10) printf("%s: %lld, then %lld\n", what, a, b);
}

static long long in_ns(struct timespec t) { return t.tv_sec * SECOND + t.tv_nsec; }

static long long by_library(clockid_t id) {
  struct timespec t;
  return clock_gettime(id, &t) == 0 ? in_ns(t) : -1;
}

static long long by_call(clockid_t id) {
#ifdef __i386__
  struct {
    long long s, ns;
  } t;
  return syscall(SYS_clock_gettime64, id, &t) == 0 ? t.s * SECOND + t.ns : -1;
#else
  struct timespec t;
  return syscall(SYS_clock_gettime, id, &t) == 0 ? in_ns(t) : -1;
#endif
}

static void step(const char* what, long long* last, long long now) {
  if (now < *last || now > *last + MOST) complain(what, *last, now);
  *last = now;
}

static void look(long long* last) {
  for (int i = 0; i < CLOCKS; ++i) {
    step("a clock of the library", &last[i], by_library(clocks[i]));
    step("a clock by system call", &last[i], by_call(clocks[i]));
  }
  long long real = by_library(CLOCK_REALTIME) / 1000;
  struct timeval tv;
  gettimeofday(&tv, NULL);
  step("gettimeofday", &real, tv.tv_sec * 1000000LL + tv.tv_usec);
  syscall(SYS_gettimeofday, &tv, NULL);
  step("gettimeofday by system call", &real, tv.tv_sec * 1000000LL + tv.tv_usec);
  long long before = by_library(CLOCK_REALTIME_COARSE) / SECOND;
  step("time", &before, time(NULL));
}

static struct timespec soon(clockid_t id, long long ns) {
  const long long at = by_library(id) + ns;
  return (struct timespec){at / SECOND, at % SECOND};
}

/* Waits until a time in three ways, all of them to the end. */
static void wait_until(clockid_t id) {
  pthread_condattr_t attr;
  pthread_cond_t never;
  pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
  pthread_condattr_init(&attr);
  pthread_condattr_setclock(&attr, id);
  pthread_cond_init(&never, &attr);
  pthread_mutex_lock(&lock);
  struct timespec at = soon(id, SECOND / 100);
  const int rc = pthread_cond_timedwait(&never, &lock, &at);
  long long end = in_ns(at);
  if (rc != ETIMEDOUT) complain("pthread_cond_timedwait", rc, ETIMEDOUT);
  step("the end of pthread_cond_timedwait", &end, by_library(id));
  at = soon(id, SECOND / 200);
  end = in_ns(at);
  if (clock_nanosleep(id, TIMER_ABSTIME, &at, NULL) != 0) complain("clock_nanosleep", 0, 0);
  step("the end of clock_nanosleep", &end, by_library(id));
  pthread_mutex_unlock(&lock);
}

int main(int argc, char** argv) {
  const long long seconds = argc > 1 ? atoi(argv[1]) : 2;
  long long last[CLOCKS];
  for (int i = 0; i < CLOCKS; ++i) last[i] = by_library(clocks[i]);
  const long long begin = by_library(CLOCK_MONOTONIC);
  unsigned rounds = 0;
  while (by_library(CLOCK_MONOTONIC) < begin + seconds * SECOND) {
    for (int i = 0; i < 200; ++i) look(last);
    wait_until(rounds % 2 != 0 ? CLOCK_REALTIME : CLOCK_MONOTONIC);
    ++rounds;
  }
  printf("%d\n", bad);
  return bad == 0 && rounds > 2 ? 9 : 1;
}
