// The memory that a program makes while it is moved: brk and mmap where it runs, seen from everywhere else.
// What is new is zero, what was written stays, no two pieces share a page; the break and /proc/self/maps
// agree; a place that natively is free can be had; limits hold; a child of fork has it all.
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { kPage = 4096, kMost = 64, kKinds = 12 };

static unsigned wrong[kKinds];
static struct Piece {
  unsigned char* at;
  size_t bytes;
  unsigned char fill;
} pieces[kMost];

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int all(const unsigned char* p, size_t n, unsigned char what) {
  for (size_t i = 0; i < n; ++i)
    if (p[i] != what) return 0;
  return 1;
}

static void* map(void* at, size_t bytes, int prot, int flags) {
  return mmap(at, bytes, prot, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
}

/// /proc/self/maps, without a byte from malloc, whose break this program moves.
static const char* maps(void) {
  static char text[1 << 18];
  size_t n = 0;
  const int fd = open("/proc/self/maps", O_RDONLY);
  for (ssize_t got; n + 1 < sizeof text && (got = read(fd, text + n, sizeof text - 1 - n)) > 0;)
    n += (size_t)got;
  close(fd);
  text[n] = 0;
  return text;
}

static unsigned long heap_end_in_maps(void) {
  unsigned long begin = 0, end = 0, last = 0;
  for (const char* line = maps(); *line != 0; line = strchr(line, '\n') + 1) {
    const char* const heap = strstr(line, "[heap]");
    if (heap != NULL && heap < strchr(line, '\n') && sscanf(line, "%lx-%lx", &begin, &end) == 2) last = end;
  }
  return last;
}

static int is_mapped(const void* at, size_t bytes) {
  unsigned long begin = 0, end = 0, have = (unsigned long)at;
  for (const char* line = maps(); *line != 0; line = strchr(line, '\n') + 1)
    if (sscanf(line, "%lx-%lx", &begin, &end) == 2 && begin <= have && have < end) have = end;
  return have >= (unsigned long)at + bytes;
}

static void* other_thread(void* unused) {
  unsigned char* const p = map(NULL, 5 * kPage, PROT_READ | PROT_WRITE, 0);
  if (p == MAP_FAILED || !all(p, 5 * kPage, 0)) ++wrong[10];
  memset(p, 7, 5 * kPage);
  (void)unused;
  return p;
}

static void one_turn(unsigned turn) {
  unsigned char* const brk0 = sbrk(0);
  // By odd bytes, up and down again.
  const size_t odd = 1 + (turn * 7919) % 300000;
  unsigned char* const grown = sbrk((intptr_t)odd);
  wrong[0] += grown != brk0 || sbrk(0) != brk0 + odd || !all(grown, odd, 0);
  memset(grown, 0x55, odd);
  for (int i = 0; i < kMost; ++i) {
    struct Piece* const p = &pieces[i];
    p->bytes = (1 + (turn + (unsigned)i * 13) % 40) * kPage;
    p->fill = (unsigned char)(1 + (turn + (unsigned)i) % 250);
    p->at = map(NULL, p->bytes, PROT_READ | PROT_WRITE, 0);
    wrong[1] += p->at == MAP_FAILED || !all(p->at, p->bytes, 0);
    memset(p->at, p->fill, p->bytes);
  }
  wrong[2] += !all(grown, odd, 0x55);
  if (turn % 4 == 0) {
    const unsigned long top = ((unsigned long)sbrk(0) + kPage - 1) / kPage * kPage;
    wrong[3] += heap_end_in_maps() != top;
    wrong[3] += !is_mapped(pieces[5].at, pieces[5].bytes);
  }
  // Behind the break, and below the lowest mapping, nothing is in the way.
  unsigned char* const above = (unsigned char*)(((uintptr_t)sbrk(0) + 64 * kPage) / kPage * kPage);
  wrong[4] += map(above, kPage, PROT_READ, MAP_FIXED_NOREPLACE) != above;
  wrong[4] += sbrk(128 * kPage) != (void*)-1 || errno != ENOMEM;
  munmap(above, kPage);
  unsigned char* lowest = pieces[0].at;
  for (int i = 0; i < kMost; ++i)
    if (pieces[i].at < lowest) lowest = pieces[i].at;
  unsigned char* const below = map(lowest - 3 * kPage, 2 * kPage, PROT_READ | PROT_WRITE, 0);
  wrong[5] += below != lowest - 3 * kPage;
  memset(below, 9, kPage);
  // Rights, holes and moves of what was made here.
  wrong[6] += mprotect(pieces[1].at, kPage, PROT_READ) != 0 || !all(pieces[1].at, kPage, pieces[1].fill);
  wrong[6] += mprotect(pieces[1].at, kPage, PROT_READ | PROT_WRITE) != 0;
  pieces[2].at = mremap(pieces[2].at, pieces[2].bytes, pieces[2].bytes + 3 * kPage, MREMAP_MAYMOVE);
  wrong[6] += pieces[2].at == MAP_FAILED || !all(pieces[2].at + pieces[2].bytes, 3 * kPage, 0);
  wrong[6] += map(pieces[3].at, kPage, PROT_READ | PROT_WRITE, MAP_FIXED) != (void*)pieces[3].at;
  wrong[6] += !all(pieces[3].at, kPage, 0);
  memset(pieces[3].at, pieces[3].fill, kPage);
  if (turn % 8 == 3) {
    struct rlimit old, low;
    getrlimit(RLIMIT_DATA, &old);
    low = old;
    low.rlim_cur = kPage;
    setrlimit(RLIMIT_DATA, &low);
    wrong[7] += sbrk(1 << 20) != (void*)-1;
    wrong[7] += map(NULL, 1 << 19, PROT_READ | PROT_WRITE, 0) != MAP_FAILED;
    setrlimit(RLIMIT_DATA, &old);
  }
  if (turn % 8 == 5) {
    const pid_t child = fork();
    if (child == 0) {
      int bad = !all(grown, odd, 0x55);
      for (int i = 4; i < kMost; ++i) bad |= !all(pieces[i].at, pieces[i].bytes, pieces[i].fill);
      unsigned char* const more = sbrk(3 * kPage);
      _exit(bad || !all(more, 3 * kPage, 0));
    }
    int status = -1;
    wrong[8] += waitpid(child, &status, 0) != child || status != 0;
  }
  for (int i = 0; i < kMost; ++i) {
    wrong[9] += !all(pieces[i].at, pieces[i].bytes, pieces[i].fill);
    munmap(pieces[i].at, pieces[i].bytes + (i == 2 ? 3 * kPage : 0));
  }
  munmap(below, 2 * kPage);
  wrong[11] += brk(brk0) != 0 || sbrk(0) != brk0;
}

int main(void) {
  sbrk(0);
  free(malloc(1000));  // from now on what malloc needs is there: nobody else moves the break
  static char buffer[4096];
  setvbuf(stdout, buffer, _IOFBF, sizeof buffer);
  const double end = now() + 2.5;
  unsigned turns = 0;
  for (; now() < end; ++turns) one_turn(turns);
  // From now on there is a second thread's memory, too.
  for (int i = 0; i < 4; ++i) {
    pthread_t t;
    void* p = NULL;
    pthread_create(&t, NULL, other_thread, NULL);
    one_turn(turns + (unsigned)i);
    pthread_join(t, &p);
    wrong[10] += !all(p, 5 * kPage, 7);
  }
  for (int i = 0; i < kKinds; ++i) printf("%u%c", wrong[i], i + 1 < kKinds ? ' ' : '\n');
  puts(turns > 0 ? "turns" : "no turn");
  return 0;
}
