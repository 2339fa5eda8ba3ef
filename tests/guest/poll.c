// Goal: poll, ppoll, select, pselect and epoll: events, timeouts, masks, edges, closed and bad descriptors.
#include "guest.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <time.h>

static volatile sig_atomic_t handled;
static void on(int sig, siginfo_t* info, void* context) {
  (void)sig, (void)info, (void)context;
  handled = handled + 1;
}

static void polls(int in, int out) {
  struct pollfd p[4] = {{in, POLLIN, 0}, {out, POLLOUT, 0}, {-5, POLLIN, 0}, {999, POLLIN, 0}};
  SHOW_RC(poll(p, 4, 0));
  printf("revents %x %x %x %x\n", p[0].revents, p[1].revents, p[2].revents, p[3].revents);
  SHOW_RC(poll(p, 1, 20));
  CHECK(write(out, "x", 1) == 1);
  SHOW_RC(poll(p, 2, -1));
  printf("revents %x %x\n", p[0].revents, p[1].revents);
  SHOW_RC(poll((struct pollfd*)16, 1, 0));
  SHOW_RC(poll(NULL, 0, 10));
  // A blocked, pending signal is taken by ppoll's mask, atomically.
  sigset_t usr, old;
  sigemptyset(&usr);
  sigaddset(&usr, SIGUSR1);
  sigprocmask(SIG_BLOCK, &usr, &old);
  raise(SIGUSR1);
  char c;
  CHECK(read(in, &c, 1) == 1);
  SHOW(handled);
  SHOW_RC(ppoll(p, 1, &(struct timespec){5, 0}, &old));
  SHOW(handled);
  raise(SIGUSR1);
  fd_set set;
  FD_ZERO(&set);
  FD_SET(in, &set);
  SHOW_RC(pselect(in + 1, &set, NULL, NULL, &(struct timespec){5, 0}, &old));
  SHOW(handled);
  sigprocmask(SIG_SETMASK, &old, NULL);
}

static void selects(int in, int out) {
  fd_set readable, writable;
  FD_ZERO(&readable);
  FD_ZERO(&writable);
  FD_SET(in, &readable);
  FD_SET(out, &writable);
  struct timeval limit = {2, 0};
  SHOW_RC(select(out + 1, &readable, &writable, NULL, &limit));
  printf("%d %d left %d\n", FD_ISSET(in, &readable) != 0, FD_ISSET(out, &writable) != 0,
         limit.tv_sec == 2 || limit.tv_usec > 900000);
  FD_SET(in, &readable);
  limit = (struct timeval){0, 20000};
  SHOW_RC(select(in + 1, &readable, NULL, NULL, &limit));
  SHOW(limit.tv_sec == 0 && limit.tv_usec == 0);
  FD_SET(60, &readable);  // above the table's size Linux looks at none; 64 is the least size
  SHOW_RC(select(61, &readable, NULL, NULL, &limit));
  SHOW_RC(select(-1, &readable, NULL, NULL, &limit));
}

/// select(getdtablesize(), ...), whose sets are shorter than that: Linux looks at what the table has room
/// for.
static void selects_all(int in, int out) {
  struct {
    fd_set set;
    char behind[4000];
  } s;
  memset(&s, 0xff, sizeof s);
  FD_ZERO(&s.set);
  FD_SET(in, &s.set);
  FD_SET(out, &s.set);
  struct timeval now = {0, 0};
  SHOW_RC(select(20000, NULL, &s.set, NULL, &now));
  printf("%d %d\n", FD_ISSET(in, &s.set) != 0, FD_ISSET(out, &s.set) != 0);
  size_t changed = 0;
  for (size_t i = 0; i < sizeof s.behind; ++i) changed += s.behind[i] != (char)0xff;
  SHOW(changed);
  // Sets as long as they are said to be, and a table that has grown.
  struct rlimit limit;
  CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
  limit.rlim_cur = 2000;
  CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
  static union {
    unsigned char byte[2500];
    fd_set set;
  } all;
  const int high = 1500;
  CHECK(dup2(out, high) == high);
  all.byte[high / 8] = 1 << high % 8;
  FD_SET(in, &all.set);
  SHOW_RC(select(20000, NULL, &all.set, NULL, &now));
  printf("%d %d\n", FD_ISSET(in, &all.set) != 0, all.byte[high / 8]);
  SHOW_RC(pselect(20000, NULL, &all.set, NULL, &(struct timespec){0, 0}, NULL));
  FD_SET(690, &all.set);
  SHOW_RC(select(20000, NULL, &all.set, NULL, &now));
  FD_CLR(690, &all.set);
  close(high);
  SHOW_RC(select(20000, NULL, &all.set, NULL, &now));  // a table does not shrink
  SHOW(all.byte[high / 8]);
}

