/* Threads that end all the time, some of them holding a robust mutex, while somebody moves the process: what
 * the kernel writes for a thread that ends must arrive wherever the page is. */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>

enum { kRounds = 250, kThreads = 4 };
static pthread_mutex_t robust[kThreads];

static void* run(void* arg) {
  const long id = (long)arg;
  unsigned work = (unsigned)id;
  pthread_mutex_lock(&robust[id]);
  for (unsigned k = 0; k < 50000; ++k) work = work * 1103515245U + 12345U;
  if (id % 2 == 0) pthread_mutex_unlock(&robust[id]);
  return (void*)(unsigned long)work;
}

int main(void) {
  pthread_mutexattr_t attr;
  pthread_mutexattr_init(&attr);
  pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
  for (int i = 0; i < kThreads; ++i) pthread_mutex_init(&robust[i], &attr);
  unsigned long sum = 0;
  int orphaned = 0;
  int failed = 0;
  for (int round = 0; round < kRounds; ++round) {
    pthread_t threads[kThreads];
    for (long i = 0; i < kThreads; ++i) failed += pthread_create(&threads[i], NULL, run, (void*)i) != 0;
    for (int i = 0; i < kThreads; ++i) {
      void* result = NULL;
      failed += pthread_join(threads[i], &result) != 0;
      sum += (unsigned long)result;
    }
    for (int i = 0; i < kThreads; ++i) {
      const int rc = pthread_mutex_lock(&robust[i]);
      if (rc == EOWNERDEAD) {
        ++orphaned;
        pthread_mutex_consistent(&robust[i]);
      } else {
        failed += rc != 0;
      }
      pthread_mutex_unlock(&robust[i]);
    }
  }
  printf("sum %lx, %d orphaned, %d failed\n", sum, orphaned, failed);
  return failed == 0 ? 3 : 1;
}
