// Threaded workload: workers take numbers from a queue, hash them and add up under a lock; a barrier ends
// each round. threads [THREADS] [ROUNDS]: the sums do not depend on the schedule.
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

enum { kItems = 2000, kMaxThreads = 64 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_barrier_t barrier;
static int next_item;
static uint64_t sum;
static long rounds, threads;

static uint32_t hash_of(uint32_t n) {
  for (int i = 0; i < 200; ++i) n = (n ^ (n >> 15)) * 2246822519U + (uint32_t)i;
  return n;
}

static void* work(void* argument) {
  for (long round = 0; round < rounds; ++round) {
    for (;;) {
      pthread_mutex_lock(&lock);
      int item = next_item < kItems ? next_item++ : -1;
      pthread_mutex_unlock(&lock);
      if (item < 0) break;
      uint32_t hash = hash_of((uint32_t)(item + round * kItems));
      pthread_mutex_lock(&lock);
      sum += hash;
      pthread_mutex_unlock(&lock);
    }
    if (pthread_barrier_wait(&barrier) == PTHREAD_BARRIER_SERIAL_THREAD) {
      printf("round %ld sum %llu\n", round, (unsigned long long)sum);
      next_item = 0;
    }
    pthread_barrier_wait(&barrier);
  }
  return argument;
}

int main(int argc, char** argv) {
  threads = argc > 1 ? atol(argv[1]) : 4;
  rounds = argc > 2 ? atol(argv[2]) : 5;
  if (threads < 1 || threads > kMaxThreads) {
    fprintf(stderr, "threads: 1 to %d threads\n", kMaxThreads);
    return 1;
  }
  pthread_t ids[kMaxThreads];
  pthread_barrier_init(&barrier, NULL, (unsigned)threads);
  for (long i = 0; i < threads; ++i) {
    if (pthread_create(&ids[i], NULL, work, NULL) != 0) return perror("threads: pthread_create"), 1;
  }
  for (long i = 0; i < threads; ++i) pthread_join(ids[i], NULL);
  printf("checksum %016llx\n", (unsigned long long)(sum * 1099511628211ULL));
  return 0;
}
