/* System calls with every kind of argument, at the edges of mappings, while somebody moves the process:
 * results, errors and memory must be those of a native run. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096UL
static int turn, failures;
static char* edge; /* the second of these two pages is not there */
static char* dark; /* PROT_NONE */
static char* pale; /* read only */
static char folder[] = "/tmp/storm_calls.XXXXXX";
static char file[64];

#define IS(expr, want) is(#expr, __LINE__, (errno = 0, (long)(expr)), (long)(want))
static void is(const char* text, int line, long got, long want) {
  if (got == -1 && errno != 0) got = -1000 - errno;
  if (got == want) return;
  if (failures++ < 20) printf("line %d: %s is %ld, not %ld\n", line, text, got, want);
}
#define FAILS(error) (-1000 - (error))

/* Not the C library's: it may go by another call and write by itself. */
#ifdef SYS_stat64
#define RAW_STAT SYS_stat64
#else
#define RAW_STAT SYS_stat
#endif
/* What the kernel makes of a buffer that is there in part: `some` bytes, or nothing. */
static int is_part(long got, long some) { return got == some || (got == -1 && errno == EFAULT); }

static void names(void) {
  struct stat st;
  const char* volatile none = NULL;
  char text[PAGE];
  IS(stat(file, &st), 0);
  IS(st.st_size, 8192);
  IS(stat("/nowhere at all", &st), FAILS(ENOENT));
  /* A path that ends with its page, and one that runs into nothing. */
  char* at = edge + PAGE - strlen(file) - 1;
  strcpy(at, file);
  memset(&st, 0, sizeof st);
  IS(stat(at, &st), 0);
  IS(st.st_size, 8192);
  memset(edge, 'a', PAGE);
  IS(stat(edge + PAGE - 10, &st), FAILS(EFAULT));
  IS(stat(dark, &st), FAILS(EFAULT));
  IS(stat(none, &st), FAILS(EFAULT));
  IS(syscall(RAW_STAT, file, (void*)dark), FAILS(EFAULT));
  IS(syscall(RAW_STAT, file, (void*)pale), FAILS(EFAULT));
  IS(syscall(RAW_STAT, file, (void*)(edge + PAGE - 8)), FAILS(EFAULT));
  /* Too long: 4096 with the 0. */
  static char longest[3 * PAGE];
  memset(longest, '/', sizeof longest);
  longest[4096] = 0;
  IS(access(longest, F_OK), FAILS(ENAMETOOLONG));
  longest[4095] = 0;
  IS(access(longest, F_OK), 0);
  longest[4095] = '/';
  IS(open(longest, O_RDONLY), FAILS(ENAMETOOLONG));
  snprintf(text, sizeof text, "%s/link", folder);
  IS(symlink(file, text), 0);
  char link[128];
  memset(link, 'z', sizeof link);
  IS(readlink(text, link, sizeof link), strlen(file));
  IS(memcmp(link, file, strlen(file)), 0);
  IS(link[strlen(file)], 'z');
  IS(readlink(text, dark, 10), FAILS(EFAULT));
  IS(readlink(text, link, 0), FAILS(EINVAL));
  char other[128];
  snprintf(other, sizeof other, "%s/other", folder);
  IS(rename(text, other), 0);
  IS(unlink(other), 0);
  IS(chdir(folder), 0);
  IS(getcwd(link, sizeof link) == link, 1);
  IS(strcmp(link, folder), 0);
  IS(syscall(SYS_getcwd, link, 3UL), FAILS(ERANGE));
}

