// Goal: no mapping call changes what the launcher has in its zone.  What Linux would grant there (nothing is
// mapped natively) may be refused, so each result is only checked against the errors allowed; afterwards the
// program goes on.
#include "zone.h"

#include <sys/mman.h>
#include <sys/shm.h>

enum { kRw = PROT_READ | PROT_WRITE, kFixed = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED };

static void compute(void) {
  // Exercises what a damaged launcher could not do: calls, faults, fork, signals.
  char* area = mmap(NULL, 64 * kPage, kRw, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  CHECK(area != MAP_FAILED);
  for (int i = 0; i < 64; ++i) area[i * kPage] = 1;
  CHECK(munmap(area, 64 * kPage) == 0);
  fflush(stdout);
  pid_t pid = fork();
  if (pid == 0) _exit(5);
  guest_reap("child", pid);
}

static void place(char* at, size_t bytes) {
  CHECK(munmap(at, bytes) == 0 || errno == EINVAL || errno == EPERM || errno == ENOMEM);
  CHECK(mprotect(at, bytes, PROT_NONE) == -1);
  CHECK(mprotect(at, bytes, kRw | PROT_EXEC) == -1);
  CHECK(madvise(at, bytes, MADV_DONTNEED) == -1);
  CHECK(madvise(at, bytes, MADV_DONTFORK) == -1);
  CHECK(msync(at, bytes, MS_SYNC) == -1);
  CHECK(mlock(at, bytes) == -1);
  CHECK(mremap(at, kPage, 2 * kPage, MREMAP_MAYMOVE) == MAP_FAILED);
  CHECK(mremap(at, bytes, kPage, MREMAP_MAYMOVE) == MAP_FAILED);
  // With a hint only, the place must be another one or be usable.
  char* hinted = mmap(at, kPage, kRw, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  CHECK(hinted != MAP_FAILED);
  if (hinted != MAP_FAILED) {
    hinted[0] = 1;
    munmap(hinted, kPage);
  }
  char* source = mmap(NULL, kPage, kRw, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  char* moved = mremap(source, kPage, kPage, MREMAP_MAYMOVE | MREMAP_FIXED, at);
  if (moved != MAP_FAILED) {
    moved[0] = 2;
    munmap(moved, kPage);
  }
  char* fixed = mmap(at, kPage, kRw, kFixed, -1, 0);
  if (fixed != MAP_FAILED) {
    CHECK(fixed == at);
    fixed[0] = 3;
    munmap(fixed, kPage);
  }
  int id = shmget(IPC_PRIVATE, kPage, IPC_CREAT | 0600);
  char* attached = shmat(id, at, SHM_REMAP);
  if (attached != (void*)-1) shmdt(attached);
  shmctl(id, IPC_RMID, NULL);
}

int main(void) {
  for (int i = 0; i < kZonePlaces; ++i) {
    place(kZone[i], kPage);
    compute();
  }
#ifdef __x86_64__
  place((char*)0x6a8000000000, 64 << 20);
  compute();
  place((char*)0x6a0000000000, 0x10000000000);
  compute();
  // One munmap from below the zone to above it.
  int rc = munmap((char*)0x69ff00000000, 0x10200000000);
  CHECK(rc == 0 || errno == EINVAL || errno == EPERM || errno == ENOMEM);
  compute();
#endif
  return guest_end();
}
