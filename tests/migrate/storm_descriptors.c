// Which number a descriptor gets, which are open and which are listed is the same while the process moves,
// although the VMM opens and receives descriptors of its own meanwhile; and no close of the guest's meets one
// of those.  A second thread waits in accept(), which has taken its number long since.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int listener = -1;

static void* waits(void* unused) {
  (void)unused;
  return (void*)(long)accept(listener, NULL, NULL);
}

static unsigned listed(void) {
  unsigned count = 0;
  DIR* const dir = opendir("/proc/self/fd");
  if (dir == NULL) return 0;
  for (struct dirent* e; (e = readdir(dir)) != NULL;) count += e->d_name[0] != '.';
  closedir(dir);
  return count - 1;
}

enum { kKinds = 7 };

int main(void) {
  unsigned wrong[kKinds] = {0};
  close_range(3, ~0U, 0);  // whatever was inherited
  listener = socket(AF_UNIX, SOCK_STREAM, 0);
  const struct sockaddr any = {.sa_family = AF_UNIX};  // a name that nobody knows: nobody ever comes
  if (listener != 3 || bind(listener, &any, sizeof any.sa_family) != 0 || listen(listener, 1) != 0) return 1;
  pthread_t waiter;
  pthread_create(&waiter, NULL, waits, NULL);
  usleep(100000);
  // accept() holds number 4.
  const unsigned open_ones = listed();
  const double end = now() + 2.5;
  unsigned turns = 0;
  for (; now() < end; ++turns) {
    int p[2] = {-1, -1};
    const int a = open("/dev/null", O_RDONLY);
    const int b = dup(a);
    wrong[0] += a != 5 || b != 6;
    wrong[1] += pipe(p) != 0 || p[0] != 7 || p[1] != 8;
    for (int i = 7; i <= 8; ++i) close(i);
    // These would be the VMM's, if anything were there.
    for (int i = 7; i <= 14; ++i) {
      wrong[2] += close(i) != -1 || errno != EBADF;
      wrong[3] += fcntl(i, F_GETFD) != -1;
    }
    wrong[4] += dup2(a, 9) != 9 || close(9) != 0;
    wrong[5] += close_range(7, 100, 0) != 0;
    close(b);
    close(a);
    if (turns % 64 == 0) wrong[6] += listed() != open_ones;
  }
  for (int i = 0; i < kKinds; ++i)
    if (wrong[i] != 0) printf("kind %d: %u of %u\n", i, wrong[i], turns);
  puts("descriptors");
  return 0;
}
