// Goal: process groups and sessions: who leads, who may join, signals to a whole group.
#include "guest.h"

#include <sys/prctl.h>

static volatile sig_atomic_t handled;
static void on(int sig, siginfo_t* info, void* context) {
  (void)sig, (void)info, (void)context;
  handled = handled + 1;
}

static void new_session(void) {
  SHOW(setsid() == getpid());
  SHOW(getsid(0) == getpid() && getpgrp() == getpid());
  SHOW_RC(setsid());
  SHOW_RC(setpgid(0, 0));
  SHOW_RC(setpgid(0, getppid()));
}

static void group_signal(void) {
  setpgid(0, 0);
  int fds[2];
  CHECK(pipe(fds) == 0);
  guest_on(SIGUSR1, on, 0);
  pid_t members[5];
  for (int i = 0; i < 5; ++i) {
    members[i] = fork();
    if (members[i] == 0) {
      sigset_t usr, old;
      sigemptyset(&usr);
      sigaddset(&usr, SIGUSR1);
      sigprocmask(SIG_BLOCK, &usr, &old);
      if (write(fds[1], "r", 1) != 1) _exit(99);
      while (handled == 0) sigsuspend(&old);
      _exit(10 + i);
    }
  }
  char c[5];
  for (int i = 0; i < 5; ++i) CHECK(read(fds[0], &c[i], 1) == 1);
  SHOW_RC(kill(0, SIGUSR1));
  for (int i = 0; i < 5; ++i) guest_reap("member", members[i]);
  SHOW(handled);
}

int main(int argc, char** argv) {
  (void)argc;
  SHOW(getsid(0) == getpid());
  SHOW(getpgrp() == getpid());
  SHOW(getpgid(0) == getpgrp());
  guest_child("session", new_session);
  guest_child("group", group_signal);
  SHOW_RC(setpgid(0, -1));
  SHOW_RC(getpgid(0x7ffffff0));
  SHOW_RC(kill(-0x7ffffff0, SIGTERM));
  fflush(stdout);
  pid_t pid = fork();
  if (pid == 0) {
    setpgid(0, 0);
    execl(guest_sibling(argv[0], "echo_args", NULL), "echo_args", (char*)NULL);
    _exit(99);
  }
  setpgid(pid, pid);
  SHOW(getpgid(pid) == pid);
  guest_reap("exec", pid);
  pid = fork();
  if (pid == 0) {
    setpgid(0, 0);
    for (;;) pause();
  }
  setpgid(pid, pid);
  SHOW_RC(kill(-pid, SIGKILL));
  guest_reap("killed group", pid);
  return guest_end();
}
