// Goal: the wait family: which child, which event, no hang, no reaping, resource usage, ignored children,
// orphans.
#include "guest.h"

#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

static pid_t child(int status) {
  fflush(stdout);
  pid_t pid = fork();
  if (pid == 0) _exit(status);
  return pid;
}

static void show_info(const char* label, int rc, const siginfo_t* info, pid_t pid) {
  printf("%s: rc %d signo %d code %d status %d pid %d\n", label, rc, info->si_signo, info->si_code,
         info->si_status, info->si_pid == pid);
}

static void groups(void) {
  fflush(stdout);
  pid_t first = fork();
  if (first == 0) {
    setpgid(0, 0);
    _exit(1);
  }
  setpgid(first, first);
  pid_t second = child(2);
  int status = 0;
  SHOW(waitpid(-first, &status, 0) == first);
  SHOW(waitpid(0, &status, 0) == second);
  SHOW_RC(waitpid(-first, &status, 0));
}

static void orphans(void) {
  CHECK(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0);
  int fds[2];
  CHECK(pipe(fds) == 0);
  pid_t parent = getpid();
  fflush(stdout);
  pid_t middle = fork();
  if (middle == 0) {
    pid_t grandchild = fork();
    if (grandchild == 0) {
      char c;
      close(fds[1]);
      if (read(fds[0], &c, 1) != 0) _exit(1);  // until the middle one is gone
      while (getppid() != parent) usleep(1000);
      _exit(44);
    }
    _exit(0);
  }
  close(fds[1]);
  guest_reap("middle", middle);
  int status = 0;
  CHECK(wait(&status) > 0);
  guest_show_status("adopted", status);
  close(fds[0]);
}

static void killed_with_parent(void) {
  int fds[2];
  CHECK(pipe(fds) == 0);
  pid_t middle = fork();
  if (middle == 0) {
    pid_t grandchild = fork();
    if (grandchild == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      if (write(fds[1], "r", 1) != 1) _exit(1);
      for (;;) pause();
    }
    char c;
    if (read(fds[0], &c, 1) != 1) _exit(1);
    _exit(0);
  }
  guest_reap("parent", middle);
  int status = 0;
  CHECK(wait(&status) > 0);
  guest_show_status("PDEATHSIG", status);
}

int main(void) {
  int status = 0;
  siginfo_t info;
  SHOW_RC(waitpid(-1, &status, 0));
  SHOW_RC(waitpid(-1, &status, 0x8000));
  pid_t pid = child(5);
  memset(&info, 0, sizeof info);
  show_info("WNOWAIT", waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), &info, pid);
  SHOW_RC(kill(pid, 0));  // a zombie still is
  show_info("again", waitid(P_ALL, 0, &info, WEXITED), &info, pid);
  SHOW_RC(kill(pid, 0));
  fflush(stdout);
  pid = fork();
  if (pid == 0) {
    for (;;) pause();
  }
  SHOW(waitpid(pid, &status, WNOHANG));
  memset(&info, 0xff, sizeof info);
  SHOW_RC(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG));
  SHOW(info.si_signo);
  kill(pid, SIGTERM);
  struct rusage usage;
  SHOW(wait4(pid, &status, 0, &usage) == pid);
  guest_show_status("wait4", status);
  SHOW(usage.ru_utime.tv_sec);
  SHOW_RC(waitid(P_PID, (id_t)getpid(), &info, WEXITED));
  SHOW_RC(waitid(P_ALL, 0, &info, 0));
  groups();
  pid_t many[30];
  int sum = 0;
  for (int i = 0; i < 30; ++i) many[i] = child(i);
  for (int i = 29; i >= 0; --i) {
    CHECK(waitpid(many[i], &status, 0) == many[i]);
    sum += WEXITSTATUS(status);
  }
  SHOW(sum);
  signal(SIGCHLD, SIG_IGN);
  pid = child(3);
  SHOW_RC(waitpid(pid, &status, 0));  // nobody to report, but it waits
  signal(SIGCHLD, SIG_DFL);
  orphans();
  killed_with_parent();
  int pidfd = (int)syscall(SYS_pidfd_open, pid = child(8), 0);
  CHECK(pidfd > 2);
  SHOW_RC(waitid(P_PIDFD, (id_t)pidfd, &info, WEXITED));
  SHOW_RC(syscall(SYS_pidfd_send_signal, pidfd, SIGTERM, NULL, 0));
  return guest_end();
}
