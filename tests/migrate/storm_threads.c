/* Four threads take turns by a condition variable: futexes, thread stacks and TLS, while somebody moves the
 * process. */
#include <pthread.h>
#include <stdio.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t turned = PTHREAD_COND_INITIALIZER;
static long sum, turn;
static __thread unsigned own;
static unsigned result[4];

static void* run(void* arg) {
  const long id = (long)arg;
  for (int round = 0; round < 300; ++round) {
    for (unsigned k = 0; k < 700000; ++k) own = own * 1103515245U + 12345U + k;
    pthread_mutex_lock(&lock);
    while (turn % 4 != id) pthread_cond_wait(&turned, &lock);
    ++turn;
    sum += own & 0xff;
    pthread_cond_broadcast(&turned);
    pthread_mutex_unlock(&lock);
  }
  result[id] = own;
  return NULL;
}

int main(void) {
  pthread_t threads[4];
  for (long i = 0; i < 4; ++i) pthread_create(&threads[i], NULL, run, (void*)i);
  for (int i = 0; i < 4; ++i) pthread_join(threads[i], NULL);
  printf("%ld %ld %x %x %x %x\n", sum, turn, result[0], result[1], result[2], result[3]);
  return 0;
}