static void epolls(int in, int out) {
  int fd = epoll_create1(EPOLL_CLOEXEC);
  struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.u64 = 0x1122334455667788}, got[4];
  SHOW_RC(epoll_ctl(fd, EPOLL_CTL_ADD, in, &event));
  SHOW_RC(epoll_ctl(fd, EPOLL_CTL_ADD, in, &event));
  SHOW_RC(epoll_ctl(fd, EPOLL_CTL_MOD, out, &event));
  SHOW_RC(epoll_wait(fd, got, 4, 10));
  CHECK(write(out, "ab", 2) == 2);
  SHOW_RC(epoll_wait(fd, got, 4, -1));
  SHOW(got[0].data.u64 == 0x1122334455667788 && got[0].events == EPOLLIN);
  SHOW_RC(epoll_wait(fd, got, 4, 10));  // edge: told once
  event.events = EPOLLIN | EPOLLONESHOT;
  SHOW_RC(epoll_ctl(fd, EPOLL_CTL_MOD, in, &event));
  SHOW_RC(epoll_wait(fd, got, 4, 0));
  SHOW_RC(epoll_wait(fd, got, 4, 0));
  event.events = EPOLLIN;
  SHOW_RC(epoll_ctl(fd, EPOLL_CTL_MOD, in, &event));
  SHOW_RC(epoll_wait(fd, got, 4, 0));
  SHOW_RC(epoll_wait(fd, got, 0, 0));
  SHOW_RC(epoll_wait(fd, (struct epoll_event*)16, 4, 0));
  int other = open("/etc/passwd", O_RDONLY);
  SHOW_RC(epoll_ctl(fd, EPOLL_CTL_ADD, other, &event));
  // Nested: an epoll in an epoll, seen by poll.
  int outer = epoll_create(1);
  SHOW_RC(epoll_ctl(outer, EPOLL_CTL_ADD, fd, &event));
  struct pollfd p = {outer, POLLIN, 0};
  SHOW_RC(poll(&p, 1, 0));
  SHOW_RC(epoll_ctl(fd, EPOLL_CTL_DEL, in, NULL));
  SHOW_RC(poll(&p, 1, 0));
  char c[2];
  CHECK(read(in, c, 2) == 2);
  close(fd), close(outer), close(other);
}

int main(void) {
  int fds[2], pair[2];
  CHECK(pipe(fds) == 0 && socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
  guest_on(SIGUSR1, on, 0);
  polls(fds[0], fds[1]);
  selects(fds[0], fds[1]);
  selects_all(fds[0], fds[1]);
  epolls(fds[0], fds[1]);
  close(fds[1]);
  struct pollfd p = {fds[0], POLLIN, 0};
  SHOW_RC(poll(&p, 1, -1));
  printf("closed writer %x\n", p.revents);
  shutdown(pair[1], SHUT_WR);
  p = (struct pollfd){pair[0], POLLIN | POLLRDHUP, 0};
  SHOW_RC(poll(&p, 1, -1));
  printf("half closed socket %x\n", p.revents);
  return guest_end();
}
