// Goal: interrupted sleeps say what remains; alarm and pause; interval timers read back; sleeps last as long
// as asked.
#include "guest.h"

#include <sys/time.h>
#include <time.h>

static volatile sig_atomic_t handled;
static void on(int sig, siginfo_t* info, void* context) {
  (void)sig, (void)info, (void)context;
  handled = handled + 1;
}

static long long nanoseconds(struct timespec t) { return t.tv_sec * 1000000000LL + t.tv_nsec; }

static long long now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return nanoseconds(t);
}

static void alarm_in(int microseconds) {
  struct itimerval once = {{0, 0}, {0, microseconds}};
  CHECK(setitimer(ITIMER_REAL, &once, NULL) == 0);
}

int main(void) {
  guest_on(SIGALRM, on, 0);
  struct timespec remaining = {0, 0};
  alarm_in(50000);
  long long start = now();
  SHOW_RC(nanosleep(&(struct timespec){5, 0}, &remaining));
  long long slept = now() - start;
  long long total = slept + nanoseconds(remaining);
  SHOW(total > 4990000000LL && total < 5200000000LL);
  SHOW(slept >= 49000000);
  alarm_in(50000);
  start = now();
  memset(&remaining, 0x55, sizeof remaining);
  SHOW(clock_nanosleep(CLOCK_REALTIME, 0, &(struct timespec){5, 0}, &remaining) == EINTR);
  total = now() - start + nanoseconds(remaining);
  SHOW(total > 4990000000LL && total < 5200000000LL);
  // An absolute sleep leaves the remainder alone and hits its time.
  struct timespec until;
  clock_gettime(CLOCK_MONOTONIC, &until);
  until.tv_sec += 3;
  remaining = (struct timespec){77, 77};
  alarm_in(20000);
  SHOW(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, &remaining) == EINTR);
  SHOW(remaining.tv_sec);
  clock_gettime(CLOCK_MONOTONIC, &until);
  until.tv_nsec += 30000000;
  if (until.tv_nsec >= 1000000000) until.tv_sec++, until.tv_nsec -= 1000000000;
  SHOW(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL));
  SHOW(now() >= nanoseconds(until));
  start = now();
  SHOW_RC(nanosleep(&(struct timespec){0, 20000000}, NULL));
  SHOW(now() - start >= 20000000);
  SHOW_RC(nanosleep(&(struct timespec){0, 1000000000}, NULL));
  SHOW_RC(nanosleep(&(struct timespec){-1, 0}, NULL));
  handled = 0;
  SHOW(alarm(1));
  SHOW(alarm(1));
  SHOW_RC(pause());
  SHOW(handled);
  alarm(100);
  struct itimerval left;
  SHOW_RC(getitimer(ITIMER_REAL, &left));
  SHOW(left.it_value.tv_sec >= 98 && left.it_value.tv_sec <= 100);
  SHOW(alarm(0) >= 99);
  guest_on(SIGVTALRM, on, 0);
  guest_on(SIGPROF, on, 0);
  handled = 0;
  struct itimerval busy = {{0, 0}, {0, 20000}};
  CHECK(setitimer(ITIMER_VIRTUAL, &busy, NULL) == 0);
  for (long long limit = now() + 20000000000LL; handled == 0 && now() < limit;) {
    for (volatile int i = 0; i < 100000; ++i) {
    }
  }
  SHOW(handled);
  return guest_end();
}
