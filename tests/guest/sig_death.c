// Goal: every way to die gives the wait status that Linux gives, the core bit included.
#include "guest.h"

#include <sys/prctl.h>
#include <sys/resource.h>

static int deadly;

static void by_raise(void) {
  signal(deadly, SIG_DFL);
  raise(deadly);
}
static void by_kill(void) { kill(getpid(), deadly); }
static void by_pipe(void) {
  int fds[2];
  CHECK(pipe(fds) == 0);
  close(fds[0]);
  CHECK(write(fds[1], "x", 1) == 1);
}
static void by_abort(void) { abort(); }
static void by_abort_blocked(void) {
  sigset_t all;
  sigfillset(&all);
  sigprocmask(SIG_SETMASK, &all, NULL);
  signal(SIGABRT, SIG_IGN);
  abort();
}
static void by_cpu(void) {
  struct rlimit limit = {1, 2};
  setrlimit(RLIMIT_CPU, &limit);
  for (volatile long i = 0;; ++i) {
  }
}
static void by_file_size(void) {
  struct rlimit limit = {100, 100};
  setrlimit(RLIMIT_FSIZE, &limit);
  FILE* file = fopen("big", "w");
  for (int i = 0; i < 1000; ++i) fputc('x', file);
  fclose(file);
}
static void exit_big(void) { exit(0x1234); }
static void exit_negative(void) { _exit(-1); }
static void with_core(void) {
  struct rlimit limit = {RLIM_INFINITY, RLIM_INFINITY};
  getrlimit(RLIMIT_CORE, &limit);
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_CORE, &limit);
  abort();
}
static void not_dumpable(void) {
  prctl(PR_SET_DUMPABLE, 0);
  with_core();
}

int main(void) {
  static const int kSignals[] = {SIGHUP,  SIGINT,  SIGQUIT, SIGILL,  SIGTRAP, SIGBUS,  SIGFPE,   SIGKILL,
                                 SIGUSR1, SIGSEGV, SIGUSR2, SIGPIPE, SIGALRM, SIGTERM, SIGCHLD,  SIGURG,
                                 SIGXCPU, SIGXFSZ, SIGPROF, SIGSYS,  SIGPWR,  SIGIO,   SIGWINCH, SIGSTKFLT};
  for (size_t i = 0; i < sizeof kSignals / sizeof kSignals[0]; ++i) {
    deadly = kSignals[i];
    guest_child(sigabbrev_np(deadly), by_raise);
  }
  deadly = SIGRTMIN + 3;
  fflush(stdout);
  pid_t pid = fork();
  if (pid == 0) {
    by_raise();
    _exit(0);
  }
  int status = 0;
  waitpid(pid, &status, 0);
  printf("real-time: %d\n", WIFSIGNALED(status) && WTERMSIG(status) == SIGRTMIN + 3);
  deadly = SIGKILL;
  guest_child("kill -9 myself", by_kill);
  guest_child("write to a closed pipe", by_pipe);
  guest_child("abort", by_abort);
  guest_child("abort while blocked and ignored", by_abort_blocked);
  guest_child("RLIMIT_CPU", by_cpu);
  guest_child("RLIMIT_FSIZE", by_file_size);
  guest_child("exit(0x1234)", exit_big);
  guest_child("_exit(-1)", exit_negative);
  guest_child("abort with a core file allowed", with_core);
  guest_child("abort, not dumpable", not_dumpable);
  return guest_end();
}
