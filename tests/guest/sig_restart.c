// Goal: which blocking calls a handler interrupts and which go on, with and without SA_RESTART.
#include "guest.h"

#include <poll.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>

static volatile sig_atomic_t handled;
static int pipe_fds[2];
static int pair[2];

static void on_alarm(int sig, siginfo_t* info, void* context) {
  (void)sig, (void)info, (void)context;
  handled = handled + 1;
}

// A signal after 30 ms; data, that lets a restarted call end, after 120 ms, from a child.
static pid_t arm(int with_data) {
  handled = 0;
  pid_t pid = fork();
  if (pid == 0) {
    usleep(30000);
    kill(getppid(), SIGUSR1);
    usleep(90000);
    if (with_data != 0 && (write(pipe_fds[1], "d", 1) != 1 || write(pair[1], "d", 1) != 1)) _exit(1);
    _exit(0);
  }
  return pid;
}

static void drain(pid_t pid) {
  char c;
  while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) {
  }
  struct pollfd both[2] = {{pipe_fds[0], POLLIN, 0}, {pair[0], POLLIN, 0}};
  while (poll(both, 2, 0) > 0) {
    for (int i = 0; i < 2; ++i) {
      if ((both[i].revents & POLLIN) != 0 && read(both[i].fd, &c, 1) != 1) return;
    }
  }
}

static long do_read(void) {
  char c;
  return read(pipe_fds[0], &c, 1);
}
static long do_recv(void) {
  char c;
  return recv(pair[0], &c, 1, 0);
}
static long do_poll(void) { return poll(&(struct pollfd){pipe_fds[0], POLLIN, 0}, 1, 1000); }
static long do_select(void) {
  fd_set set;
  FD_ZERO(&set);
  FD_SET(pipe_fds[0], &set);
  return select(pipe_fds[0] + 1, &set, NULL, NULL, &(struct timeval){1, 0});
}
static long do_epoll(void) {
  int fd = epoll_create1(0);
  struct epoll_event event = {.events = EPOLLIN};
  epoll_ctl(fd, EPOLL_CTL_ADD, pipe_fds[0], &event);
  long got = epoll_wait(fd, &event, 1, 1000);
  int error = errno;
  close(fd);
  errno = error;
  return got;
}
static long do_sleep(void) { return nanosleep(&(struct timespec){0, 100000000}, NULL); }
static long do_clock_sleep(void) {
  errno = clock_nanosleep(CLOCK_MONOTONIC, 0, &(struct timespec){0, 100000000}, NULL);
  return errno != 0 ? -1 : 0;
}
static long do_timed_wait(void) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR2);
  return sigtimedwait(&set, NULL, &(struct timespec){1, 0});
}
static long do_pause(void) { return pause(); }
static long do_wait(void) {
  pid_t pid = fork();
  if (pid == 0) {
    usleep(100000);
    _exit(0);
  }
  long got = waitpid(pid, NULL, 0);
  int error = errno;
  if (got < 0) waitpid(pid, NULL, 0);
  errno = error;
  return got > 0;
}

static const struct {
  const char* name;
  long (*call)(void);
} kCalls[] = {
    {"read", do_read},
    {"recv", do_recv},
    {"poll", do_poll},
    {"select", do_select},
    {"epoll_wait", do_epoll},
    {"wait", do_wait},
    {"nanosleep", do_sleep},
    {"clock_nanosleep", do_clock_sleep},
    {"sigtimedwait", do_timed_wait},
    {"pause", do_pause},
};

int main(void) {
  CHECK(pipe(pipe_fds) == 0 && socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
  for (int restart = 0; restart < 2; ++restart) {
    guest_on(SIGUSR1, on_alarm, restart != 0 ? SA_RESTART : 0);
    for (size_t i = 0; i < sizeof kCalls / sizeof kCalls[0]; ++i) {
      pid_t pid = arm(1);
      errno = 0;
      long got = kCalls[i].call();
      printf("%s, %s: %ld %s, handled %d\n", kCalls[i].name, restart != 0 ? "SA_RESTART" : "plain", got,
             got < 0 ? guest_errname(errno) : "", handled);
      drain(pid);
    }
  }
  // Ignored and default-ignored signals interrupt nothing.
  signal(SIGUSR1, SIG_IGN);
  pid_t pid = arm(1);
  SHOW_RC(do_read());
  drain(pid);
  // A receive timeout makes recv restartable no longer.
  guest_on(SIGUSR1, on_alarm, SA_RESTART);
  struct timeval limit = {1, 0};
  CHECK(setsockopt(pair[0], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) == 0);
  pid = arm(1);
  SHOW_RC(do_recv());
  drain(pid);
  return guest_end();
}
