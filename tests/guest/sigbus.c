// Goal: file mappings: coherent with pwrite, private copies stay private, SIGBUS beyond the end with its
// address.
#include "guest.h"

#include <fcntl.h>
#include <setjmp.h>
#include <sys/mman.h>

enum { kPage = 4096, kRw = PROT_READ | PROT_WRITE };

static sigjmp_buf escape;
static siginfo_t last;

static void leave(int sig, siginfo_t* info, void* context) {
  (void)sig, (void)context;
  last = *info;
  siglongjmp(escape, 1);
}

static void touch(const char* label, char* at, int write) {
  if (sigsetjmp(escape, 1) == 0) {
    if (write != 0) {
      *(volatile char*)at = 'x';
    } else {
      (void)*(volatile char*)at;
    }
    printf("%s: fine\n", label);
  } else {
    printf("%s: SIG%s code %d address %s\n", label, sigabbrev_np(last.si_signo), last.si_code,
           last.si_addr == at ? "exact" : "WRONG");
  }
}

static void died(void) {
  signal(SIGBUS, SIG_DFL);
  int fd = open("file", O_RDWR);
  char* map = mmap(NULL, 16 * kPage, kRw, MAP_SHARED, fd, 0);
  map[15 * kPage] = 1;
}

int main(void) {
  guest_on(SIGBUS, leave, 0);
  guest_on(SIGSEGV, leave, 0);
  int fd = open("file", O_RDWR | O_CREAT | O_TRUNC, 0600);
  CHECK(ftruncate(fd, 2 * kPage + 100) == 0);
  char* shared = mmap(NULL, 8 * kPage, kRw, MAP_SHARED, fd, 0);
  char* copy = mmap(NULL, 8 * kPage, kRw, MAP_PRIVATE, fd, 0);
  for (int round = 0; round < 50; ++round) {
    char byte = (char)('A' + round % 26);
    CHECK(pwrite(fd, &byte, 1, round) == 1);
    CHECK(shared[round] == byte);
    shared[round + 1000] = byte;
    char back = 0;
    CHECK(pread(fd, &back, 1, round + 1000) == 1 && back == byte);
  }
  copy[0] = 'p';
  printf("%c %c %c\n", shared[0], copy[0], copy[1]);
  touch("read in the last page", shared + 2 * kPage + 3000, 0);
  SHOW(shared[2 * kPage + 3000]);
  touch("read beyond the end", shared + 3 * kPage + 5, 0);
  touch("write beyond the end", shared + 4 * kPage + 6, 1);
  touch("private read beyond", copy + 3 * kPage + 7, 0);
  touch("private write beyond", copy + 3 * kPage + 8, 1);
  CHECK(ftruncate(fd, 6 * kPage) == 0);
  touch("after growing", shared + 4 * kPage + 6, 1);
  copy[4 * kPage] = 'q';
  CHECK(ftruncate(fd, kPage) == 0);
  touch("after shrinking", shared + kPage, 0);
  touch("private page that was a copy", copy + 4 * kPage, 0);
  SHOW(copy[0]);
  SHOW_RC(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, kPage));
  SHOW(shared[0]);
  SHOW_RC(msync(shared, kPage, MS_SYNC));
  int read_only = open("file", O_RDONLY);
  SHOW_RC(mmap(NULL, kPage, kRw, MAP_SHARED, read_only, 0) == MAP_FAILED ? -1 : 0);
  char* view = mmap(NULL, kPage, PROT_READ, MAP_SHARED, read_only, 0);
  touch("write a read-only view", view, 1);
  SHOW_RC(mprotect(view, kPage, kRw));
  guest_child("no handler", died);
  return guest_end();
}
