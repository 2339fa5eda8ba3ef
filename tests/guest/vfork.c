// Goal: vfork: the parent waits until exec or exit, memory is shared until then, descriptors are not.
#include "guest.h"

#include <fcntl.h>
#include <sys/time.h>
#include <time.h>

static volatile int shared_memory;
static volatile sig_atomic_t handled;

static void on(int sig, siginfo_t* info, void* context) {
  (void)sig, (void)info, (void)context;
  handled = handled + 1;
}

int main(int argc, char** argv) {
  (void)argc;
  const char* helper = guest_sibling(argv[0], "echo_args", NULL);
  fflush(stdout);
  pid_t pid = vfork();
  if (pid == 0) {
    shared_memory = 41;
    close(0);
    _exit(3);
  }
  SHOW(shared_memory);
  guest_reap("exit", pid);
  SHOW(fcntl(0, F_GETFD));
  volatile int error = 0;
  pid = vfork();
  if (pid == 0) {
    execl("/nonexistent/program", "program", (char*)NULL);
    error = errno;  // how every shell learns of a failed exec
    _exit(127);
  }
  printf("error %s\n", guest_errname(error));
  guest_reap("failed exec", pid);
  fflush(stdout);
  pid = vfork();
  if (pid == 0) {
    execl(helper, "echo_args", "by vfork", (char*)NULL);
    _exit(127);
  }
  guest_reap("exec", pid);
  // Signals for the parent arrive after the child has gone on.
  guest_on(SIGALRM, on, 0);
  struct itimerval storm = {{0, 2000}, {0, 2000}};
  setitimer(ITIMER_REAL, &storm, NULL);
  for (int i = 0; i < 20; ++i) {
    pid = vfork();
    if (pid == 0) {
      shared_memory = i;
      struct timespec t = {0, 5000000};
      nanosleep(&t, NULL);
      _exit(0);
    }
    CHECK(shared_memory == i);
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) {
    }
  }
  memset(&storm, 0, sizeof storm);
  setitimer(ITIMER_REAL, &storm, NULL);
  SHOW(handled > 0);
  // A vfork child that is killed lets the parent go on.
  pid = vfork();
  if (pid == 0) {
    kill(getpid(), SIGKILL);
    _exit(0);
  }
  guest_reap("killed", pid);
  pid = fork();
  if (pid == 0) {
    pid_t inner = vfork();
    if (inner == 0) _exit(6);
    int status = 0;
    waitpid(inner, &status, 0);
    _exit(WEXITSTATUS(status) + 1);
  }
  guest_reap("vfork in a fork", pid);
  return guest_end();
}
