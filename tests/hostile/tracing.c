// Goal: a guest that traces its children, or lets itself be traced, gets what Linux gives.
#include "guest.h"

#include <sys/ptrace.h>
#include <sys/user.h>

static void traced(void) {
  SHOW_RC(ptrace(PTRACE_TRACEME, 0, NULL, NULL));
  fflush(stdout);
  raise(SIGSTOP);
  raise(SIGUSR1);
  _exit(7);
}

int main(void) {
  static volatile long variable = 42;
  fflush(stdout);
  pid_t pid = fork();
  if (pid == 0) traced();
  int status = 0;
  CHECK(waitpid(pid, &status, 0) == pid);
  guest_show_status("first stop", status);
  errno = 0;
  SHOW(ptrace(PTRACE_PEEKDATA, pid, (void*)&variable, NULL) & 0xff);
  SHOW_RC(ptrace(PTRACE_POKEDATA, pid, (void*)&variable, (void*)43));
  SHOW(ptrace(PTRACE_PEEKDATA, pid, (void*)&variable, NULL) & 0xff);
  SHOW(variable);
  SHOW_RC(ptrace(PTRACE_PEEKDATA, pid, (void*)16, NULL));
  SHOW_RC(ptrace(PTRACE_SETOPTIONS, pid, NULL, (void*)PTRACE_O_EXITKILL));
  SHOW_RC(ptrace(PTRACE_CONT, pid, NULL, NULL));
  CHECK(waitpid(pid, &status, 0) == pid);
  guest_show_status("signal stop", status);
  SHOW_RC(ptrace(PTRACE_CONT, pid, NULL, NULL));  // the signal is dropped
  guest_reap("end", pid);
  SHOW_RC(ptrace(PTRACE_CONT, 0x7ffffff0, NULL, NULL));
  SHOW_RC(ptrace(PTRACE_ATTACH, getpid(), NULL, NULL));
  pid = fork();
  if (pid == 0) {
    for (;;) pause();
  }
  SHOW_RC(ptrace(PTRACE_ATTACH, pid, NULL, NULL));
  CHECK(waitpid(pid, &status, 0) == pid);
  guest_show_status("attached", status);
  SHOW_RC(ptrace(PTRACE_DETACH, pid, NULL, NULL));
  kill(pid, SIGTERM);
  guest_reap("detached", pid);
  return guest_end();
}
