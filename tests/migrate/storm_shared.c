/* Processes that share memory in each of the ways there are, and check that they see one memory.  Every line
 * it prints is the same however they are scheduled. */
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { PROCESSES = 3, ROUNDS = 400, PAGES = 8 };

struct shared {
  _Atomic unsigned long counter;
  unsigned long plain; /* under `mutex` */
  pthread_mutex_t mutex;
  pthread_cond_t turn_changed;
  pthread_barrier_t barrier;
  sem_t full, empty;
  unsigned turn;
  unsigned long ring[16];
  char gap[4096];
  _Atomic unsigned long flags[PROCESSES][512]; /* a page each */
  unsigned char pages[PAGES][4096];
};

static void die(const char* what) {
  perror(what);
  exit(1);
}

/* Computes for a while, so that moves find it at work. */
static void work(unsigned us) {
  struct timespec a, b;
  clock_gettime(CLOCK_MONOTONIC, &a);
  do clock_gettime(CLOCK_MONOTONIC, &b);
  while ((b.tv_sec - a.tv_sec) * 1000000 + (b.tv_nsec - a.tv_nsec) / 1000 < (long)us);
}

static void init(struct shared* s) {
  pthread_mutexattr_t m;
  pthread_condattr_t c;
  pthread_barrierattr_t b;
  memset(s, 0, sizeof *s);
  pthread_mutexattr_init(&m);
  pthread_mutexattr_setpshared(&m, PTHREAD_PROCESS_SHARED);
  pthread_mutex_init(&s->mutex, &m);
  pthread_condattr_init(&c);
  pthread_condattr_setpshared(&c, PTHREAD_PROCESS_SHARED);
  pthread_cond_init(&s->turn_changed, &c);
  pthread_barrierattr_init(&b);
  pthread_barrierattr_setpshared(&b, PTHREAD_PROCESS_SHARED);
  pthread_barrier_init(&s->barrier, &b, PROCESSES);
  sem_init(&s->full, 1, 0);
  sem_init(&s->empty, 1, 16);
}

/* What each of them does; returns how much it has found wrong. */
static int play(struct shared* s, unsigned self) {
  int wrong = 0;
  for (unsigned i = 0; i < ROUNDS; ++i) atomic_fetch_add(&s->counter, 1);
  pthread_barrier_wait(&s->barrier);
  if (atomic_load(&s->counter) != (unsigned long)PROCESSES * ROUNDS) ++wrong;
  for (unsigned i = 0; i < 60; ++i) {
    pthread_mutex_lock(&s->mutex);
    const unsigned long before = s->plain;
    if (i % 8 == 0) work(100);
    s->plain = before + 1;
    pthread_mutex_unlock(&s->mutex);
  }
  pthread_barrier_wait(&s->barrier);
  if (s->plain != 60UL * PROCESSES) ++wrong;
  /* In turn, waking each other. */
  for (unsigned i = 0; i < 20; ++i) {
    pthread_mutex_lock(&s->mutex);
    while (s->turn % PROCESSES != self) pthread_cond_wait(&s->turn_changed, &s->mutex);
    ++s->turn;
    pthread_cond_broadcast(&s->turn_changed);
    pthread_mutex_unlock(&s->mutex);
  }
  pthread_barrier_wait(&s->barrier);
  if (s->turn != 20 * PROCESSES) ++wrong;
  /* A ring: the first makes, the others take. */
  if (self == 0) {
    for (unsigned i = 0; i < 60 * (PROCESSES - 1); ++i) {
      sem_wait(&s->empty);
      s->ring[i % 16] = i + 1;
      sem_post(&s->full);
    }
  } else {
    for (unsigned i = 0; i < 60; ++i) {
      sem_wait(&s->full);
      pthread_mutex_lock(&s->mutex);
      const unsigned at = (unsigned)(s->plain++ - 60UL * PROCESSES) % 16;
      if (s->ring[at] == 0) ++wrong;
      s->ring[at] = 0;
      pthread_mutex_unlock(&s->mutex);
      sem_post(&s->empty);
    }
  }
  pthread_barrier_wait(&s->barrier);
  /* Dekker's question: of two who each set a flag and look at the other's, at least one sees it. */
  for (unsigned i = 0; i < 40; ++i) {
    if (self < 2) {
      atomic_store(&s->flags[self][0], 1);
      s->flags[self][1] = atomic_load(&s->flags[1 - self][0]);
    }
    pthread_barrier_wait(&s->barrier);
    if (self == 2 && s->flags[0][1] == 0 && s->flags[1][1] == 0) ++wrong;
    pthread_barrier_wait(&s->barrier);
    if (self < 2) atomic_store(&s->flags[self][0], 0);
    pthread_barrier_wait(&s->barrier);
  }
  /* Whole pages by everybody, a different part each; read by everybody. */
  for (unsigned i = 0; i < PAGES; ++i)
    for (unsigned j = self; j < 4096; j += PROCESSES) s->pages[i][j] = (unsigned char)(i * 7 + j);
  pthread_barrier_wait(&s->barrier);
  for (unsigned i = 0; i < PAGES; ++i)
    for (unsigned j = 0; j < 4096; ++j)
      if (s->pages[i][j] != (unsigned char)(i * 7 + j)) ++wrong;
  pthread_barrier_wait(&s->barrier);
  work(120000);
  return wrong;
}

