/* Threads that wait and wake each other through private futexes while somebody moves the process: who waits
 * on one node must be woken from the other; a handler ends a wait as Linux says; limits hold. */
#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#ifdef __x86_64__
#define FUTEX SYS_futex
#else
#define FUTEX SYS_futex_time64
#endif
struct limit {
  long long seconds, nanoseconds;
};

static sem_t ping, pong;
static _Atomic unsigned word;
static volatile sig_atomic_t alarms;
static const int kTurns = 4000;

static long futex(void* at, int op, unsigned value, const struct limit* limit, void* at2, unsigned value3) {
  return syscall(FUTEX, at, op | FUTEX_PRIVATE_FLAG, value, limit, at2, value3);
}
static void on_alarm(int signo) {
  (void)signo;
  ++alarms;
}
static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void* answer(void* arg) {
  (void)arg;
  for (int i = 0; i < kTurns; ++i) {
    while (sem_wait(&ping) != 0) {
    }
    sem_post(&pong);
  }
  return NULL;
}
/* Waits as raw calls do: relative limit, which Linux restarts for what is left of it. */
static void* sleeper(void* arg) {
  const struct limit limit = {0, 700000000};
  unsigned never = 1;
  const double begin = now();
  const long rc = futex(&never, FUTEX_WAIT, 1, &limit, NULL, 0);
  const int code = errno;
  const double took = now() - begin;
  *(int*)arg = rc == -1 && code == ETIMEDOUT && took > 0.69 && took < 3.0;
  return NULL;
}
static void* crowd(void* arg) {
  (void)arg;
  for (;;) {
    const unsigned seen = atomic_load(&word);
    if (seen >= 200) return NULL;
    futex(&word, FUTEX_WAIT, seen, NULL, NULL, 0);
  }
}

static void interrupted(int flags, int timed) {
  struct sigaction a;
  memset(&a, 0, sizeof a);
  a.sa_handler = on_alarm;
  a.sa_flags = flags;
  sigaction(SIGALRM, &a, NULL);
  const struct itimerval in = {{0, 0}, {0, 150000}};
  sem_t never;
  sem_init(&never, 0, 0);
  struct timespec until;
  clock_gettime(CLOCK_REALTIME, &until);
  until.tv_nsec += 400000000;
  until.tv_sec += until.tv_nsec / 1000000000;
  until.tv_nsec %= 1000000000;
  alarms = 0;
  setitimer(ITIMER_REAL, &in, NULL);
  int rc;
  if (timed) {
    rc = sem_timedwait(&never, &until);
  } else {
    /* With SA_RESTART only another signal could end sem_wait: the raw call shows the same with a limit. */
    rc = (int)futex(&never, FUTEX_WAIT, 0, NULL, NULL, 0);
  }
  printf("flags %x timed %d: %d %s, %d alarms\n", flags, timed, rc, rc != 0 ? strerror(errno) : "",
         (int)alarms);
}

int main(void) {
  sem_init(&ping, 0, 0);
  sem_init(&pong, 0, 0);
  pthread_t other, slow, many[3];
  int in_time = 0;
  pthread_create(&slow, NULL, sleeper, &in_time);
  pthread_create(&other, NULL, answer, NULL);
  for (int i = 0; i < kTurns; ++i) {
    sem_post(&ping);
    while (sem_wait(&pong) != 0) {
    }
  }
  pthread_join(other, NULL);
  for (int i = 0; i < 3; ++i) pthread_create(&many[i], NULL, crowd, NULL);
  for (int i = 0; i < 200; ++i) {
    atomic_fetch_add(&word, 1);
    futex(&word, i % 2 ? FUTEX_WAKE : FUTEX_WAKE_BITSET, 0x7fffffff, NULL, NULL, FUTEX_BITSET_MATCH_ANY);
    usleep(500);
  }
  for (int i = 0; i < 3; ++i) pthread_join(many[i], NULL);
  pthread_join(slow, NULL);
  printf("limit held: %d\n", in_time);
  interrupted(0, 0);
  interrupted(0, 1);
  interrupted(SA_RESTART, 1);
  printf("ids %d\n", getpid() == (pid_t)syscall(SYS_gettid));
  return 5;
}
