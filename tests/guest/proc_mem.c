// Goal: /proc/self/mem reads and writes the program's own memory.  Not on kvm, where it would reach the VMM,
// too, and is refused with EACCES.
#include "guest.h"

#include <fcntl.h>

static int variable = 12345;

static void memory(void) {
  int fd = open("/proc/self/mem", O_RDWR);
  int copy = 0;
  SHOW_RC(pread(fd, &copy, sizeof copy, (off_t)(uintptr_t)&variable));
  SHOW(copy);
  copy = 777;
  SHOW_RC(pwrite(fd, &copy, sizeof copy, (off_t)(uintptr_t)&variable));
  SHOW(*(volatile int*)&variable);
  SHOW_RC(pread(fd, &copy, sizeof copy, 16));
  close(fd);
}

int main(void) {
  memory();
  return guest_end();
}
