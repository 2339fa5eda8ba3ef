// Goal: memory and processes run out as natively: under RLIMIT_AS, RLIMIT_DATA, RLIMIT_NPROC and a bound of
// its own.
#include "guest.h"

#include <pthread.h>
#include <sys/mman.h>
#include <sys/resource.h>

static void* sleeper(void* argument) {
  pause();
  return argument;
}

static void address_space(void) {
  struct rlimit limit = {512 << 20, 512 << 20};
  SHOW_RC(setrlimit(RLIMIT_AS, &limit));
  int blocks = 0;
  while (blocks < 2000) {
    char* block = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (block == MAP_FAILED) break;
    block[0] = 1;
    ++blocks;
  }
  SHOW(errno == ENOMEM);
  // A launcher's own memory must not count visibly: natively about 500 blocks fit.
  SHOW(blocks > 450 && blocks < 512);
  SHOW(malloc(100 << 20) == NULL);
  pid_t pid = fork();  // still possible
  if (pid == 0) _exit(3);
  guest_reap("fork at the limit", pid);
  pthread_t thread;
  SHOW(pthread_create(&thread, NULL, sleeper, NULL) == EAGAIN);
}

static void data(void) {
  struct rlimit limit = {64 << 20, 64 << 20};
  SHOW_RC(setrlimit(RLIMIT_DATA, &limit));
  SHOW_RC(mmap(NULL, 100 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED
              ? -1
              : 0);
  SHOW_RC(mmap(NULL, 100 << 20, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED ? -1 : 0);
}

static void processes(void) {
  // Bounded: fifty at most, all gone at the end.
  pid_t pids[50];
  int fds[2], made = 0;
  char c;
  CHECK(pipe(fds) == 0);
  for (; made < 50; ++made) {
    pids[made] = fork();
    if (pids[made] == 0) {
      close(fds[1]);
      _exit(read(fds[0], &c, 1) == 0 ? made : 99);
    }
    if (pids[made] < 0) break;
  }
  SHOW(made);
  close(fds[1]);
  int sum = 0, status = 0;
  for (int i = 0; i < made; ++i) {
    CHECK(waitpid(pids[i], &status, 0) == pids[i]);
    sum += WEXITSTATUS(status);
  }
  SHOW(sum);
}

static void no_processes(void) {
  CHECK(setuid(64321) == 0 || getuid() != 0);
  struct rlimit limit = {1, 1};
  SHOW_RC(setrlimit(RLIMIT_NPROC, &limit));
  SHOW_RC(fork());
  pthread_t thread;
  SHOW(pthread_create(&thread, NULL, sleeper, NULL) == EAGAIN);
  SHOW(vfork() == -1 && errno == EAGAIN);
}

static void locked(void) {
  CHECK(setuid(64321) == 0 || getuid() != 0);
  struct rlimit limit = {65536, 65536};
  SHOW_RC(setrlimit(RLIMIT_MEMLOCK, &limit));
  char* area = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  SHOW_RC(mlock(area, 32768));
  SHOW_RC(mlock(area, 1 << 20));
  SHOW_RC(mlockall(MCL_CURRENT | MCL_FUTURE));
}

static void many_maps(void) {
  // One mapping a page, by turns of protection; far below vm.max_map_count.
  enum { kMaps = 20000 };
  char* area = mmap(NULL, (size_t)kMaps * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  int good = 0;
  for (int i = 0; i < kMaps; i += 2) good += mprotect(area + i * 4096, 4096, PROT_READ) == 0;
  SHOW(good);
  for (int i = 1; i < kMaps; i += 2) area[i * 4096] = 1;
  int sum = 0;
  for (int i = 0; i < kMaps; ++i) sum += area[i * 4096];
  SHOW(sum);
}

int main(void) {
  guest_child("address space", address_space);
  guest_child("data", data);
  guest_child("processes", processes);
  if (getuid() == 0) {
    guest_child("no processes", no_processes);
    guest_child("locked", locked);
  }
  guest_child("many maps", many_maps);
  return guest_end();
}
