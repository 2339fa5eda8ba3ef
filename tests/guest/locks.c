// Goal: flock, POSIX record locks and open-file-description locks between processes.
#include "guest.h"

#include <fcntl.h>
#include <sys/file.h>

static int try_lock(int fd, int command, short type, off_t start, off_t length) {
  struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = length};
  return fcntl(fd, command, &lock);
}

static void in_child(const char* label, int (*body)(void)) {
  fflush(stdout);
  pid_t pid = fork();
  if (pid == 0) _exit(body());
  guest_reap(label, pid);
}

static int other_flock(void) {
  int fd = open("file", O_RDWR);
  return flock(fd, LOCK_EX | LOCK_NB) == 0 ? 1 : errno == EWOULDBLOCK ? 2 : 3;
}
static int shared_flock(void) {
  int fd = open("file", O_RDWR);
  return flock(fd, LOCK_SH | LOCK_NB) == 0 ? 1 : 2;
}
static int record(void) {
  int fd = open("file", O_RDWR);
  if (try_lock(fd, F_SETLK, F_WRLCK, 0, 10) == 0) return 1;
  if (try_lock(fd, F_SETLK, F_WRLCK, 100, 10) != 0) return 2;
  struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 0};
  if (fcntl(fd, F_GETLK, &lock) != 0) return 3;
  return lock.l_pid == getppid() && lock.l_start == 5 && lock.l_len == 10 && lock.l_type == F_WRLCK ? 4 : 5;
}
static int description(void) {
  int fd = open("file", O_RDWR);
  return try_lock(fd, F_OFD_SETLK, F_RDLCK, 200, 5) == 0 ? 1 : errno == EAGAIN ? 2 : 3;
}

int main(void) {
  int fd = open("file", O_RDWR | O_CREAT | O_TRUNC, 0600);
  SHOW_RC(flock(fd, LOCK_EX));
  in_child("exclusive against exclusive", other_flock);
  in_child("shared against exclusive", shared_flock);
  SHOW_RC(flock(fd, LOCK_SH));
  in_child("shared against shared", shared_flock);
  SHOW_RC(flock(fd, LOCK_UN));
  SHOW_RC(flock(1000, LOCK_EX));
  SHOW_RC(try_lock(fd, F_SETLK, F_WRLCK, 5, 10));
  in_child("record", record);
  SHOW_RC(try_lock(fd, F_OFD_SETLK, F_WRLCK, 200, 10));
  in_child("description", description);
  SHOW_RC(try_lock(fd, F_SETLK, 99, 0, 0));
  SHOW_RC(try_lock(fd, F_SETLK, F_WRLCK, 0x100000000LL, 10));
  // A waiter gets the lock when its holder ends.
  int ready[2];
  char c;
  CHECK(pipe(ready) == 0);
  fflush(stdout);
  pid_t pid = fork();
  if (pid == 0) {
    int own = open("file", O_RDWR);
    if (try_lock(own, F_SETLK, F_WRLCK, 500, 1) != 0 || write(ready[1], "r", 1) != 1) _exit(1);
    usleep(30000);
    _exit(0);
  }
  CHECK(read(ready[0], &c, 1) == 1);
  SHOW_RC(try_lock(fd, F_SETLK, F_WRLCK, 500, 1));
  SHOW_RC(try_lock(fd, F_SETLKW, F_WRLCK, 500, 1));
  guest_reap("holder", pid);
  SHOW_RC(lockf(fd, F_TLOCK, 10));
  return guest_end();
}
