// Goal: a target of exec.  Prints arguments, environment, open descriptors, blocked and ignored signals.
#include "guest.h"

#include <fcntl.h>

extern char** environ;

int main(int argc, char** argv) {
  printf("%d bits, argc %d\n", (int)(8 * sizeof(void*)), argc);
  for (int i = 1; i < argc; ++i) printf("  arg [%s]\n", argv[i]);
  for (char** e = environ; *e != NULL; ++e) {
    if (strncmp(*e, "KEEP", 4) == 0) printf("  env [%s]\n", *e);
  }
  for (int fd = 3; fd < 1024; ++fd) {
    if (fcntl(fd, F_GETFD) >= 0) printf("  fd %d\n", fd);
  }
  sigset_t blocked;
  sigprocmask(SIG_BLOCK, NULL, &blocked);
  for (int sig = 1; sig < 65; ++sig) {
    struct sigaction action;
    if (sigaction(sig, NULL, &action) != 0) continue;
    if (sigismember(&blocked, sig) == 1) printf("  blocked %d\n", sig);
    if (action.sa_handler == SIG_IGN) printf("  ignored %d\n", sig);
    if (action.sa_handler != SIG_IGN && action.sa_handler != SIG_DFL) printf("  handled %d\n", sig);
  }
  return 7;
}
