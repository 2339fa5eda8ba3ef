// Goal: the descriptor table is the guest's alone: lowest free numbers, high numbers, ranges, limits, own
// listing.
#include "guest.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

static void list(const char* label) {
  DIR* folder = opendir("/proc/self/fd");
  CHECK(folder != NULL);
  if (folder == NULL) return;
  int seen[2048];
  int count = 0;
  for (struct dirent* entry = readdir(folder); entry != NULL; entry = readdir(folder)) {
    if (entry->d_name[0] != '.' && atoi(entry->d_name) != dirfd(folder))
      seen[count++ % 2048] = atoi(entry->d_name);
  }
  closedir(folder);
  for (int i = 0; i < count; ++i) {
    for (int j = i + 1; j < count; ++j) {
      if (seen[j] < seen[i]) {
        int swap = seen[i];
        seen[i] = seen[j], seen[j] = swap;
      }
    }
  }
  printf("%s:", label);
  for (int i = 0; i < count; ++i) printf(" %d", seen[i]);
  printf("\n");
}

static void every_number(void) {
  int failed = 0;
  for (int fd = 3; fd < 1024; ++fd) failed += dup2(1, fd) != fd;
  SHOW(failed);
  failed = 0;
  for (int fd = 3; fd < 1024; ++fd) failed += close(fd) != 0;
  SHOW(failed);
  failed = 0;
  for (int fd = 3; fd < 1024; ++fd) failed += close(fd) != -1 || errno != EBADF;
  SHOW(failed);
}

static void exhaust(int limit) {
  struct rlimit r = {(rlim_t)limit, (rlim_t)limit};
  SHOW_RC(setrlimit(RLIMIT_NOFILE, &r));
  int opened = 0;
  while (open("/dev/null", O_RDONLY) >= 0) ++opened;
  printf("limit %d: %d more, then %s\n", limit, opened, guest_errname(errno));
  int fds[2];
  SHOW_RC(pipe(fds));
  SHOW_RC(dup(0));
  SHOW_RC(dup2(0, limit - 1));
  SHOW_RC(dup2(0, limit));
  SHOW_RC(fcntl(0, F_DUPFD, limit));
  SHOW_RC(open("/nonexistent", O_RDONLY));
  SHOW_RC(syscall(SYS_close_range, 3, ~0U, 0));
  SHOW_RC(open("/dev/null", O_RDONLY));
}

int main(void) {
  struct rlimit r;
  list("start");
  SHOW_RC(getrlimit(RLIMIT_NOFILE, &r));
  SHOW(r.rlim_cur);
  SHOW(r.rlim_max);
  SHOW_RC(open("/dev/null", O_RDONLY));
  SHOW_RC(open("/dev/null", O_RDONLY));
  SHOW_RC(close(3));
  SHOW_RC(dup(0));
  SHOW_RC(dup2(1, 1000));
  SHOW_RC(dup2(1, 1023));
  SHOW_RC(dup3(1, 500, O_CLOEXEC));
  SHOW_RC(fcntl(500, F_GETFD));
  SHOW_RC(dup3(1, 1, 0));
  SHOW_RC(fcntl(0, F_DUPFD, 300));
  SHOW_RC(fcntl(0, F_DUPFD_CLOEXEC, 300));
  SHOW_RC(dup2(77, 78));
  SHOW_RC(dup2(1, -1));
  SHOW_RC(close(-1));
  list("some");
  SHOW_RC(syscall(SYS_close_range, 300, 600, 0));
  list("range closed");
  SHOW_RC(syscall(SYS_close_range, 3, ~0U, 4));  // CLOSE_RANGE_CLOEXEC
  SHOW_RC(fcntl(1000, F_GETFD));
  SHOW_RC(syscall(SYS_close_range, 3, ~0U, 0));
  list("all closed");
  SHOW_RC(syscall(SYS_close_range, 10, 5, 0));
  every_number();
  list("end");
  guest_child("in a child", every_number);
  fflush(stdout);
  static const int kLimits[] = {20, 256, 1024};
  for (int i = 0; i < 3; ++i) {
    pid_t pid = fork();
    if (pid == 0) {
      exhaust(kLimits[i]);
      fflush(stdout);
      _exit(guest_failures);
    }
    guest_reap("exhausted", pid);
  }
  struct rlimit low = {3, 3};
  SHOW_RC(setrlimit(RLIMIT_NOFILE, &low));
  SHOW_RC(open("/dev/null", O_RDONLY));
  pid_t pid = fork();
  if (pid == 0) _exit(open("/dev/null", O_RDONLY) < 0 ? 4 : 5);
  guest_reap("fork with no room", pid);
  return guest_end();
}