static void bytes(void) {
  static char data[3 * PAGE];
  const int fd = open(file, O_RDWR);
  IS(fd >= 0, 1);
  memset(data, 7, sizeof data);
  IS(pread(fd, data + 100, 8192, 0), 8192);
  IS(data[99], 7);
  IS(data[100], 'f');
  IS(data[100 + 8191], 'f');
  IS(data[100 + 8192], 7);
  /* Short, at the end of the file: nothing behind what was read changes. */
  memset(data, 7, sizeof data);
  IS(pread(fd, data, 8192, 8000), 192);
  IS(data[191], 'f');
  IS(data[192], 7);
  IS(pread(fd, data, 100, 9000), 0);
  IS(read(fd, dark, 100), FAILS(EFAULT));
  IS(read(fd, pale, 100), FAILS(EFAULT));
  IS(read(fd, NULL, 0), 0);
  IS(lseek(fd, 0, SEEK_SET), 0);
  IS(lseek(fd, 0, SEEK_CUR), 0);
  /* Half of the buffer is there: a file gives what fits, or nothing; the kernel's word counts. */
  const long half = pread(fd, edge + PAGE - 100, 200, 0);
  const int half_is_right = is_part(half, 100);
  IS(half_is_right, 1);
  if (half == 100) IS(edge[PAGE - 1], 'f');
  memset(edge, 'e', PAGE);
  int p[2];
  IS(pipe(p), 0);
  IS(write(p[1], edge + PAGE - 50, 50), 50);
  IS(read(p[0], data, 100), 50);
  IS(data[49], 'e');
  IS(write(p[1], dark, 10), FAILS(EFAULT));
  IS(write(p[1], pale, 10), 10);
  IS(read(p[0], data, 10), 10);
  const long part = write(p[1], edge + PAGE - 50, 100);
  const int part_is_right = is_part(part, 50);
  IS(part_is_right, 1);
  if (part == 50) IS(read(p[0], data, 100), 50);
  IS(read(-1, data, 10), FAILS(EBADF));
  IS(pipe((int*)dark), FAILS(EFAULT));
  IS(close(p[0]) + close(p[1]), 0);
  struct iovec iov[3] = {{data, 10}, {data + 100, 20}, {data + 200, 30}};
  memset(data, 7, sizeof data);
  IS(preadv(fd, iov, 3, 8192 - 25), 25);
  IS(data[9] == 'f' && data[10] == 7 && data[114] == 'f' && data[115] == 7 && data[200] == 7, 1);
  IS(pwritev(fd, iov, 3, 0), 60);
  memset(data, 'f', 100);
  IS(pwrite(fd, data, 100, 0), 100);
  iov[1].iov_base = dark;
  const long some = preadv(fd, iov, 3, 0);
  const int some_is_right = is_part(some, 10);
  IS(some_is_right, 1);
  IS(readv(fd, (void*)dark, 2), FAILS(EFAULT));
  IS(close(fd), 0);
}

static void large(void) {
  static const size_t sizes[] = {60000, 65536, 200000, 1 << 20, (1 << 20) + 4096, 3 << 20};
  unsigned char* const big = malloc(4 << 20);
  char name[64];
  snprintf(name, sizeof name, "%s/big", folder);
  const int fd = open(name, O_RDWR | O_CREAT | O_TRUNC, 0600);
  const size_t n = sizes[turn % 6];
  for (size_t i = 0; i < n; ++i) big[i] = (unsigned char)(i * 7 + i / 4096);
  IS(pwrite(fd, big, n, 0), n);
  memset(big, 0, n);
  big[n] = 77;
  IS(pread(fd, big, n + 1, 0), n);
  size_t bad = 0;
  for (size_t i = 0; i < n; ++i) bad += big[i] != (unsigned char)(i * 7 + i / 4096);
  IS(bad, 0);
  IS(big[n], 77);
  close(fd);
  free(big);
}

