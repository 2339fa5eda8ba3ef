// Goal: int $0x80 in a 64-bit program means the IA32 table: numbers, truncated pointers, preserved registers.
#include "guest.h"

#include <sys/mman.h>

static long int80(long n, long a, long b, long c) {
  long result;
  register long r12 __asm__("r12") = 0x1122334455667788;
  __asm__ volatile("int $0x80"
                   : "=a"(result), "+r"(r12)
                   : "a"(n), "b"(a), "c"(b), "d"(c)
                   : "memory", "r8", "r9", "r10", "r11");
  CHECK(r12 == 0x1122334455667788);
  return result;
}

int main(void) {
  SHOW(int80(20, 0, 0, 0) == getpid());
  SHOW(int80(24, 0, 0, 0) == (long)getuid());
  SHOW(int80(9999, 0, 0, 0));
  char* low = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
  strcpy(low, "written by int 0x80\n");
  fflush(stdout);
  SHOW(int80(4, 1, (long)low, 20));
  SHOW(int80(4, 1, (long)low | 0x100000000000, 1));
  SHOW(int80(4, 77, (long)low, 1));
  SHOW(int80(20 | 0x100000000, 0, 0, 0) == getpid());
  int fds[2];
  CHECK(pipe(fds) == 0);
  int* pair = (int*)(low + 1024);
  SHOW(int80(42, (long)pair, 0, 0));
  SHOW(pair[1] - pair[0]);
  SHOW(int80(5, (long)strcpy(low, "/nonexistent"), 0, 0));
  return guest_end();
}
