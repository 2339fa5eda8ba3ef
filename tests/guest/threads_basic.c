// Goal: 64 threads at once: creation, arguments, TLS, joins with results, ids, own stacks and signal masks.
#include "guest.h"

#include <pthread.h>
#include <sys/syscall.h>

enum { kThreads = 64 };
static __thread int local = 5;
static __thread char big[10000];
static pthread_barrier_t barrier;
static pthread_key_t key;
static _Atomic int destroyed;
static pid_t ids[kThreads];
static int* addresses[kThreads];

static void destroy(void* value) { destroyed += *(int*)value; }

static void* body(void* argument) {
  int n = (int)(intptr_t)argument;
  CHECK(local == 5 && big[9999] == 0);
  local = n;
  big[n] = 1;
  ids[n] = (pid_t)syscall(SYS_gettid);
  addresses[n] = &local;
  static int values[kThreads];
  values[n] = n;
  pthread_setspecific(key, &values[n]);
  pthread_barrier_wait(&barrier);
  CHECK(local == n);
  CHECK(getpid() != ids[n]);
  sigset_t mask;
  pthread_sigmask(SIG_BLOCK, NULL, &mask);
  CHECK(sigismember(&mask, SIGUSR1) == 1 && sigismember(&mask, SIGUSR2) == 0);
  return (void*)(intptr_t)(n * n);
}

static void* leaves(void* argument) { pthread_exit(argument); }

static int detached_done;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;

static void* detached(void* argument) {
  (void)argument;
  pthread_mutex_lock(&lock);
  ++detached_done;
  pthread_cond_signal(&changed);
  pthread_mutex_unlock(&lock);
  return NULL;
}

int main(void) {
  CHECK(getpid() == syscall(SYS_gettid));
  pthread_t threads[kThreads];
  sigset_t usr;
  sigemptyset(&usr);
  sigaddset(&usr, SIGUSR1);
  pthread_sigmask(SIG_BLOCK, &usr, NULL);
  pthread_barrier_init(&barrier, NULL, kThreads);
  pthread_key_create(&key, destroy);
  for (int i = 0; i < kThreads; ++i) CHECK(pthread_create(&threads[i], NULL, body, (void*)(intptr_t)i) == 0);
  long sum = 0;
  for (int i = 0; i < kThreads; ++i) {
    void* result = NULL;
    CHECK(pthread_join(threads[i], &result) == 0);
    sum += (intptr_t)result;
  }
  SHOW(sum);
  SHOW(destroyed);
  SHOW(local);
  int distinct = 1;
  for (int i = 0; i < kThreads; ++i) {
    for (int j = 0; j < i; ++j) distinct &= ids[i] != ids[j] && addresses[i] != addresses[j];
  }
  SHOW(distinct);
  pthread_t thread;
  void* result = NULL;
  CHECK(pthread_create(&thread, NULL, leaves, "left") == 0 && pthread_join(thread, &result) == 0);
  printf("%s\n", (const char*)result);
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  pthread_attr_setstacksize(&attributes, 64 << 10);
  for (int i = 0; i < 10; ++i) CHECK(pthread_create(&thread, &attributes, detached, NULL) == 0);
  pthread_mutex_lock(&lock);
  while (detached_done < 10) pthread_cond_wait(&changed, &lock);
  pthread_mutex_unlock(&lock);
  SHOW(detached_done);
  return guest_end();
}
