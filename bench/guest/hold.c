/* hold MIB THREADS: touches that much memory, starts that many threads beyond the first, prints READY and
 * waits for the end of its standard input, so that somebody can look at its memory. */
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "bench.h"

static void* wait_for_ever(void* ready) {
  pthread_barrier_wait(ready);
  for (;;) pause();
  return NULL;
}

int main(int argc, char** argv) {
  const size_t bytes = (size_t)(argc > 1 ? atol(argv[1]) : 1) << 20;
  const unsigned threads = argc > 2 ? (unsigned)atoi(argv[2]) : 0;
  char* p = malloc(bytes);
  need(p != NULL, "malloc");
  memset(p, 1, bytes);
  pthread_barrier_t ready;
  pthread_barrier_init(&ready, NULL, threads + 1);
  for (unsigned i = 0; i < threads; ++i) {
    pthread_t thread;
    need(pthread_create(&thread, NULL, wait_for_ever, &ready) == 0, "pthread_create");
  }
  pthread_barrier_wait(&ready);
  puts("READY");
  fflush(stdout);
  char byte;
  while (read(0, &byte, 1) > 0) {
  }
  _exit(p[bytes / 2] == 1 ? 0 : 1);
}
