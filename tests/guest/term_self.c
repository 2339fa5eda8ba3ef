// Goal: output before a plain SIGTERM of one's own process group member, status through the launcher.
#include "guest.h"

int main(void) {
  printf("before");  // no newline: lost, because SIGTERM flushes nothing
  kill(getpid(), SIGTERM);
  pause();
  return 0;
}