static void run(const char* name, struct shared* s) {
  pid_t child[PROCESSES];
  int wrong = 0;
  init(s);
  for (unsigned i = 1; i < PROCESSES; ++i) {
    child[i] = fork();
    if (child[i] < 0) die("fork");
    if (child[i] == 0) _exit(play(s, i) != 0);
  }
  wrong = play(s, 0);
  for (unsigned i = 1; i < PROCESSES; ++i) {
    int status = 0;
    if (waitpid(child[i], &status, 0) != child[i]) die("waitpid");
    wrong += status;
  }
  printf("%s: counter %lu plain %lu turn %u wrong %d\n", name, atomic_load(&s->counter), s->plain, s->turn,
         wrong);
  fflush(stdout);
}

/* The file itself, beside its mapping. */
static void files(int fd, unsigned char* at, size_t bytes) {
  int wrong = 0;
  const pid_t child = fork();
  if (child < 0) die("fork");
  if (child == 0) {
    for (unsigned i = 0; i < 40; ++i) {
      at[i * 97] = (unsigned char)(i + 1);
      unsigned char back = 0;
      if (pread(fd, &back, 1, i * 97) != 1 || back != i + 1) ++wrong;
      const unsigned char new = (unsigned char)(i + 100);
      if (pwrite(fd, &new, 1, i * 97 + 50) != 1 || at[i * 97 + 50] != new) ++wrong;
      work(500);
    }
    _exit(wrong);
  }
  int status = 0;
  while (waitpid(child, &status, WNOHANG) == 0) {
    at[bytes - 1] += 1; /* keeps a page of it moving */
    work(300);
  }
  wrong = status;
  for (unsigned i = 0; i < 40; ++i) {
    unsigned char two[2] = {0};
    if (pread(fd, two, 1, i * 97) != 1 || two[0] != i + 1 || at[i * 97 + 50] != i + 100) ++wrong;
  }
  printf("file: wrong %d\n", wrong);
}

int main(void) {
  const size_t bytes = (sizeof(struct shared) + 4095) & ~(size_t)4095;
  char name[64];
  snprintf(name, sizeof name, "/storm_shared.%d", (int)getpid());
  struct shared* s = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (s == MAP_FAILED) die("mmap");
  run("anonymous", s);
  munmap(s, bytes);

  const int id = shmget(IPC_PRIVATE, bytes, 0600);
  s = shmat(id, NULL, 0);
  if (s == (void*)-1) die("shmat");
  shmctl(id, IPC_RMID, NULL);
  run("System V", s);
  shmdt(s);

  const int fd = shm_open(name, O_CREAT | O_EXCL | O_RDWR, 0600);
  if (fd < 0 || ftruncate(fd, (off_t)bytes) != 0) die("shm_open");
  s = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (s == MAP_FAILED) die("mmap");
  run("POSIX", s);
  files(fd, (unsigned char*)s, bytes);
  munmap(s, bytes);
  shm_unlink(name);
  return 0;
}