static void words(void) {
  struct rlimit64 limit = {0, 0};
  IS(prlimit64(0, RLIMIT_NOFILE, NULL, &limit), 0);
  IS(limit.rlim_cur != 0, 1);
  struct utsname u;
  IS(uname(&u), 0);
  IS(strcmp(u.sysname, "Linux"), 0);
  IS(syscall(SYS_uname, dark), FAILS(EFAULT));
  struct sigaction old, act = {.sa_handler = SIG_IGN};
  struct sigaction* volatile same = &old;
  IS(sigaction(SIGUSR2, &act, &old), 0);
  IS(sigaction(SIGUSR2, NULL, &act), 0);
  IS(act.sa_handler == SIG_IGN, 1);
  IS(sigaction(SIGUSR2, &old, same), 0); /* one place for both */
  IS(old.sa_handler == SIG_IGN, 1);
  IS(syscall(SYS_rt_sigprocmask, SIG_BLOCK, dark, NULL, 8UL), FAILS(EFAULT));
  struct itimerval timer = {{0, 0}, {500, 0}};
  struct itimerval* volatile there = &timer;
  IS(setitimer(ITIMER_PROF, &timer, NULL), 0);
  IS(setitimer(ITIMER_PROF, &timer, there), 0);
  IS(timer.it_value.tv_sec > 400, 1);
  memset(&timer, 0, sizeof timer);
  IS(setitimer(ITIMER_PROF, &timer, NULL), 0);
  int n = 0;
  IS(ioctl(0, TIOCGWINSZ, &n) == -1, 1);
  char all[16];
  memset(all, 0, sizeof all);
  IS(syscall(SYS_getrandom, all, sizeof all, 0UL), sizeof all);
  IS(syscall(SYS_getrandom, dark, 16UL, 0UL), FAILS(EFAULT));
  const pid_t child = fork();
  if (child == 0) _exit(9);
  struct {
    int before, status, after;
  } s = {1, 2, 3};
  struct rusage usage;
  IS(wait4(child, &s.status, 0, &usage), child);
  IS(s.before == 1 && s.after == 3 && WIFEXITED(s.status) && WEXITSTATUS(s.status) == 9, 1);
  IS(wait4(child, &s.status, 0, NULL), FAILS(ECHILD));
}

static void sockets(void) {
  struct sockaddr_un a = {.sun_family = AF_UNIX}, b;
  snprintf(a.sun_path, sizeof a.sun_path, "%s/socket", folder);
  const int l = socket(AF_UNIX, SOCK_STREAM, 0);
  IS(bind(l, (struct sockaddr*)&a, sizeof a), 0);
  IS(listen(l, 5), 0);
  const int c = socket(AF_UNIX, SOCK_STREAM, 0);
  IS(connect(c, (struct sockaddr*)&a, sizeof a), 0);
  IS(connect(c, (struct sockaddr*)dark, sizeof a), FAILS(EFAULT));
  socklen_t n = sizeof b;
  const int s = accept(l, (struct sockaddr*)&b, &n);
  IS(s >= 0, 1);
  n = 10; /* room for a part of it: the length is the whole one's */
  memset(&b, 7, sizeof b);
  IS(getsockname(l, (struct sockaddr*)&b, &n), 0);
  IS(n, offsetof(struct sockaddr_un, sun_path) + strlen(a.sun_path) + 1);
  IS(memcmp(&a, &b, 10) == 0 && ((char*)&b)[10] == 7, 1);
  n = (socklen_t)-1;
  IS(getsockname(l, (struct sockaddr*)&b, &n), FAILS(EINVAL));
  char text[100];
  IS(send(c, "hello", 5, 0), 5);
  IS(recvfrom(s, text, sizeof text, MSG_PEEK, NULL, NULL), 5);
  IS(recv(s, text, sizeof text, MSG_DONTWAIT), 5);
  IS(memcmp(text, "hello", 5), 0);
  IS(recv(s, text, sizeof text, MSG_DONTWAIT), FAILS(EAGAIN));
  int v[2];
  IS(socketpair(AF_UNIX, SOCK_DGRAM, 0, v), 0);
  IS(send(v[0], "0123456789", 10, 0), 10);
  memset(text, 7, sizeof text);
  IS(recv(v[1], text, 4, MSG_TRUNC), 10);
  IS(text[3] == '3' && text[4] == 7, 1);
  const int e = epoll_create1(0);
  struct epoll_event ev = {.events = EPOLLIN, .data.u64 = 0x1234567890}, got[4];
  IS(epoll_ctl(e, EPOLL_CTL_ADD, v[1], &ev), 0);
  IS(send(v[0], "x", 1, 0), 1);
  memset(got, 7, sizeof got);
  IS(epoll_wait(e, got, 4, 1000), 1);
  IS(got[0].data.u64 == 0x1234567890 && ((char*)&got[1])[0] == 7, 1);
  close(e), close(v[0]), close(v[1]), close(s), close(c), close(l);
  IS(unlink(a.sun_path), 0);
}

