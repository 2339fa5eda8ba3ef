// Goal: a program that closes, replaces and marks every descriptor number there is goes on as natively.
#include "guest.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>

static void* add(void* argument) { return (void*)((intptr_t)argument + 1); }

static void nothing(void) {}

// What a launcher that lost a descriptor could not do: memory, threads, processes.
static void report(void) {
  pthread_t thread;
  void* result = NULL;
  unsigned hash = 1;
  for (unsigned i = 0; i < 10000000; ++i) hash = hash * 31 + i;
  SHOW(hash);
  char* area = mmap(NULL, 64 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  for (int i = 0; i < 64 << 20; i += 65536) area[i] = 1;
  CHECK(munmap(area, 64 << 20) == 0);
  CHECK(pthread_create(&thread, NULL, add, (void*)1) == 0 && pthread_join(thread, &result) == 0);
  SHOW((intptr_t)result);
  guest_child("child", nothing);
}

int main(void) {
  struct rlimit limit;
  CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
  // The numbers of a launcher's own descriptors lie above this limit; with a much higher one they would be in
  // between.
  if (limit.rlim_cur > 1024) limit.rlim_cur = 1024;
  CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
  int closed = 0;
  for (int fd = 3; fd < 65536; ++fd) closed += close(fd) == 0;
  SHOW(closed);
  report();
  int copied = 0;
  for (int fd = 3; fd < 65536; ++fd) copied += dup2(1, fd) == fd;
  SHOW(copied == (int)limit.rlim_cur - 3 || copied == 65536 - 3);
  report();
  int marked = 0;
  for (int fd = 3; fd < 65536; ++fd) marked += fcntl(fd, F_SETFD, FD_CLOEXEC) == 0;
  SHOW(marked == copied);
  SHOW_RC(syscall(SYS_close_range, 3, ~0U, 0));
  report();
  SHOW_RC(syscall(SYS_close_range, 3, ~0U, 2));  // CLOSE_RANGE_UNSHARE
  limit.rlim_cur = limit.rlim_max = 3;
  SHOW_RC(setrlimit(RLIMIT_NOFILE, &limit));
  report();
  fflush(stdout);
  pid_t pid = fork();
  if (pid == 0) {
    for (int fd = 0; fd < 3; ++fd) close(fd);
    _exit(close(1) == -1 && errno == EBADF ? 6 : 7);
  }
  guest_reap("nothing open", pid);
  return guest_end();
}
