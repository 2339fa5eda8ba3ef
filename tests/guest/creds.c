// Goal: the set-user-ID family: what root may do, what is lost on dropping, saved ids, groups, capabilities,
// threads.
#include "guest.h"

#include <fcntl.h>
#include <grp.h>
#include <pthread.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>
#include <sys/stat.h>

static void show_ids(const char* label) {
  uid_t u[3];
  gid_t g[3];
  getresuid(&u[0], &u[1], &u[2]);
  getresgid(&g[0], &g[1], &g[2]);
  printf("%s: uid %u %u %u gid %u %u %u\n", label, u[0], u[1], u[2], g[0], g[1], g[2]);
}

static void drop(void) {
  gid_t groups[3] = {10, 65534, 70000};
  SHOW_RC(setgroups(3, groups));
  gid_t got[8];
  int n = getgroups(8, got);
  printf("groups %d: %u %u %u\n", n, got[0], got[1], got[2]);
  SHOW_RC(setgid(65534));
  SHOW_RC(setuid(65534));
  show_ids("dropped");
  SHOW_RC(setuid(0));
  SHOW_RC(seteuid(0));
  SHOW_RC(setgroups(0, NULL));
  SHOW_RC(open("private", O_RDONLY));
  SHOW_RC(kill(1, 0));
  SHOW_RC(prctl(PR_GET_DUMPABLE));
  fflush(stdout);
  guest_show_status("id of a child", system("id -u; id -g"));
}

static void saved(void) {
  SHOW_RC(setresuid(1000, 70001, 0));
  show_ids("saved");
  SHOW_RC(open("private", O_RDONLY));
  SHOW_RC(setresuid((uid_t)-1, 0, (uid_t)-1));
  show_ids("regained");
  SHOW_OK(open("private", O_RDONLY));
  SHOW_RC(setreuid(5, 6));
  show_ids("setreuid");
  SHOW_RC(seteuid(0));
}

static void* show_thread(void* argument) {
  pthread_barrier_wait(argument);
  pthread_barrier_wait(argument);
  printf("thread: %u\n", geteuid());
  return NULL;
}

static void with_threads(void) {
  // glibc makes every thread change: a signal to each, then the raw call.
  pthread_t thread;
  pthread_barrier_t barrier;
  pthread_barrier_init(&barrier, NULL, 2);
  pthread_create(&thread, NULL, show_thread, &barrier);
  pthread_barrier_wait(&barrier);
  SHOW_RC(setuid(65534));
  pthread_barrier_wait(&barrier);
  pthread_join(thread, NULL);
}

int main(void) {
  show_ids("start");
  if (getuid() != 0) {
    SHOW_RC(setuid(0));
    return guest_end();
  }
  CHECK(chmod(".", 0755) == 0);
  int fd = open("private", O_RDWR | O_CREAT, 0600);
  CHECK(fd >= 0);
  guest_child("drop", drop);
  guest_child("saved", saved);
  guest_child("threads", with_threads);
  SHOW_RC(fchown(fd, 70000, 70001));
  struct stat s;
  SHOW_RC(fstat(fd, &s));
  printf("%u %u\n", s.st_uid, s.st_gid);
  SHOW_RC(setfsuid(65534));
  SHOW_RC(setfsuid(0));
  SHOW_RC(setfsuid((uid_t)-1));
  return guest_end();
}
