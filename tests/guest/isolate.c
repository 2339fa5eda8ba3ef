// Goal: namespaces and roots of one's own work while the program's own machinery loses every path.
#include "guest.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

static void in_root(void) {
  SHOW_RC(mkdir("root", 0755));
  SHOW_RC(chroot("root"));
  SHOW_RC(chdir("/"));
  SHOW_RC(access("/proc/self", F_OK));
  SHOW_RC(mkdir("made_inside", 0700));
  SHOW_RC(execl("/bin/true", "true", (char*)NULL));
  pid_t pid = fork();  // needs everything again, without paths
  if (pid == 0) _exit(mkdir("by_child", 0700) == 0 ? 3 : 4);
  guest_reap("fork in the new root", pid);
  *(volatile int*)8 = 1;
}
static void names(void) {
  SHOW_RC(unshare(CLONE_NEWUTS));
  SHOW_RC(sethostname("guest", 5));
  char name[64];
  SHOW_RC(gethostname(name, sizeof name));
  puts(name);
}
static void processes(void) {
  SHOW_RC(unshare(CLONE_NEWPID | CLONE_NEWNS));
  fflush(stdout);
  pid_t pid = fork();
  if (pid == 0) {
    SHOW(getpid());
    SHOW(getppid());
    pid_t inner = fork();
    // Not the number itself: a KVM host may take one for a worker of its own.
    if (inner == 0) _exit(getpid() > 1 && getppid() == 1 ? 2 : 3);
    SHOW(inner > 1 && inner < 10);
    guest_reap("second process", inner);
    fflush(stdout);
    _exit(0);
  }
  guest_reap("first process", pid);
}
static void mounts(void) {
  SHOW_RC(unshare(CLONE_NEWNS));
  SHOW_RC(mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL));
  SHOW_RC(mkdir("mounted", 0755));
  SHOW_RC(mount("tmp", "mounted", "tmpfs", 0, "size=64k"));
  int fd = open("mounted/file", O_RDWR | O_CREAT, 0600);
  SHOW_OK(fd);
  static char block[100000];
  SHOW_RC(write(fd, block, sizeof block));
  close(fd);
  SHOW_RC(umount("mounted"));
  SHOW_RC(access("mounted/file", F_OK));
}
static void users(void) {
  SHOW_RC(setuid(65534));
  SHOW_RC(unshare(CLONE_NEWUTS));
  SHOW_RC(chroot("/"));
}
static void network(void) { SHOW_RC(unshare(CLONE_NEWNET | CLONE_NEWIPC | CLONE_FILES | CLONE_FS)); }

int main(void) {
  guest_child("root", in_root);
  SHOW_RC(access("root/made_inside", F_OK));
  SHOW_RC(access("root/by_child", F_OK));
  guest_child("names", names);
  guest_child("processes", processes);
  guest_child("mounts", mounts);
  guest_child("users", users);
  guest_child("network", network);
  SHOW_RC(unshare(0x1));
  return guest_end();
}
