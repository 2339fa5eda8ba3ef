/* Maps memory that is shared with others, and gives it back when a line comes. */
#include <stdio.h>
#include <sys/mman.h>

int main(void) {
  char line[16];
  void* const at = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  puts("mapped");
  fflush(stdout);
  if (fgets(line, sizeof line, stdin) == NULL) return 1;
  munmap(at, 65536);
  puts("unmapped");
  fflush(stdout);
  return fgets(line, sizeof line, stdin) == NULL;
}
