// Goal: many threads one after the other (processors of a VM are never freed), then some hundred at once.
#include "guest.h"

#include <pthread.h>

static _Atomic long total;
static pthread_barrier_t barrier;

static void* add(void* argument) {
  total += (intptr_t)argument;
  return NULL;
}

static void* meet(void* argument) {
  pthread_barrier_wait(&barrier);
  return argument;
}

int main(void) {
  pthread_t thread;
  for (int i = 0; i < 1500; ++i) {
    int error = pthread_create(&thread, NULL, add, (void*)(intptr_t)i);
    if (error != 0) printf("thread %d: %s\n", i, guest_errname(error));
    CHECK(error == 0);
    if (error != 0) break;
    CHECK(pthread_join(thread, NULL) == 0);
  }
  SHOW(total);
  enum { kAtOnce = 300 };
  static pthread_t threads[kAtOnce];
  pthread_attr_t small;
  pthread_attr_init(&small);
  pthread_attr_setstacksize(&small, 64 << 10);
  pthread_barrier_init(&barrier, NULL, kAtOnce + 1);
  for (int i = 0; i < kAtOnce; ++i) CHECK(pthread_create(&threads[i], &small, meet, NULL) == 0);
  pthread_barrier_wait(&barrier);
  for (int i = 0; i < kAtOnce; ++i) CHECK(pthread_join(threads[i], NULL) == 0);
  // vfork children, too, need a processor.
  int good = 0;
  for (int i = 0; i < 1200; ++i) {
    int status = 0;
    pid_t pid = vfork();
    if (pid == 0) _exit(i & 127);
    good += waitpid(pid, &status, 0) == pid && WEXITSTATUS(status) == (i & 127);
  }
  SHOW(good);
  return guest_end();
}
