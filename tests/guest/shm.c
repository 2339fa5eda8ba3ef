// Goal: memory shared between processes: MAP_SHARED|MAP_ANONYMOUS over fork, memfd with seals, SysV segments.
#include "guest.h"

#include <fcntl.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/shm.h>

enum { kPage = 4096, kRw = PROT_READ | PROT_WRITE, kRounds = 20000 };

struct Shared {
  _Atomic int turn;
  _Atomic int total;
  int plain[64];
};

// Parent and child take turns adding to a plain counter: an update that one does not see changes the sum.
static void ping_pong(struct Shared* s, int me) {
  for (int i = 0; i < 200; ++i) {
    while (s->turn != me) usleep(0);
    s->plain[i % 64]++;
    s->turn = 1 - me;
  }
  for (int i = 0; i < kRounds; ++i) s->total++;
}

static void over_fork(struct Shared* s, const char* label) {
  memset(s, 0, sizeof *s);
  fflush(stdout);
  pid_t pid = fork();
  if (pid == 0) {
    ping_pong(s, 1);
    _exit(0);
  }
  ping_pong(s, 0);
  guest_reap(label, pid);
  int sum = 0;
  for (int i = 0; i < 64; ++i) sum += s->plain[i];
  printf("%s: %d %d\n", label, sum, s->total);
}

int main(void) {
  over_fork(mmap(NULL, kPage, kRw, MAP_SHARED | MAP_ANONYMOUS, -1, 0), "anonymous");
  int fd = memfd_create("guest", MFD_ALLOW_SEALING);
  SHOW_RC(ftruncate(fd, 4 * kPage));
  struct Shared* map = mmap(NULL, 4 * kPage, kRw, MAP_SHARED, fd, 0);
  over_fork(map, "memfd");
  struct Shared* again = mmap(NULL, 4 * kPage, kRw, MAP_SHARED, fd, 0);
  again->plain[5] = 77;
  SHOW(map->plain[5]);
  SHOW_RC(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE));
  SHOW_RC(munmap(map, 4 * kPage) + munmap(again, 4 * kPage));
  SHOW_RC(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK));
  SHOW_RC(write(fd, "x", 1));
  SHOW_RC(ftruncate(fd, 0));
  SHOW_RC(mmap(NULL, kPage, kRw, MAP_SHARED, fd, 0) == MAP_FAILED ? -1 : 0);
  int id = shmget(IPC_PRIVATE, 4 * kPage, IPC_CREAT | 0600);
  CHECK(id >= 0);
  struct Shared* segment = shmat(id, NULL, 0);
  CHECK(segment != (void*)-1);
  over_fork(segment, "SysV");
  char* reader = shmat(id, NULL, SHM_RDONLY);
  CHECK(reader != (void*)-1);
  struct shmid_ds state;
  SHOW_RC(shmctl(id, IPC_STAT, &state));
  SHOW(state.shm_nattch);
  SHOW(state.shm_segsz);
  SHOW_RC(shmctl(id, IPC_RMID, NULL));
  SHOW_RC(shmdt(reader));
  SHOW_RC(shmdt(reader));
  SHOW_RC(shmdt(segment));
  return guest_end();
}
