// Both sides want the same page at the same time: one thread's calls use it at home, another thread counts in
// it where the process is.  Each counter has one writer, who knows what it must be.  Several processes, for
// the load.
#include <linux/futex.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { kProcesses = 4, kTurns = 120 };

static struct { volatile uint32_t word, counters[2], end; } page __attribute__((aligned(4096)));

/// Not private, so it is the home that waits, and reads the word there.
static void wait_at_home(uint32_t seen) {
  const struct timespec shortly = {0, 200000};
  syscall(SYS_futex, &page.word, FUTEX_WAIT, seen, &shortly, NULL, 0);
}

static void count(unsigned who, uint32_t turn) {
  if (page.counters[who] != turn) {
    printf("counter %u: %u instead of %u\n", who, page.counters[who], turn);
    fflush(stdout);
    _exit(1);
  }
  page.counters[who] = turn + 1;
}

static void* other(void* unused) {
  (void)unused;
  for (uint32_t i = 0; i < kTurns; ++i) {
    count(1, i);
    __atomic_fetch_add(&page.word, 1, __ATOMIC_SEQ_CST);
    syscall(SYS_getppid);
  }
  page.end = 1;
  return NULL;
}

static int child(void) {
  pthread_t thread;
  if (pthread_create(&thread, NULL, other, NULL) != 0) return 2;
  uint32_t turn = 0;
  while (page.end == 0) {
    count(0, turn++);
    wait_at_home(page.word);
  }
  pthread_join(thread, NULL);
  return page.word == kTurns && page.counters[0] == turn && page.counters[1] == kTurns ? 0 : 3;
}

int main(void) {
  for (unsigned i = 0; i < kProcesses; ++i)
    if (fork() == 0) _exit(child());
  int status = 0;
  unsigned good = 0;
  while (wait(&status) > 0) good += status == 0;
  printf("%u of %u good\n", good, kProcesses);
  return good == kProcesses ? 0 : 1;
}