static volatile int handled;
static void handler(int signo) { handled += signo == SIGALRM; }

/* A read that waits: interrupted without SA_RESTART, going on with it, and with data at last. */
static void waits(void) {
  int p[2];
  char text[8] = "7777777";
  IS(pipe(p), 0);
  for (int restart = 0; restart < 2; ++restart) {
    struct sigaction act = {.sa_handler = handler, .sa_flags = restart != 0 ? SA_RESTART : 0};
    IS(sigaction(SIGALRM, &act, NULL), 0);
    handled = 0;
    const pid_t child = restart != 0 ? fork() : 0;
    if (restart != 0 && child == 0) {
      usleep(60000);
      _exit(write(p[1], "abc", 3) == 3 ? 0 : 1);
    }
    const struct itimerval timer = {{0, 0}, {0, 30000}};
    IS(setitimer(ITIMER_REAL, &timer, NULL), 0);
    IS(read(p[0], text, sizeof text), restart != 0 ? 3 : FAILS(EINTR));
    IS(handled, 1);
    IS(memcmp(text, restart != 0 ? "abc7777" : "7777777", 8), 0);
    if (restart != 0) IS(waitpid(child, NULL, 0), child);
  }
  close(p[0]), close(p[1]);
}

/* Threads that change the buffer around what a call writes: no write of theirs is lost. */
static volatile int stop;
static struct {
  unsigned mine;
  char in[64];
  unsigned also;
} shared;
static void* scribbles(void* result) {
  unsigned n = 0;
  size_t bad = 0;
  while (!stop) {
    bad += shared.mine != n || shared.also != n;
    ++n;
    shared.mine = n;
    shared.also = n;
  }
  *(size_t*)result = bad;
  return NULL;
}
static void threads(void) {
  pthread_t t;
  size_t bad = 1;
  memset(&shared, 0, sizeof shared);
  stop = 0;
  IS(pthread_create(&t, NULL, scribbles, &bad), 0);
  const int fd = open(file, O_RDONLY);
  for (int i = 0; i < 30; ++i) {
    memset(shared.in, 0, sizeof shared.in);
    IS(pread(fd, shared.in, sizeof shared.in, 0), sizeof shared.in);
    IS(shared.in[0] == 'f' && shared.in[63] == 'f', 1);
  }
  close(fd);
  stop = 1;
  pthread_join(t, NULL);
  IS(bad, 0);
}

int main(int argc, char** argv) {
  const int seconds = argc > 1 ? atoi(argv[1]) : 3;
  edge = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  dark = mmap(NULL, PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  pale = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  munmap(edge + PAGE, PAGE);
  if (mkdtemp(folder) == NULL) return 2;
  snprintf(file, sizeof file, "%s/file", folder);
  char data[8192];
  memset(data, 'f', sizeof data);
  const int fd = open(file, O_RDWR | O_CREAT, 0600);
  if (write(fd, data, sizeof data) != sizeof data) return 2;
  close(fd);
  struct timespec begin, now;
  clock_gettime(CLOCK_MONOTONIC, &begin);
  do {
    ++turn;
    names();
    bytes();
    large();
    words();
    sockets();
    waits();
    threads();
    clock_gettime(CLOCK_MONOTONIC, &now);
  } while (now.tv_sec - begin.tv_sec < seconds && failures == 0);
  if (chdir("/") != 0) return 2;
  char name[64];
  snprintf(name, sizeof name, "%s/big", folder);
  unlink(name), unlink(file), rmdir(folder);
  printf("failures %d\n", failures);
  return failures != 0;
}
