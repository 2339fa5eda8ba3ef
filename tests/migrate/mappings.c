/* mappings FILE NAME: maps memory of every kind that processes share.  At a line from stdin it gives the file
 * back and maps a hundred pieces more, at the next it looks whether all still hold what it has written. */
#include <fcntl.h>
#include <stdio.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <unistd.h>

enum { PAGE = 4096, MORE = 100 };

static void* map(int fd, size_t pages) {
  if (fd >= 0 && ftruncate(fd, (off_t)(pages * PAGE)) != 0) return MAP_FAILED;
  return mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, fd < 0 ? MAP_SHARED | MAP_ANONYMOUS : MAP_SHARED,
              fd, 0);
}

static int next(const char* what) {
  char line[16];
  puts(what);
  fflush(stdout);
  return fgets(line, sizeof line, stdin) != NULL;
}

int main(int argc, char** argv) {
  char* all[4 + MORE];
  unsigned n = 0;
  if (argc < 3) return 2;
  const int segment = shmget(IPC_PRIVATE, 16 * PAGE, IPC_CREAT | 0600);
  if (segment < 0) return 2;
  char* const file = map(open(argv[1], O_RDWR | O_CREAT, 0600), 20);
  all[n++] = map(-1, 4);
  all[n++] = map(memfd_create("ring", 0), 8);
  all[n++] = map(shm_open(argv[2], O_RDWR | O_CREAT, 0600), 12);
  all[n++] = shmat(segment, NULL, 0);
  shmctl(segment, IPC_RMID, NULL);
  if (file == MAP_FAILED || !next("mapped")) return 2;
  munmap(file, 20 * PAGE);
  while (n < 4 + MORE) all[n++] = map(memfd_create("one of many", 0), 1);
  for (unsigned i = 0; i < n; ++i) {
    if (all[i] == MAP_FAILED) return 3;
    all[i][i] = (char)(i + 1);
  }
  if (!next("more")) return 2;
  for (unsigned i = 0; i < n; ++i)
    if (all[i][i] != (char)(i + 1)) return 4;
  return 0;
}
