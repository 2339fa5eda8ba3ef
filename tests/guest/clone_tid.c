// Goal: raw clone: the parent's and child's tid words, the clearing at exit, shared and unshared resources,
// errors.
#include "guest.h"

#include <fcntl.h>
#include <linux/futex.h>
#include <linux/sched.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/syscall.h>

static char stack[65536] __attribute__((aligned(16)));
static _Atomic int child_word;
static _Atomic int parent_word;
static _Atomic int value;

static int child(void* argument) {
  value = *(int*)argument;
  return 13;
}
static int child_fd(void* argument) {
  (void)argument;
  close(10);
  CHECK(chdir("/") == 0);
  return (int)syscall(SYS_gettid) == parent_word ? 14 : 15;
}

static int run(const char* label, int (*body)(void*), int flags) {
  int seven = 7;
  value = 0;
  child_word = parent_word = -1;
  fflush(stdout);
  int pid = clone(body, stack + sizeof stack, flags, &seven, &parent_word, NULL, &child_word);
  CHECK(pid > 0);
  if ((flags & CLONE_PARENT_SETTID) != 0) CHECK(parent_word == pid);
  int status = 0;
  CHECK(waitpid(pid, &status, __WALL) == pid);
  guest_show_status(label, status);
  return pid;
}

int main(void) {
  run("copy", child, SIGCHLD);
  SHOW(value);
  run("CLONE_VM", child, SIGCHLD | CLONE_VM);
  SHOW(value);
  run("CLONE_VM|VFORK", child, SIGCHLD | CLONE_VM | CLONE_VFORK);
  SHOW(value);
  run("PARENT_SETTID", child, SIGCHLD | CLONE_PARENT_SETTID);
  int pid = run("CHILD_SETTID", child, SIGCHLD | CLONE_VM | CLONE_CHILD_SETTID);
  SHOW(child_word == pid);
  run("CHILD_CLEARTID", child, SIGCHLD | CLONE_VM | CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID);
  SHOW(child_word);
  run("no signal", child, CLONE_VM);
  CHECK(dup2(1, 10) == 10);
  char before[4096], after[4096];
  CHECK(getcwd(before, sizeof before) != NULL);
  run("CLONE_FILES|FS", child_fd, SIGCHLD | CLONE_VM | CLONE_FILES | CLONE_FS | CLONE_PARENT_SETTID);
  SHOW_RC(fcntl(10, F_GETFD));
  CHECK(getcwd(after, sizeof after) != NULL);
  printf("cwd %s\n", after);
  CHECK(chdir(before) == 0);
  CHECK(dup2(1, 10) == 10);
  run("own files", child_fd, SIGCHLD | CLONE_VM | CLONE_PARENT_SETTID);
  SHOW_RC(fcntl(10, F_GETFD));
  SHOW_RC(clone(child, stack + sizeof stack, CLONE_THREAD, NULL));
  SHOW_RC(clone(child, stack + sizeof stack, CLONE_SIGHAND, NULL));
  SHOW_RC(clone(child, stack + sizeof stack, CLONE_FS | CLONE_NEWNS, NULL));
  struct clone_args arguments;
  memset(&arguments, 0, sizeof arguments);
  arguments.exit_signal = SIGCHLD;
  int pidfd = -1;
  arguments.flags = CLONE_PIDFD;
  arguments.pidfd = (uintptr_t)&pidfd;
  fflush(stdout);
  long got = syscall(SYS_clone3, &arguments, sizeof arguments);
  if (got == 0) _exit(19);
  CHECK(got > 0 && pidfd > 2);
  siginfo_t info;
  SHOW_RC(waitid(P_PIDFD, (id_t)pidfd, &info, WEXITED));
  printf("clone3: code %d status %d\n", info.si_code, info.si_status);
  SHOW_RC(syscall(SYS_clone3, &arguments, 8));
  CHECK(syscall(SYS_set_tid_address, &child_word) == getpid());
  return guest_end();
}
