// Goal: a tree of processes with pipes: memory is copied, descriptors are shared, every result comes back.
#include "guest.h"

#include <fcntl.h>
#include <sys/mman.h>

enum { kWidth = 3, kDepth = 4, kMegabytes = 8 };
static int node_sum;

static int tree(int depth, int label) {
  if (depth == 0) return label;
  int fds[2];
  CHECK(pipe(fds) == 0);
  pid_t pids[kWidth];
  for (int i = 0; i < kWidth; ++i) {
    pids[i] = fork();
    CHECK(pids[i] >= 0);
    if (pids[i] == 0) {
      node_sum += label;  // own copy: siblings must not see it
      int result = tree(depth - 1, label * kWidth + i + 1) + node_sum - label;
      if (write(fds[1], &result, sizeof result) != sizeof result) _exit(1);
      _exit(0);
    }
  }
  close(fds[1]);
  int sum = label, part;
  while (read(fds[0], &part, sizeof part) == sizeof part) sum += part;
  close(fds[0]);
  for (int i = 0; i < kWidth; ++i) {
    int status = -1;
    CHECK(waitpid(pids[i], &status, 0) == pids[i] && status == 0);
  }
  return sum;
}

static void copies(void) {
  char* area = mmap(NULL, kMegabytes << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  for (int i = 0; i < kMegabytes << 20; i += 4096) area[i] = 1;
  fflush(stdout);
  pid_t pid = fork();
  if (pid == 0) {
    usleep(20000);  // the parent writes meanwhile
    int sum = 0;
    for (int i = 0; i < kMegabytes << 20; i += 4096) {
      sum += area[i];
      area[i] = 3;
    }
    printf("child sees %d\n", sum);
    fflush(stdout);
    _exit(0);
  }
  for (int i = 0; i < kMegabytes << 20; i += 4096) area[i] = 2;
  guest_reap("copy", pid);
  int sum = 0;
  for (int i = 0; i < kMegabytes << 20; i += 4096) sum += area[i];
  printf("parent sees %d\n", sum);
}

int main(void) {
  SHOW(tree(kDepth, 1));
  copies();
  int fd = open("shared_offset", O_RDWR | O_CREAT | O_TRUNC, 0600);
  for (int i = 0; i < 5; ++i) {
    pid_t pid = fork();
    if (pid == 0) {
      char c = (char)('a' + i);
      _exit(write(fd, &c, 1) == 1 ? 0 : 1);
    }
    CHECK(waitpid(pid, NULL, 0) == pid);
  }
  char text[8] = "";
  CHECK(lseek(fd, 0, SEEK_CUR) == 5);
  CHECK(pread(fd, text, 5, 0) == 5);
  puts(text);
  // A chain: each forks the next and waits.
  fflush(stdout);
  int depth = 0;
  pid_t pid;
  while (depth < 20 && (pid = fork()) == 0) ++depth;
  if (depth == 20) _exit(20);
  int status = 0;
  CHECK(waitpid(pid, &status, 0) == pid);
  if (depth > 0) _exit(WEXITSTATUS(status) - 1);
  SHOW(WEXITSTATUS(status));
  return guest_end();
}
