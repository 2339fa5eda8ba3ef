// Goal: the futex call itself: values, timeouts, wake counts, bit sets, requeue, between processes.
#include "guest.h"

#include <linux/futex.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>

static long futex(_Atomic int* word, int op, int value, void* timeout, _Atomic int* other, int value3) {
  return syscall(SYS_futex, word, op, value, timeout, other, value3);
}

struct OldTimespec {  // what SYS_futex reads, in both bitnesses
  long sec;
  long nsec;
};

static _Atomic int word, other, sleeping, woken;

static void* wait_word(void* argument) {
  (void)argument;
  sleeping++;
  while (word == 0) futex(&word, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0);
  woken++;
  return NULL;
}

static void* wait_once(void* argument) {
  sleeping++;
  long got = futex(&other, FUTEX_WAIT_BITSET_PRIVATE, 0, NULL, NULL, (int)(intptr_t)argument);
  woken++;
  return (void*)got;
}

// Waits until `n` threads sleep in the kernel: a wake of 0 counts nobody, so poll their state by requeueing
// to itself.
static void until_asleep(_Atomic int* at, int n) {
  while (sleeping < n) usleep(500);
  while (futex(at, FUTEX_CMP_REQUEUE_PRIVATE, 0, (void*)(intptr_t)n, at, *at) < 0) usleep(500);
  usleep(20000);
}

int main(void) {
  word = 1;
  struct OldTimespec soon = {0, 10000000};
  SHOW_RC(futex(&word, FUTEX_WAIT, 0, NULL, NULL, 0));
  SHOW_RC(futex(&word, FUTEX_WAIT, 1, &soon, NULL, 0));
  SHOW_RC(futex(&word, FUTEX_WAKE, 10, NULL, NULL, 0));
  SHOW_RC(futex((_Atomic int*)((char*)&word + 1), FUTEX_WAIT, 0, NULL, NULL, 0));
  SHOW_RC(futex((_Atomic int*)16, FUTEX_WAIT, 0, NULL, NULL, 0));
  SHOW_RC(futex(&word, FUTEX_WAIT_BITSET, 1, NULL, NULL, 0));
  SHOW_RC(futex(&word, 77, 1, NULL, NULL, 0));
  struct OldTimespec bad = {0, 1000000000};
  SHOW_RC(futex(&word, FUTEX_WAIT, 1, &bad, NULL, 0));
  word = 0;
  pthread_t threads[8];
  for (int i = 0; i < 8; ++i) CHECK(pthread_create(&threads[i], NULL, wait_word, NULL) == 0);
  until_asleep(&word, 8);
  word = 1;
  SHOW_RC(futex(&word, FUTEX_WAKE_PRIVATE, 3, NULL, NULL, 0));
  SHOW_RC(futex(&word, FUTEX_WAKE_PRIVATE, 100, NULL, NULL, 0));
  for (int i = 0; i < 8; ++i) pthread_join(threads[i], NULL);
  SHOW(woken);
  sleeping = woken = 0;
  for (int i = 0; i < 4; ++i)
    CHECK(pthread_create(&threads[i], NULL, wait_once, (void*)(intptr_t)(1 << i)) == 0);
  until_asleep(&other, 4);
  SHOW_RC(futex(&other, FUTEX_WAKE_BITSET_PRIVATE, 10, NULL, NULL, 1 | 4));
  SHOW_RC(futex(&other, FUTEX_CMP_REQUEUE_PRIVATE, 0, (void*)(intptr_t)10, &word, 5));
  SHOW_RC(futex(&other, FUTEX_CMP_REQUEUE_PRIVATE, 1, (void*)(intptr_t)10, &word, 0));
  SHOW_RC(futex(&word, FUTEX_WAKE_PRIVATE, 10, NULL, NULL, 0));
  for (int i = 0; i < 4; ++i) pthread_join(threads[i], NULL);
  SHOW(woken);
  _Atomic int* shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  fflush(stdout);
  pid_t pid = fork();
  if (pid == 0) {
    while (shared[0] == 0) futex(&shared[0], FUTEX_WAIT, 0, NULL, NULL, 0);
    shared[1] = 1;
    futex(&shared[1], FUTEX_WAKE, 1, NULL, NULL, 0);
    _exit(0);
  }
  usleep(20000);
  shared[0] = 1;
  futex(&shared[0], FUTEX_WAKE, 1, NULL, NULL, 0);
  while (shared[1] == 0) futex(&shared[1], FUTEX_WAIT, 0, NULL, NULL, 0);
  guest_reap("between processes", pid);
  return guest_end();
}
