/* CPU time: the clocks of the process and of its threads, getrusage and times count what is computed wherever
 * that is; what children have used comes with their end, killed, executed or made by vfork; nothing goes
 * back.
 *
 * Pieces of work of the same size, one after the other: a piece whose time is not counted is far below the
 * others.  How long one takes is the machine's, and left out of the output. */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/times.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PIECES 24
#define CHECK(cond)                                    \
  do {                                                 \
    if (!(cond)) {                                     \
      printf("FAILED line %d: %s\n", __LINE__, #cond); \
      bad = 1;                                         \
    }                                                  \
  } while (0)

typedef long long Us;
static int bad;
static volatile uint32_t sink;
extern char** environ;

static void piece(void) {
  uint32_t x = 2463534242U;
  for (int i = 0; i < 6000000; ++i) x ^= x << 13, x ^= x >> 17, x ^= x << 5;
  sink += x;
}

static Us clock_us(clockid_t id) {
  struct timespec t = {0, 0};
  if (clock_gettime(id, &t) != 0) return -1;
  return t.tv_sec * 1000000LL + t.tv_nsec / 1000;
}
static Us both(const struct rusage* u) {
  return (u->ru_utime.tv_sec + u->ru_stime.tv_sec) * 1000000LL + u->ru_utime.tv_usec + u->ru_stime.tv_usec;
}
static Us usage(int who) {
  struct rusage u;
  return getrusage(who, &u) == 0 ? both(&u) : -1;
}

static int compare(const void* a, const void* b) {
  const Us x = *(const Us*)a, y = *(const Us*)b;
  return x < y ? -1 : x > y;
}

/* Works and sees every piece on `clock`; the time that most pieces take. */
static Us work(int pieces, clockid_t clock, int* low, int* back) {
  Us took[PIECES];
  Us last = clock_us(clock), process = clock_us(CLOCK_PROCESS_CPUTIME_ID), rusage = usage(RUSAGE_SELF);
  for (int i = 0; i < pieces; ++i) {
    piece();
    const Us now = clock_us(clock), p = clock_us(CLOCK_PROCESS_CPUTIME_ID), r = usage(RUSAGE_SELF);
    took[i] = now - last;
    *back += now < last || p < process || r < rusage;
    last = now, process = p, rusage = r;
  }
  qsort(took, (size_t)pieces, sizeof took[0], compare);
  const Us most = took[pieces / 2];
  for (int i = 0; i < pieces; ++i) *low += took[i] < most / 4;
  return most;
}

static int near(Us is, Us should) { return is > should / 2 && is < should * 4; }

/* --- the process itself */

static Us test_self(void) {
  int low = 0, back = 0;
  const Us children = usage(RUSAGE_CHILDREN);
  const Us most = work(PIECES, CLOCK_PROCESS_CPUTIME_ID, &low, &back);
  CHECK(low == 0);
  CHECK(back == 0);
  const Us process = clock_us(CLOCK_PROCESS_CPUTIME_ID), thread = clock_us(CLOCK_THREAD_CPUTIME_ID);
  const Us self = usage(RUSAGE_SELF), own = usage(RUSAGE_THREAD);
  struct tms t;
  CHECK(times(&t) != (clock_t)-1);
  const Us ticks = (Us)(t.tms_utime + t.tms_stime) * (1000000 / sysconf(_SC_CLK_TCK));
  CHECK(near(process, PIECES * most));
  CHECK(near(thread, PIECES * most));
  CHECK(near(self, PIECES * most));
  CHECK(near(own, PIECES * most));
  CHECK(near(ticks, PIECES * most));
  CHECK(usage(RUSAGE_CHILDREN) == children);
  struct rusage u;
  CHECK(getrusage(RUSAGE_SELF, &u) == 0 && u.ru_utime.tv_usec < 1000000 && u.ru_stime.tv_usec < 1000000);
  CHECK(near(u.ru_utime.tv_sec * 1000000LL + u.ru_utime.tv_usec, PIECES * most));
  CHECK(getrusage(77, &u) == -1 && errno == EINVAL);
  CHECK(syscall(SYS_getrusage, RUSAGE_SELF, 8) == -1 && errno == EFAULT);
  puts("self");
  return most;
}

/* --- threads */

struct Thread {
  pthread_t thread;
  Us most;
  int low, back;
};

static void* thread_main(void* arg) {
  struct Thread* const t = arg;
  t->most = work(PIECES / 2, CLOCK_THREAD_CPUTIME_ID, &t->low, &t->back);
  return NULL;
}

static void test_threads(void) {
  struct Thread t[3];
  memset(t, 0, sizeof t);
  const Us before = clock_us(CLOCK_PROCESS_CPUTIME_ID), own = clock_us(CLOCK_THREAD_CPUTIME_ID);
  for (int i = 0; i < 3; ++i) pthread_create(&t[i].thread, NULL, thread_main, &t[i]);
  clockid_t clock;
  CHECK(pthread_getcpuclockid(t[0].thread, &clock) == 0);
  Us last = 0;
  int back = 0;
  for (int i = 0; i < 50; ++i) {
    const Us now = clock_us(clock);
    if (now < 0) break;
    back += now < last;
    last = now;
    usleep(2000);
  }
  Us should = 0;
  for (int i = 0; i < 3; ++i) {
    pthread_join(t[i].thread, NULL);
    CHECK(t[i].low == 0);
    CHECK(t[i].back == 0);
    should += PIECES / 2 * t[i].most;
  }
  CHECK(back == 0);
  CHECK(near(clock_us(CLOCK_PROCESS_CPUTIME_ID) - before, should));
  CHECK(clock_us(CLOCK_THREAD_CPUTIME_ID) - own < should / 2);
  puts("threads");
}

/* --- children */

/* Waits for `pid`; what wait4 and RUSAGE_CHILDREN say of it. */
static void reap(const char* what, pid_t pid, int wanted, Us should) {
  const Us before = usage(RUSAGE_CHILDREN);
  struct tms then, now;
  times(&then);
  int status = -1;
  struct rusage u;
  memset(&u, 0, sizeof u);
  CHECK(wait4(pid, &status, 0, &u) == pid);
  CHECK(status == wanted);
  const Us more = usage(RUSAGE_CHILDREN) - before;
  times(&now);
  const Us ticks = (Us)(now.tms_cutime + now.tms_cstime - then.tms_cutime - then.tms_cstime) *
                   (1000000 / sysconf(_SC_CLK_TCK));
  CHECK(near(both(&u), should));
  CHECK(near(more, should));
  CHECK(near(ticks, should));
  if (bad) printf("%s: wait4 %lld, more %lld, should be %lld\n", what, both(&u), more, should);
  puts(what);
}

static void child_works(int pieces) {
  for (int i = 0; i < pieces; ++i) piece();
}

static void test_children(Us most) {
  fflush(stdout);
  const int pieces = PIECES / 2;
  pid_t pid = fork();
  if (pid == 0) {
    if (clock_us(CLOCK_PROCESS_CPUTIME_ID) > 4 * most || usage(RUSAGE_CHILDREN) != 0) _exit(1);
    child_works(pieces);
    _exit(5);
  }
  reap("child", pid, 5 << 8, pieces * most);

  pid = fork();
  if (pid == 0) {
    const pid_t grandchild = fork();
    if (grandchild == 0) {
      child_works(pieces);
      _exit(0);
    }
    waitpid(grandchild, NULL, 0);
    if (!near(usage(RUSAGE_CHILDREN), pieces * most)) _exit(1);
    child_works(pieces / 2);
    _exit(6);
  }
  reap("grandchild", pid, 6 << 8, (pieces + pieces / 2) * most);

  int ends[2];
  CHECK(pipe(ends) == 0);
  pid = fork();
  if (pid == 0) {
    child_works(pieces);
    if (write(ends[1], "x", 1) != 1) _exit(1);
    for (;;) pause();
  }
  char c;
  CHECK(read(ends[0], &c, 1) == 1);
  kill(pid, SIGKILL);
  reap("killed in a call", pid, SIGKILL, pieces * most);

  /* It makes no call between the byte and its end. */
  pid = fork();
  if (pid == 0) {
    if (write(ends[1], "x", 1) != 1) _exit(1);
    for (;;) piece();
  }
  CHECK(read(ends[0], &c, 1) == 1);
  child_works(2 * pieces);
  kill(pid, SIGKILL);
  struct rusage u;
  CHECK(wait4(pid, NULL, 0, &u) == pid);
  CHECK(both(&u) > most);
  puts("killed while it computes");
  close(ends[0]);
  close(ends[1]);

  char program[] = "/proc/self/exe", how[] = "work";
  char* const arguments[] = {program, how, NULL};
  CHECK(posix_spawn(&pid, program, NULL, NULL, arguments, environ) == 0);
  reap("spawned", pid, 7 << 8, pieces * most);

  /* waitid: looks first, then takes. */
  const Us before = usage(RUSAGE_CHILDREN);
  pid = fork();
  if (pid == 0) {
    child_works(pieces);
    _exit(3);
  }
  siginfo_t info;
  memset(&info, 0xff, sizeof info);
  struct rusage seen, taken;
  CHECK(syscall(SYS_waitid, P_PID, pid, &info, WEXITED | WNOWAIT, &seen) == 0);
  CHECK(info.si_pid == pid && info.si_signo == SIGCHLD && info.si_code == CLD_EXITED && info.si_status == 3);
  CHECK(usage(RUSAGE_CHILDREN) == before);
  CHECK(syscall(SYS_waitid, P_PID, pid, NULL, WEXITED, &taken) == 0);
  CHECK(near(both(&seen), pieces * most));
  CHECK(near(both(&taken), pieces * most));
  CHECK(near(usage(RUSAGE_CHILDREN) - before, pieces * most));
  CHECK(syscall(SYS_waitid, P_PID, pid, &info, WEXITED, NULL) == -1 && errno == ECHILD && info.si_pid == 0);
  puts("waitid");
}

/* --- exec */

static int after_exec(const char* const* told) {
  CHECK(clock_us(CLOCK_PROCESS_CPUTIME_ID) >= atoll(told[0]));
  CHECK(clock_us(CLOCK_THREAD_CPUTIME_ID) >= atoll(told[1]));
  CHECK(usage(RUSAGE_SELF) >= atoll(told[2]));
  CHECK(usage(RUSAGE_CHILDREN) >= atoll(told[3]));
  int low = 0, back = 0;
  work(PIECES / 2, CLOCK_PROCESS_CPUTIME_ID, &low, &back);
  CHECK(low == 0);
  CHECK(back == 0);
  puts("exec");
  return bad ? 1 : 9;
}

int main(int argc, char** argv) {
  setvbuf(stdout, NULL, _IOLBF, 0);
  if (argc == 2) {
    child_works(PIECES / 2);
    return 7;
  }
  if (argc == 5) return after_exec((const char* const*)argv + 1);
  const Us most = test_self();
  test_threads();
  test_children(most);
  if (bad) return 1;
  char told[4][32];
  snprintf(told[0], sizeof told[0], "%lld", clock_us(CLOCK_PROCESS_CPUTIME_ID));
  snprintf(told[1], sizeof told[1], "%lld", clock_us(CLOCK_THREAD_CPUTIME_ID));
  snprintf(told[2], sizeof told[2], "%lld", usage(RUSAGE_SELF));
  snprintf(told[3], sizeof told[3], "%lld", usage(RUSAGE_CHILDREN));
  execl("/proc/self/exe", argv[0], told[0], told[1], told[2], told[3], NULL);
  return 1;
}
