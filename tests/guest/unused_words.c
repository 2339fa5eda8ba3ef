/* System calls that do not look at all of their words, with addresses in the others that are nobody's: what
 * the C library leaves there after clock_gettime() are addresses of the kernel's vDSO. */
#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifdef __i386__
static const unsigned long junk[] = {0xf0000000, 0xfffff000, 0x1000};
#else
static const unsigned long junk[] = {0x6a8000146000, 0x6a0000001000, 0x6afffffff000};
#endif
enum { JUNK = sizeof junk / sizeof *junk };
static int word;

/* What a mutex does, with junk where the time and the second word would be. */
static void* waiter(void* arg) {
  const unsigned long j = *(const unsigned long*)arg;
  while (__atomic_load_n(&word, __ATOMIC_SEQ_CST) == 0)
    syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 0, NULL, j, j);
  return NULL;
}

static int wake(unsigned long j) {
  pthread_t t;
  word = 0;
  if (pthread_create(&t, NULL, waiter, &j) != 0) return -1;
  usleep(20000);
  __atomic_store_n(&word, 1, __ATOMIC_SEQ_CST);
  const long woken = syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, 1, j, j, j);
  const int wrong = woken < 0 ? errno : 0;
  if (wrong) syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, 1, 0, 0, 0);
  pthread_join(t, NULL);
  return wrong;
}

static int clone_with(long flags, unsigned long j) {
  const long pid = syscall(SYS_clone, flags, 0, j, j, j);
  if (pid < 0) return errno;
  if (pid == 0) _exit(7);
  int status = 0;
  waitpid((pid_t)pid, &status, 0);
  return WIFEXITED(status) ? 1000 + WEXITSTATUS(status) : 2000 + WTERMSIG(status);
}

/* As programs come by them. */
static int after_the_clock(void) {
  int wrong = 0;
  for (int i = 0; i < 1000; ++i) {
    struct timespec t;
    clock_gettime(i % 2 ? CLOCK_MONOTONIC : CLOCK_REALTIME, &t);
    wrong += syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, 1) != 0;
  }
  return wrong;
}

int main(void) {
  for (int i = 0; i < JUNK; ++i) {
    const unsigned long j = junk[i];
    char name[16] = "";
    unsigned cpu = 0, node = 0;
    printf("wake %d\n", wake(j));
    printf("name %ld", syscall(SYS_prctl, PR_SET_NAME, "a name", j, j, j));
    printf(" %ld '%s'\n", syscall(SYS_prctl, PR_GET_NAME, name, j, j, j), name);
    printf("death %ld\n", syscall(SYS_prctl, PR_SET_PDEATHSIG, 0, j, j, j));
    printf("cpu %ld\n", syscall(SYS_getcpu, &cpu, &node, j));
    fflush(stdout);
    printf("clone %d\n", clone_with(SIGCHLD, j));
  }
  printf("wakes that failed: %d\n", after_the_clock());
  return 0;
}
