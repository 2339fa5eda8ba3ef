// Goal: eventfd, timerfd, inotify, pidfd: descriptors that stand for events.
#include "guest.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/timerfd.h>
#include <time.h>

static void events(void) {
  uint64_t value = 0;
  int fd = eventfd(3, EFD_NONBLOCK);
  SHOW_RC(read(fd, &value, 8));
  SHOW(value);
  SHOW_RC(read(fd, &value, 8));
  value = 0xfffffffffffffffeULL;
  SHOW_RC(write(fd, &value, 8));
  value = 1;
  SHOW_RC(write(fd, &value, 8));
  SHOW_RC(write(fd, &value, 4));
  SHOW_RC(read(fd, &value, 4));
  close(fd);
  fd = eventfd(0, EFD_SEMAPHORE | EFD_CLOEXEC);
  pid_t pid = fork();
  if (pid == 0) {
    usleep(10000);
    value = 3;
    _exit(write(fd, &value, 8) == 8 ? 0 : 1);
  }
  for (int i = 0; i < 3; ++i) CHECK(read(fd, &value, 8) == 8 && value == 1);
  guest_reap("poster", pid);
  close(fd);
}

static void timers(void) {
  uint64_t ticks = 0;
  int fd = timerfd_create(CLOCK_MONOTONIC, 0);
  struct itimerspec every = {.it_interval = {0, 5000000}, .it_value = {0, 5000000}}, now;
  SHOW_RC(timerfd_settime(fd, 0, &every, NULL));
  usleep(52000);
  SHOW_RC(read(fd, &ticks, 8));
  SHOW(ticks >= 10);
  SHOW_RC(timerfd_gettime(fd, &now));
  SHOW(now.it_interval.tv_nsec);
  struct itimerspec past = {.it_value = {1, 0}};
  SHOW_RC(timerfd_settime(fd, TFD_TIMER_ABSTIME, &past, NULL));
  SHOW_RC(read(fd, &ticks, 8));
  SHOW(ticks);
  SHOW_RC(timerfd_create(99, 0));
  SHOW_RC(timerfd_settime(0, 0, &past, NULL));
  close(fd);
}

static void watches(void) {
  int fd = inotify_init1(IN_NONBLOCK);
  int watch = inotify_add_watch(fd, ".", IN_CREATE | IN_DELETE | IN_MOVE | IN_CLOSE_WRITE);
  SHOW(watch);
  int file = open("watched", O_WRONLY | O_CREAT, 0600);
  CHECK(write(file, "x", 1) == 1);
  close(file);
  rename("watched", "renamed");
  unlink("renamed");
  char buffer[4096] __attribute__((aligned(8)));
  ssize_t got = read(fd, buffer, sizeof buffer);
  for (ssize_t at = 0; at < got;) {
    struct inotify_event* event = (struct inotify_event*)(buffer + at);
    printf("event %x %s cookie %d\n", event->mask, event->name, event->cookie != 0);
    at += (ssize_t)sizeof *event + event->len;
  }
  SHOW_RC(inotify_rm_watch(fd, watch));
  SHOW_RC(inotify_rm_watch(fd, 1234));
  SHOW_RC(inotify_add_watch(fd, "/nonexistent", IN_CREATE));
  close(fd);
}

int main(void) {
  events();
  timers();
  watches();
  return guest_end();
}
