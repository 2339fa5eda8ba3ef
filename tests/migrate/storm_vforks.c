// Children that share their parent's memory (vfork), and have a copy of its descriptors, live through several
// moves and then touch pages that nobody has touched and pages that have come from elsewhere.  What watched
// the memory for one move must not hang them, nor be in the way of the next.
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { kTurns = 20, kPage = 4096, kOld = 2048 };

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

int main(void) {
  unsigned char* const fresh =
      mmap(NULL, (size_t)kTurns * 4 * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  unsigned char* const old =
      mmap(NULL, (size_t)kOld * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (fresh == MAP_FAILED || old == MAP_FAILED) return 1;
  volatile uint64_t sum = 0;
  for (volatile int i = 0; i < kTurns; ++i) {
    // Long enough for moves out and back; the child starts right behind one of them now and then.
    const double work = now() + 0.150;
    do memset(old, i, (size_t)kOld * kPage);
    while (now() < work);
    const pid_t child = vfork();
    if (child == 0) {
      const double end = now() + 0.060;  // as long as three moves
      while (now() < end) getppid();
      for (int p = 0; p < 4; ++p) fresh[((size_t)i * 4 + (size_t)p) * kPage] = (unsigned char)(i + p);
      for (int p = 0; p < kOld; ++p) old[(size_t)p * kPage] = (unsigned char)(old[(size_t)p * kPage + 1] + p);
      _exit(i % 100);
    }
    int status = 0;
    if (waitpid(child, &status, 0) != child || status != i % 100 << 8) return 2;
    for (int p = 0; p < 4; ++p) sum = sum * 31 + fresh[((size_t)i * 4 + (size_t)p) * kPage];
    for (int p = 0; p < kOld; ++p) sum = sum * 31 + old[(size_t)p * kPage] + old[(size_t)p * kPage + 1];
  }
  printf("%d children, %llu\n", kTurns, (unsigned long long)sum);
  return 0;
}
