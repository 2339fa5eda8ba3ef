// Goal: random bytes run as code never harm more than their own process.  A fixed seed; each child runs 64
// bytes of noise on a page of its own under an alarm, and must end in a way that a process can end.
#include "guest.h"

#include <sys/mman.h>
#include <sys/resource.h>

static uint64_t seed = 88172645463325252ULL;
static uint64_t next(void) {
  seed ^= seed << 13;
  seed ^= seed >> 7;
  return seed ^= seed << 17;
}

// Only bytes that cannot start a system call, so that noise stays noise: no 0f 05, 0f 34, cd 80.
static void fill(unsigned char* page) {
  for (int i = 0; i < 4096; ++i) page[i] = 0xcc;
  for (int i = 0; i < 64; ++i) {
    unsigned char byte = (unsigned char)next();
    if (byte == 0x0f || byte == 0xcd) byte = 0x90;
    page[i] = byte;
  }
}

int main(void) {
  unsigned char* page =
      mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  int ended = 0;
  for (int i = 0; i < 100; ++i) {
    fill(page);
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
      struct rlimit cpu = {1, 1};
      setrlimit(RLIMIT_CPU, &cpu);
      alarm(2);
      ((void (*)(void))page)();
      _exit(0);
    }
    int status = 0;
    CHECK(waitpid(pid, &status, 0) == pid);
    ended += WIFEXITED(status) || WIFSIGNALED(status);
  }
  SHOW(ended);
  return guest_end();
}
