/* A child writes to memory that its parent shares; on each line from stdin the parent says what it finds
 * there. */
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PAGES = 32 };
struct shared {
  _Atomic unsigned long count; /* how far the child is */
  char rest[4096 - sizeof(unsigned long)];
  volatile unsigned long page[PAGES][512];
};

/* argv[1], if there is one: a file of /dev/shm that is mapped instead of anonymous memory. */
int main(int argc, char** argv) {
  char line[16];
  int fd = -1;
  if (argc > 1) {
    fd = open(argv[1], O_RDWR | O_CREAT, 0600);
    if (fd < 0 || ftruncate(fd, sizeof(struct shared)) != 0) return 2;
  }
  struct shared* const s =
      mmap(NULL, sizeof *s, PROT_READ | PROT_WRITE, fd < 0 ? MAP_SHARED | MAP_ANONYMOUS : MAP_SHARED, fd, 0);
  if (s == MAP_FAILED) return 2;
  const pid_t child = fork();
  if (child == 0)
    for (unsigned long i = 1;; ++i) {
      for (unsigned j = 0; j < 512; ++j) s->page[i % PAGES][j] = i;
      atomic_store(&s->count, i);
      for (volatile unsigned k = 0; k < 20000; ++k) continue;
    }
  printf("child %d\n", (int)child);
  fflush(stdout);
  while (fgets(line, sizeof line, stdin) != NULL) {
    if (line[0] == 'w') waitpid(child, NULL, 0);
    /* The child may be a page further, or in the middle of it. */
    const unsigned long count = atomic_load(&s->count);
    unsigned wrong = 0;
    for (unsigned long i = count > PAGES - 2 ? count - (PAGES - 2) : 1; line[0] == 'w' && i <= count; ++i)
      for (unsigned j = 0; j < 512; ++j) wrong += s->page[i % PAGES][j] != i;
    printf("count %lu wrong %u\n", count, wrong);
    fflush(stdout);
  }
  return 0;
}
