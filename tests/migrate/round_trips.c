/* round_trips KIND TIMES: makes one call of that kind so often, for whoever counts what travels for it. */
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static char file[64], data[4096];
static int fd, folder, pair[2], ends[2], events;

static int is(const char* kind, const char* name) { return strcmp(kind, name) == 0; }

/* 0: as expected. */
static int one(const char* kind) {
  struct stat st;
  if (is(kind, "stat")) return fstatat(AT_FDCWD, file, &st, 0);
  if (is(kind, "fstat")) return fstat(fd, &st);
  if (is(kind, "llseek")) return lseek(fd, 10, SEEK_SET) != 10;
  if (is(kind, "lock")) {
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 10};
    return fcntl(fd, F_SETLK, &lock);
  }
  if (is(kind, "statfs")) {
    struct statvfs s;
    return statvfs("/tmp", &s);
  }
  if (is(kind, "utimens")) {
    const struct timespec t[2] = {{1000, 0}, {2000, 0}};
    return futimens(fd, t) + utimensat(AT_FDCWD, file, t, 0);
  }
  if (is(kind, "open")) { /* and close; one that writes is home's */
    const int made = open(file, O_RDWR);
    return made < 0 || close(made) != 0;
  }
  if (is(kind, "writev")) {
    const struct iovec iov[3] = {{data, 10}, {data + 100, 20}, {data + 200, 30}};
    return pwritev(fd, iov, 3, 0) != 60;
  }
  if (is(kind, "readv")) {
    const struct iovec iov[3] = {{data, 10}, {data + 100, 20}, {data + 200, 30}};
    return preadv(fd, iov, 3, 0) != 60;
  }
  if (is(kind, "getdents")) {
    lseek(folder, 0, SEEK_SET);
    return syscall(SYS_getdents64, folder, data, sizeof data) <= 0;
  }
  if (is(kind, "message")) {
    struct iovec iov = {data, 100};
    struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};
    return sendmsg(pair[0], &m, 0) != 100 || recvmsg(pair[1], &m, 0) != 100;
  }
  if (is(kind, "descriptor")) {
    char control[64];
    struct iovec iov = {data, 100};
    struct msghdr m = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = CMSG_SPACE(sizeof fd)};
    struct cmsghdr* const c = CMSG_FIRSTHDR(&m);
    c->cmsg_level = SOL_SOCKET, c->cmsg_type = SCM_RIGHTS, c->cmsg_len = CMSG_LEN(sizeof fd);
    memcpy(CMSG_DATA(c), &fd, sizeof fd);
    if (sendmsg(pair[0], &m, 0) != 100) return 1;
    m.msg_controllen = sizeof control;
    if (recvmsg(pair[1], &m, 0) != 100) return 1;
    int got;
    memcpy(&got, CMSG_DATA(c), sizeof got);
    return close(got);
  }
  if (is(kind, "poll")) {
    struct pollfd p[2] = {{ends[0], POLLIN, 0}, {ends[1], POLLOUT, 0}};
    return poll(p, 2, 1000) != 1;
  }
  if (is(kind, "ppoll")) {
    struct pollfd p[2] = {{ends[0], POLLIN, 0}, {ends[1], POLLOUT, 0}};
    return ppoll(p, 2, &(struct timespec){1, 0}, NULL) != 1;
  }
  if (is(kind, "select")) {
    fd_set set;
    FD_ZERO(&set);
    FD_SET(ends[1], &set);
    struct timeval limit = {1, 0};
    return select(ends[1] + 1, NULL, &set, NULL, &limit) != 1;
  }
  if (is(kind, "epoll")) {
    struct epoll_event got[4];
    return epoll_pwait(events, got, 4, 1000, NULL) != 1;
  }
  if (is(kind, "option")) {
    int value = 0;
    socklen_t length = sizeof value;
    return getsockopt(pair[0], SOL_SOCKET, SO_ERROR, &value, &length);
  }
  if (is(kind, "break")) {
    char* const more = sbrk(8192);
    return more == (void*)-1 || (more[0] = 1, 0);
  }
  if (is(kind, "mapping")) {
    char* const more = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return more == MAP_FAILED || (more[0] = 1, 0);
  }
  return 1;
}

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  snprintf(file, sizeof file, "/tmp/round_trips.%d", (int)getpid());
  fd = open(file, O_RDWR | O_CREAT, 0600);
  folder = open("/tmp", O_RDONLY | O_DIRECTORY);
  events = epoll_create1(0);
  struct epoll_event event = {.events = EPOLLOUT};
  if (write(fd, data, sizeof data) != sizeof data || socketpair(AF_UNIX, SOCK_DGRAM, 0, pair) != 0 ||
      pipe(ends) != 0 || epoll_ctl(events, EPOLL_CTL_ADD, ends[1], &event) != 0)
    return 3;
  int wrong = 0;
  for (int i = 0; i < atoi(argv[2]); ++i) wrong += one(argv[1]) != 0;
  unlink(file);
  return wrong != 0;
}
