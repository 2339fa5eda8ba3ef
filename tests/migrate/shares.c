/* Maps the file argv[1] to write to it, and gives it back when a line comes. */
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

int main(int argc, char** argv) {
  char line[16];
  const int fd = open(argc > 1 ? argv[1] : "", O_RDWR | O_CREAT, 0600);
  if (fd < 0 || ftruncate(fd, 65536) != 0) return 2;
  void* const at = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (at == MAP_FAILED) return 2;
  puts("mapped");
  fflush(stdout);
  if (fgets(line, sizeof line, stdin) == NULL) return 1;
  munmap(at, 65536);
  puts("unmapped");
  fflush(stdout);
  return fgets(line, sizeof line, stdin) == NULL;
}
