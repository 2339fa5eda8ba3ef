// Goal: mutex, condition, read-write lock, semaphore, spin lock and atomics between threads that contend.
#include "guest.h"

#include <pthread.h>
#include <semaphore.h>
#include <time.h>

enum { kThreads = 4, kRounds = 5000 };
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_rwlock_t rwlock = PTHREAD_RWLOCK_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static pthread_spinlock_t spin;
static sem_t semaphore;
static long by_mutex, by_rwlock, by_spin, by_semaphore;
static _Atomic long by_atomic;
static int turn;

static void* contend(void* argument) {
  int me = (int)(intptr_t)argument;
  long seen = 0;
  for (int i = 0; i < kRounds; ++i) {
    pthread_mutex_lock(&mutex);
    ++by_mutex;
    pthread_mutex_unlock(&mutex);
    by_atomic++;
    if (i % 16 == 0) {
      pthread_rwlock_wrlock(&rwlock);
      ++by_rwlock;
    } else {
      pthread_rwlock_rdlock(&rwlock);
      seen += by_rwlock;
    }
    pthread_rwlock_unlock(&rwlock);
    if (i % 8 == 0) {
      pthread_spin_lock(&spin);
      ++by_spin;
      pthread_spin_unlock(&spin);
      sem_wait(&semaphore);
      ++by_semaphore;
      sem_post(&semaphore);
    }
  }
  for (int i = 0; i < 100; ++i) {  // in turn: every wake-up counts
    pthread_mutex_lock(&mutex);
    while (turn % kThreads != me) pthread_cond_wait(&changed, &mutex);
    ++turn;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&mutex);
  }
  return (void*)(intptr_t)(seen >= 0);
}

static struct timespec in_20_ms(clockid_t clock) {
  struct timespec t;
  clock_gettime(clock, &t);
  t.tv_nsec += 20000000;
  if (t.tv_nsec >= 1000000000) t.tv_sec++, t.tv_nsec -= 1000000000;
  return t;
}

static void* hold(void* argument) {
  pthread_barrier_t* met = argument;
  pthread_mutex_lock(&mutex);
  pthread_barrier_wait(met);
  pthread_barrier_wait(met);
  pthread_mutex_unlock(&mutex);
  return NULL;
}

static void timeouts(void) {
  struct timespec limit = in_20_ms(CLOCK_REALTIME);
  pthread_mutex_lock(&mutex);
  SHOW(pthread_cond_timedwait(&changed, &mutex, &limit) == ETIMEDOUT);
  pthread_mutex_unlock(&mutex);
  pthread_barrier_t met;
  pthread_barrier_init(&met, NULL, 2);
  pthread_t thread;
  CHECK(pthread_create(&thread, NULL, hold, &met) == 0);
  pthread_barrier_wait(&met);
  limit = in_20_ms(CLOCK_REALTIME);
  SHOW(pthread_mutex_timedlock(&mutex, &limit) == ETIMEDOUT);
  SHOW(pthread_mutex_trylock(&mutex) == EBUSY);
  pthread_barrier_wait(&met);
  pthread_join(thread, NULL);
  SHOW(pthread_mutex_trylock(&mutex));
  sem_wait(&semaphore);
  limit = in_20_ms(CLOCK_REALTIME);
  SHOW_RC(sem_timedwait(&semaphore, &limit));
}

int main(void) {
  pthread_t threads[kThreads];
  pthread_spin_init(&spin, 0);
  sem_init(&semaphore, 0, 1);
  for (int i = 0; i < kThreads; ++i)
    CHECK(pthread_create(&threads[i], NULL, contend, (void*)(intptr_t)i) == 0);
  for (int i = 0; i < kThreads; ++i) CHECK(pthread_join(threads[i], NULL) == 0);
  SHOW(by_mutex);
  SHOW(by_atomic);
  SHOW(by_rwlock);
  SHOW(by_spin);
  SHOW(by_semaphore);
  SHOW(turn);
  timeouts();
  return guest_end();
}
