/* Calls whose structures differ between the ABIs, messages, and waiting for descriptors, made with the kernel's own
 * structures, at the edges of mappings, while somebody moves the process.  What the first turn has seen is printed, to
 * be compared with a native run; each later turn must see the same. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096UL
#define BIG 0xc0001000LL /* bytes of a file that is larger than a 32-bit off_t can say */
static char* edge; /* the second of these two pages is not there */
static char* dark; /* PROT_NONE */
static char* pale; /* read only */
static char folder[] = "/tmp/storm_layouts.XXXXXX";
static char small[64], big[64], list[64];

static char seen[1 << 18];
static size_t at;
static void say(const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  at += (size_t)vsnprintf(seen + at, sizeof seen - at, format, arguments);
  va_end(arguments);
}

/* The result of a call, as the kernel gives it. */
#define TELL(...) tell(#__VA_ARGS__, __LINE__, (errno = 0, (long)(__VA_ARGS__)))
static long tell(const char* text, int line, long result) {
  const int error = errno;
  if (result == -1 && error != 0)
    say("%d %s: error %d\n", line, text, error);
  else
    say("%d %s: %ld\n", line, text, result);
  return result;
}
#define TRUE(condition) say("%d %s: %s\n", __LINE__, #condition, (condition) ? "yes" : "no")

/* Bytes that a call has no business with. */
static void fill(void* to, size_t bytes) { memset(to, 0x5a, bytes); }
static int is_filled(const void* from, size_t bytes) {
  for (size_t i = 0; i < bytes; ++i)
    if (((const unsigned char*)from)[i] != 0x5a) return 0;
  return 1;
}

#ifdef __i386__
/* struct stat64 and struct stat of arch/x86/include/uapi/asm/stat.h. */
struct wide {
  unsigned long long dev;
  unsigned char pad0[4];
  unsigned ino_low, mode, nlink, uid, gid;
  unsigned long long rdev;
  unsigned char pad3[4];
  long long size;
  unsigned blksize;
  unsigned long long blocks;
  unsigned atime, atime_ns, mtime, mtime_ns, ctime, ctime_ns;
  unsigned long long ino;
} __attribute__((packed));
struct narrow {
  unsigned dev, ino;
  unsigned short mode, nlink, uid, gid;
  unsigned rdev, size, blksize, blocks, atime, atime_ns, mtime, mtime_ns, ctime, ctime_ns, unused[2];
};

static void look_wide(const char* what, const struct wide* s, const struct statx* x) {
  say("%s: mode %o links %u size %lld block %u pads %d ino %d times %d\n", what, s->mode, s->nlink, s->size,
      s->blksize, is_filled(s->pad0, 4) && is_filled(s->pad3, 4), s->ino == x->stx_ino && s->ino_low == (unsigned)s->ino,
      s->mtime == (unsigned)x->stx_mtime.tv_sec && s->mtime_ns == x->stx_mtime.tv_nsec &&
          s->ctime_ns == x->stx_ctime.tv_nsec && s->blocks == x->stx_blocks);
}

static void states(void) {
  struct {
    struct wide s;
    char behind[16];
  } w;
  struct {
    struct narrow s;
    char behind[16];
  } n;
  struct statx x;
  const char* const names[] = {small, big, "/dev/null", folder};
  for (int i = 0; i < 4; ++i) {
    TELL(syscall(SYS_statx, AT_FDCWD, names[i], 0, STATX_BASIC_STATS, &x));
    fill(&w, sizeof w);
    TELL(syscall(SYS_stat64, names[i], &w.s));
    look_wide("stat64", &w.s, &x);
    fill(&w, sizeof w);
    TELL(syscall(SYS_lstat64, names[i], &w.s));
    look_wide("lstat64", &w.s, &x);
    fill(&w, sizeof w);
    TELL(syscall(SYS_fstatat64, AT_FDCWD, names[i], &w.s, AT_SYMLINK_NOFOLLOW));
    look_wide("fstatat64", &w.s, &x);
    const int fd = open(names[i], O_RDONLY | 0100000);
    fill(&w, sizeof w);
    TELL(syscall(SYS_fstat64, fd, &w.s));
    look_wide("fstat64", &w.s, &x);
    TRUE(is_filled(w.behind, sizeof w.behind));
    fill(&n, sizeof n);
    TELL(syscall(SYS_stat, names[i], &n.s) != 0 && errno != EOVERFLOW);
    TELL(syscall(SYS_fstat, fd, &n.s) != 0 && errno != EOVERFLOW);
    TRUE(is_filled(n.behind, sizeof n.behind));
    close(fd);
  }
  fill(&n, sizeof n);
  TELL(syscall(SYS_stat, big, &n.s));
  TRUE(is_filled(&n, sizeof n));
  TELL(syscall(SYS_stat64, "/nowhere at all", &w.s));
  TELL(syscall(SYS_stat64, small, dark));
  TELL(syscall(SYS_stat64, small, pale));
  TELL(syscall(SYS_stat64, dark, &w.s));
  TELL(syscall(SYS_stat64, small, edge + PAGE - 40));
  TELL(syscall(SYS_fstatat64, AT_FDCWD, small, &w.s, 0x40000));
  TELL(syscall(SYS_fstatat64, AT_FDCWD, "", &w.s, AT_EMPTY_PATH));
  say("mode %o\n", w.s.mode & S_IFMT);
}

/* Descriptors of files that are larger than their opener says it can deal with. */
static void largefiles(void) {
  TELL(syscall(SYS_open, big, O_RDONLY));
  TELL(syscall(SYS_openat, AT_FDCWD, big, O_RDONLY));
  TELL(syscall(SYS_open, big, O_RDWR | O_TRUNC));
  int fd = (int)TELL(syscall(SYS_open, big, O_RDONLY | 0100000));
  TELL(fcntl(fd, F_GETFL) & 0100000);
  close(fd);
  fd = (int)TELL(syscall(SYS_open, small, O_RDWR));
  TELL(fcntl(fd, F_GETFL) & 0100000);
  TELL(pwrite64(fd, "x", 1, 0x80000000LL));
  TELL(syscall(SYS_ftruncate, fd, 8192));
  close(fd);
  char name[96];
  snprintf(name, sizeof name, "%s/made", folder);
  fd = (int)TELL(syscall(SYS_creat, name, 0640));
  close(fd);
  TELL(syscall(SYS_open, name, O_RDONLY | O_CREAT | O_EXCL, 0600));
  TELL(unlink(name));
  TELL(syscall(SYS_open, dark, O_RDONLY));
  long long where = 0x5a5a;
  fd = open(big, O_RDONLY | 0100000);
  TELL(syscall(SYS__llseek, fd, 1, 5, &where, SEEK_SET));
  say("%lld\n", where);
  TELL(syscall(SYS__llseek, fd, -1, -4096, &where, SEEK_END));
  say("%lld\n", where);
  TELL(syscall(SYS__llseek, fd, -1, -1, &where, SEEK_SET));
  TELL(syscall(SYS__llseek, fd, 0, 0, &where, 9));
  TELL(syscall(SYS__llseek, fd, 0, 77, dark, SEEK_SET));
  TELL(syscall(SYS__llseek, fd, 0, 0, &where, SEEK_CUR));
  say("%lld\n", where);
  TELL(syscall(SYS__llseek, -1, 0, 0, &where, SEEK_CUR));
  close(fd);
}

static void limits(void) {
  struct {
    unsigned now, most;
    char behind[8];
  } old, now;
  for (int what = 0; what < 16; ++what) {
    fill(&old, sizeof old);
    fill(&now, sizeof now);
    say("limit %d: %ld %ld ", what, (long)syscall(SYS_getrlimit, what, &old), (long)syscall(SYS_ugetrlimit, what, &now));
    say("%x %x %x %x %d\n", old.now, old.most, now.now, now.most, is_filled(now.behind, 8));
  }
  TELL(syscall(SYS_ugetrlimit, RLIMIT_STACK, dark));
  TELL(syscall(SYS_ugetrlimit, 99, &now));
}

static void systems(void) {
  unsigned char s[84 + 8];
  fill(s, sizeof s);
  const int fd = open(folder, O_RDONLY | O_DIRECTORY);
  TELL(syscall(SYS_statfs64, folder, 84, s));
  say("%x\n", *(unsigned*)s);
  TRUE(is_filled(s + 84, 8));
  TELL(syscall(SYS_fstatfs64, fd, 84, s));
  TELL(syscall(SYS_fstatfs64, fd, 88, s));
  TELL(syscall(SYS_statfs64, folder, 0, s));
  TELL(syscall(SYS_statfs64, folder, 84, dark));
  TELL(syscall(SYS_statfs64, dark, 84, s));
  close(fd);
}

/* A lock that another process asks about. */
static void locks(void) {
  const int fd = open(small, O_RDWR);
  struct {
    short type, whence;
    long long start, length;
    int pid;
  } __attribute__((packed)) lock = {F_WRLCK, SEEK_SET, 10, 20, 0}, got;
  TELL(syscall(SYS_fcntl64, fd, 13 /* F_SETLK64 */, &lock));
  const pid_t parent = getpid();
  const pid_t child = fork();
  if (child == 0) {
    got = lock;
    got.start = 0, got.length = 0, got.pid = 0;
    const long rc = syscall(SYS_fcntl64, fd, 12 /* F_GETLK64 */, &got);
    _exit(rc == 0 && got.type == F_WRLCK && got.start == 10 && got.length == 20 && got.pid == parent ? 7 : 1);
  }
  int status = 0;
  TELL(syscall(SYS_waitpid, child, &status, 0) == child);
  say("%x\n", status);
  TELL(syscall(SYS_fcntl64, fd, 12, dark));
  TELL(syscall(SYS_fcntl, fd, F_GETLK, &lock) == 0 || errno == EINVAL);
  close(fd);
}

static void times32(void) {
  const int tv[4] = {1000000000, 5, 1100000000, 7}, bad[4] = {0, 1000000000, 0, 0};
  struct statx x;
  TELL(syscall(SYS_utimensat, AT_FDCWD, small, tv, 0));
  TELL(syscall(SYS_statx, AT_FDCWD, small, 0, STATX_BASIC_STATS, &x));
  say("%lld %u %lld %u\n", (long long)x.stx_atime.tv_sec, x.stx_atime.tv_nsec, (long long)x.stx_mtime.tv_sec,
      x.stx_mtime.tv_nsec);
  TELL(syscall(SYS_utimensat, AT_FDCWD, small, bad, 0));
  const long long wide[4] = {0x123456789LL, 3, 77, 0x500000004LL}; /* the upper half of nanoseconds is not looked at */
  TELL(syscall(SYS_utimensat_time64, AT_FDCWD, small, wide, 0));
  TELL(syscall(SYS_statx, AT_FDCWD, small, 0, STATX_BASIC_STATS, &x));
  say("%lld %u %lld %u\n", (long long)x.stx_atime.tv_sec, x.stx_atime.tv_nsec, (long long)x.stx_mtime.tv_sec,
      x.stx_mtime.tv_nsec);
  const int timer[4] = {0, 0, 500, 0};
  int old[6];
  fill(old, sizeof old);
  TELL(syscall(SYS_setitimer, ITIMER_REAL, timer, NULL));
  TELL(syscall(SYS_getitimer, ITIMER_REAL, old));
  TRUE(old[0] == 0 && old[1] == 0 && old[2] >= 490 && old[2] <= 500 && is_filled(old + 4, 8));
  const int none[4] = {0, 0, 0, 0};
  TELL(syscall(SYS_setitimer, ITIMER_REAL, none, old));
  TRUE(old[2] >= 490 && is_filled(old + 4, 8));
  const int fd = timerfd_create(CLOCK_MONOTONIC, 0);
  TELL(syscall(SYS_timerfd_settime, fd, 0, timer, NULL));
  fill(old, sizeof old);
  TELL(syscall(SYS_timerfd_settime, fd, 0, none, old));
  TRUE(old[2] >= 490 && old[2] <= 500 && is_filled(old + 4, 8));
  close(fd);
}

static void only32(void) {
  states();
  largefiles();
  limits();
  systems();
  locks();
  times32();
}
#else
static void only32(void) {}
#endif

static void listing(size_t room) {
  static char entries[70000];
  const int fd = open(list, O_RDONLY | O_DIRECTORY);
  unsigned calls = 0, count = 0, sum = 0;
  long long tenth = -1;
  char eleventh[64] = "";
  for (;;) {
    fill(entries, sizeof entries);
    errno = 0;
    const long got = syscall(SYS_getdents64, fd, entries, room);
    if (calls < 4) say("getdents64 %zu: %ld error %d\n", room, got, got < 0 ? errno : 0);
    ++calls;
    if (got <= 0) break;
    if (!is_filled(entries + room, 100)) say("behind it\n");
    for (long i = 0; i < got;) {
      unsigned short length;
      long long next;
      memcpy(&length, entries + i + 16, sizeof length);
      memcpy(&next, entries + i + 8, sizeof next);
      const char* const name = entries + i + 19;
      for (const char* c = name; *c != 0; ++c) sum += (unsigned char)*c;
      ++count;
      if (count == 10) tenth = next;
      if (count == 11) snprintf(eleventh, sizeof eleventh, "%s", name);
      i += length;
    }
  }
  say("%u calls %u names sum %u\n", calls, count, sum);
  if (count >= 11) {
    lseek64(fd, tenth, SEEK_SET);
    fill(entries, sizeof entries);
    TELL(syscall(SYS_getdents64, fd, entries, room) > 0);
    TRUE(strcmp(entries + 19, eleventh) == 0);
  }
  close(fd);
}

static void listings(void) {
  static const size_t rooms[] = {65536, 32768, 4096, 2048, 1000, 300, 24, 8, 0};
  for (unsigned i = 0; i < sizeof rooms / sizeof rooms[0]; ++i) listing(rooms[i]);
  const int fd = open(list, O_RDONLY | O_DIRECTORY);
  TELL(syscall(SYS_getdents64, fd, dark, 4096));
  TELL(syscall(SYS_getdents64, -1, seen, 4096));
  close(fd);
}

static void vectors(void) {
  static char data[40 * 100];
  struct iovec iov[1100];
  int p[2];
  TELL(pipe(p));
  const int fd = open(small, O_RDWR);
  for (int i = 0; i < 1100; ++i) iov[i] = (struct iovec){data + i % 40 * 100, 10};
  for (int i = 0; i < 8192; i += 512) TELL(pwrite(fd, &"abcdefghijklmnop"[i / 512], 1, i) == 1);
  static const int counts[] = {0, 1, 2, 7, 19, 20, 40, 1024, 1025, -1};
  for (unsigned i = 0; i < sizeof counts / sizeof counts[0]; ++i) {
    fill(data, sizeof data);
    const int n = counts[i];
    TELL(syscall(SYS_preadv, fd, iov, n, 512L, 0L));
    TRUE(data[0] == (n > 0 && n <= 1024 ? (n == 1024 ? data[0] : 'b') : 0x5a) && is_filled(data + 10, 90));
  }
  fill(data, sizeof data);
  iov[1].iov_len = (size_t)-1;
  TELL(syscall(SYS_readv, fd, iov, 3));
  TELL(syscall(SYS_writev, -1, iov, 3));
  iov[1].iov_len = 0x80000000UL;
  TELL(syscall(SYS_writev, p[1], iov, sizeof(long) == 4 ? 3 : 1));
  iov[1] = (struct iovec){NULL, 0};
  TELL(syscall(SYS_writev, p[1], iov, 3));
  TELL(syscall(SYS_readv, p[0], iov, 3));
  iov[1] = (struct iovec){dark, 5};
  memset(data, 'q', sizeof data);
  TELL(syscall(SYS_writev, p[1], iov, 3));
  fcntl(p[0], F_SETFL, O_NONBLOCK);
  fill(data, sizeof data);
  TELL(syscall(SYS_read, p[0], data, 100));
  TELL(write(p[1], "0123456789abcdefghijklmno", 25));
  fill(data, sizeof data);
  TELL(syscall(SYS_readv, p[0], iov, 3));
  say("%.10s %d\n", data, is_filled(data + 10, 1000));
  TELL(syscall(SYS_read, p[0], data, 100));
  iov[1] = (struct iovec){data + 5, 10}; /* over the first */
  TELL(write(p[1], "0123456789abcdefghijklmno", 25));
  fill(data, sizeof data);
  TELL(syscall(SYS_readv, p[0], iov, 2));
  say("%.15s %d\n", data, is_filled(data + 15, 100));
  TELL(syscall(SYS_read, p[0], data, 100));
  TELL(syscall(SYS_readv, p[0], edge + PAGE - sizeof iov[0], 2));
  TELL(syscall(SYS_readv, p[0], dark, 1));
  TELL(syscall(SYS_readv, p[1], iov, 1));
  TELL(syscall(SYS_preadv2, fd, iov, 1, -1L, -1L, 0));
  TELL(syscall(SYS_preadv2, fd, iov, 1, 0L, 0L, 0x4000));
  TELL(syscall(SYS_pwritev2, fd, iov, 1, 8192L, 0L, 0));
  TELL(ftruncate(fd, 8192));
  /* Longer than a 32-bit number has room for a sign. */
  char* const room = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  TELL(lseek(fd, 0, SEEK_SET));
  TELL(syscall(SYS_read, fd, room, 0x80000000UL));
  TELL(syscall(SYS_pread64, fd, room, 0xfffff000UL, 8100L, 0L));
  const int null = open("/dev/null", O_WRONLY);
  TELL(syscall(SYS_write, null, room, 0x80000001UL));
  TELL(syscall(SYS_write, null, room, 0x7fffffffUL));
  close(null);
  munmap(room, 4 * PAGE);
  close(fd), close(p[0]), close(p[1]);
}

/* A message as it was received, with nothing else changed. */
static void tell_message(const struct msghdr* m, const struct msghdr* before) {
  say("name %d iov %d control %d namelen %d controllen %d flags %x\n", m->msg_name == before->msg_name,
      m->msg_iov == before->msg_iov && m->msg_iovlen == before->msg_iovlen, m->msg_control == before->msg_control,
      (int)m->msg_namelen, (int)m->msg_controllen, (unsigned)m->msg_flags);
}

static long send_message(int fd, struct msghdr* m, int flags, int old) {
#ifdef SYS_socketcall
  const long words[] = {fd, (long)m, flags};
  if (old) return syscall(SYS_socketcall, 16, words);
#endif
  (void)old;
  return syscall(SYS_sendmsg, fd, m, flags);
}
static long receive_message(int fd, struct msghdr* m, int flags, int old) {
#ifdef SYS_socketcall
  const long words[] = {fd, (long)m, flags};
  if (old) return syscall(SYS_socketcall, 17, words);
#endif
  (void)old;
  return syscall(SYS_recvmsg, fd, m, flags);
}

static void messages(int old) {
  static char a[70000], b[70000];
  struct sockaddr_un name = {.sun_family = AF_UNIX}, from;
  snprintf(name.sun_path, sizeof name.sun_path, "%s/to", folder);
  const socklen_t length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(name.sun_path) + 1);
  const int to = socket(AF_UNIX, SOCK_DGRAM, 0), by = socket(AF_UNIX, SOCK_DGRAM, 0);
  TELL(bind(to, (struct sockaddr*)&name, length));
  struct sockaddr_un mine = name;
  strcat(mine.sun_path, "2");
  TELL(bind(by, (struct sockaddr*)&mine, length + 1));
  char control[200];
  struct iovec out[3] = {{"0123456789", 10}, {"abc", 3}, {NULL, 0}}, in[3] = {{a, 5}, {b, 3}, {a + 20, 50}};
  struct msghdr m = {.msg_name = &name, .msg_namelen = length, .msg_iov = out, .msg_iovlen = 3}, before;
  for (unsigned round = 0; round < 6; ++round) {
    const int sends = round == 1 || round == 3 || round == 5;
    m = (struct msghdr){.msg_name = &name, .msg_namelen = length, .msg_iov = out, .msg_iovlen = 3};
    if (sends) {
      memset(control, 0, sizeof control);
      m.msg_control = control;
      m.msg_controllen = CMSG_SPACE(2 * sizeof(int));
      struct cmsghdr* const c = CMSG_FIRSTHDR(&m);
      c->cmsg_level = SOL_SOCKET;
      c->cmsg_type = SCM_RIGHTS;
      c->cmsg_len = CMSG_LEN(2 * sizeof(int));
      memcpy(CMSG_DATA(c), (int[]){to, by}, 2 * sizeof(int));
    }
    TELL(send_message(by, &m, 0, old));
    fill(a, 100), fill(b, 100), fill(&from, sizeof from), fill(control, sizeof control);
    m = (struct msghdr){.msg_name = round == 2 ? NULL : (void*)&from,
                        .msg_namelen = round == 3 ? 10 : sizeof from,
                        .msg_iov = in,
                        .msg_iovlen = round == 4 ? 2 : 3,
                        .msg_control = round == 0 ? NULL : control,
                        .msg_controllen = round == 0 ? 0 : round == 5 ? CMSG_LEN(sizeof(int)) : sizeof control,
                        .msg_flags = 0x5a5a};
    before = m;
    TELL(receive_message(to, &m, round == 4 ? MSG_TRUNC : MSG_CMSG_CLOEXEC, old));
    tell_message(&m, &before);
    say("%.5s %.3s %.5s %d %d\n", a, b, a + 20, is_filled(b + 3, 50), is_filled(a + 25, 50));
    if (round != 2 && round != 3) TRUE(from.sun_family == AF_UNIX && strcmp(from.sun_path, mine.sun_path) == 0);
    if (round == 3) TRUE(memcmp(&from, &mine, 10) == 0 && is_filled((char*)&from + 10, 20));
    for (struct cmsghdr* c = CMSG_FIRSTHDR(&m); c != NULL && m.msg_control != NULL; c = CMSG_NXTHDR(&m, c)) {
      const unsigned n = (unsigned)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
      say("control %d %d, %u descriptors\n", c->cmsg_level, c->cmsg_type, n);
      for (unsigned i = 0; i < n; ++i) {
        int fd;
        memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
        say("descriptor %d flags %d\n", fd, fcntl(fd, F_GETFD));
        close(fd);
      }
    }
  }
  /* What is wrong with a message. */
  m = (struct msghdr){.msg_name = &name, .msg_namelen = length, .msg_iov = out, .msg_iovlen = 1025};
  TELL(send_message(by, &m, 0, old));
  m.msg_iovlen = 1, m.msg_namelen = (socklen_t)-1;
  TELL(send_message(by, &m, 0, old));
  m.msg_namelen = 300;
  TELL(send_message(by, &m, 0, old) == -1 && errno != EFAULT);
  m.msg_namelen = length, m.msg_name = dark;
  TELL(send_message(by, &m, 0, old));
  m.msg_name = &name, m.msg_iov = (struct iovec*)dark;
  TELL(send_message(by, &m, 0, old));
  m.msg_iov = out, m.msg_control = dark, m.msg_controllen = 64;
  TELL(send_message(by, &m, 0, old));
  m.msg_control = control, m.msg_controllen = 3;
  TELL(send_message(by, &m, 0, old));
  drain:
  m = (struct msghdr){.msg_iov = in, .msg_iovlen = 3};
  errno = 0;
  if (receive_message(to, &m, MSG_DONTWAIT, old) >= 0) goto drain;
  say("then error %d\n", errno);
  TELL(send_message(by, (struct msghdr*)dark, 0, old));
  TELL(receive_message(to, (struct msghdr*)dark, MSG_DONTWAIT, old));
  TELL(send_message(-1, &m, 0, old));
  m = (struct msghdr){.msg_name = &name, .msg_namelen = length, .msg_iov = out, .msg_iovlen = 2};
  TELL(send_message(by, &m, 0, old));
  struct iovec broken[2] = {{a, 4}, {dark, 9}};
  m = (struct msghdr){.msg_iov = broken, .msg_iovlen = 2};
  TELL(receive_message(to, &m, MSG_DONTWAIT | MSG_PEEK, old));
  m.msg_iov = in, m.msg_iovlen = 1;
  TELL(receive_message(to, &m, MSG_DONTWAIT | MSG_PEEK | MSG_TRUNC, old));
  m.msg_name = dark, m.msg_namelen = sizeof from, m.msg_iovlen = 3;
  TELL(receive_message(to, &m, MSG_DONTWAIT, old));
  close(to), close(by);
  unlink(name.sun_path), unlink(mine.sun_path);
  /* Many bytes, some of them with a descriptor. */
  int v[2];
  TELL(socketpair(AF_UNIX, SOCK_STREAM, 0, v));
  for (size_t i = 0; i < sizeof a; ++i) a[i] = (char)(i * 31 + i / 256);
  for (int with = 0; with < 2; ++with) {
    struct iovec all = {a, 60000}, back[2] = {{b, 30000}, {b + 30000, 40000}};
    m = (struct msghdr){.msg_iov = &all, .msg_iovlen = 1};
    memset(control, 0, sizeof control);
    if (with) {
      m.msg_control = control;
      m.msg_controllen = CMSG_SPACE(sizeof(int));
      struct cmsghdr* const c = CMSG_FIRSTHDR(&m);
      *c = (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
    }
    TELL(send_message(v[0], &m, 0, old));
    memset(b, 0, sizeof b);
    m = (struct msghdr){.msg_iov = back, .msg_iovlen = 2, .msg_control = control, .msg_controllen = sizeof control};
    long got = 0;
    while (got < 60000) {
      back[0] = (struct iovec){b + got, got < 30000 ? (size_t)(30000 - got) : 0};
      back[1] = (struct iovec){got < 30000 ? b + 30000 : b + got, (size_t)(got < 30000 ? 40000 : 70000 - got)};
      m.msg_controllen = sizeof control;
      const long n = receive_message(v[1], &m, 0, old);
      if (n <= 0) break;
      struct cmsghdr* const c = CMSG_FIRSTHDR(&m);
      if (c != NULL) {
        int fd;
        memcpy(&fd, CMSG_DATA(c), sizeof fd);
        say("with descriptor %d\n", fd);
        close(fd);
      }
      got += n;
    }
    say("%ld %d\n", got, memcmp(a, b, 60000) == 0);
  }
  /* Options. */
  int value = 0, n[2] = {sizeof value, 0x5a5a};
  TELL(getsockopt(v[0], SOL_SOCKET, SO_TYPE, &value, (socklen_t*)n));
  say("%d %d %x\n", value, n[0], (unsigned)n[1]);
  fill(&value, sizeof value);
  n[0] = 2;
  TELL(getsockopt(v[0], SOL_SOCKET, SO_TYPE, &value, (socklen_t*)n));
  say("%x %d\n", (unsigned)value, n[0]);
  n[0] = 100;
  TELL(getsockopt(v[0], SOL_SOCKET, SO_ERROR, a, (socklen_t*)n));
  say("%d\n", n[0]);
  n[0] = -1;
  TELL(getsockopt(v[0], SOL_SOCKET, SO_ERROR, a, (socklen_t*)n));
  TELL(getsockopt(v[0], SOL_SOCKET, SO_ERROR, dark, (socklen_t*)(n[0] = 4, n)));
  TELL(getsockopt(v[0], SOL_SOCKET, SO_ERROR, a, (socklen_t*)dark));
  struct timeval limit = {3, 250000};
  TELL(setsockopt(v[0], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit));
  memset(&limit, 0, sizeof limit);
  n[0] = sizeof limit;
  TELL(getsockopt(v[0], SOL_SOCKET, SO_RCVTIMEO, &limit, (socklen_t*)n));
  say("%ld %ld %d\n", (long)limit.tv_sec, (long)limit.tv_usec, n[0]);
  TELL(setsockopt(v[0], SOL_SOCKET, SO_RCVTIMEO, &limit, 3));
  TELL(setsockopt(v[0], SOL_SOCKET, SO_RCVTIMEO, dark, sizeof limit));
  close(v[0]), close(v[1]);
}

static struct pollfd many[40];
static int waker;
static void* neighbour(void* nothing) {
  (void)nothing;
  usleep(30000);
  many[1].events = POLLPRI;
  if (write(waker, "x", 1) != 1) return many;
  return NULL;
}

static void waits(void) {
  int p[2], q[2];
  TELL(pipe(p));
  TELL(pipe(q));
  TELL(write(q[1], "x", 1));
  for (int n = 0; n <= 40; n += n < 4 ? 1 : 12) {
    for (int i = 0; i < 40; ++i) many[i] = (struct pollfd){i % 3 == 0 ? q[0] : i % 3 == 1 ? p[0] : -1, POLLIN, 0x5a5a};
    TELL(poll(many, (nfds_t)n, 0));
    unsigned sum = 0;
    for (int i = 0; i < 40; ++i) sum = sum * 7 + (unsigned short)many[i].revents + (unsigned)many[i].events;
    say("%x\n", sum);
  }
  for (int i = 0; i < 40; ++i) many[i].fd = -1;
  many[39].fd = 987;
  TELL(poll(many, 40, 0));
  say("%x\n", (unsigned short)many[39].revents);
  TELL(poll((struct pollfd*)dark, 1, 0));
  TELL(poll((struct pollfd*)(edge + PAGE - 8), 2, 0));
  TELL(poll((struct pollfd*)pale, 1, 0));
  /* Somebody writes between what the call writes. */
  many[0] = (struct pollfd){p[0], POLLIN, 0}, many[1] = (struct pollfd){-1, POLLIN, 0};
  many[2] = (struct pollfd){p[0], POLLIN, 0};
  waker = p[1];
  pthread_t t;
  void* failed = NULL;
  TELL(pthread_create(&t, NULL, neighbour, NULL));
  TELL(poll(many, 3, 5000));
  TELL(pthread_join(t, &failed));
  say("%x %x %x %x %d\n", (unsigned)many[0].revents, (unsigned)many[1].events, (unsigned)many[1].revents,
      (unsigned)many[2].revents, failed != NULL);
  const struct timespec left = {0, 1000000};
  struct {
    struct timespec t;
    char behind[8];
  } limit;
  fill(&limit, sizeof limit);
  limit.t = left;
  many[0] = (struct pollfd){q[1], POLLIN, 0x5a5a};
  TELL(syscall(SYS_ppoll, many, 1, &limit.t, NULL, 8));
#if __SIZEOF_LONG__ == 8
  TRUE(limit.t.tv_sec == 0 && limit.t.tv_nsec == 0);
#else
  TRUE(is_filled(limit.behind, 8));
#endif
  say("%x\n", (unsigned short)many[0].revents);
  /* Sets that end where the memory does. */
  const size_t word = sizeof(long);
#ifdef SYS__newselect
  const long call = SYS__newselect;
#else
  const long call = SYS_select;
#endif
  for (int masked = 0; masked < 2; ++masked) {
    char* const set = edge + PAGE - word;
    fill(edge, PAGE);
    unsigned long bits = 1UL << p[0] | 1UL << q[0] | 1UL << p[1];
    memcpy(set, &bits, word);
    const long zero[2] = {0, 0};
    long copy[2] = {0, 0};
    memcpy(copy, zero, sizeof copy);
    const long mask[2] = {0, 8};
    const int most = q[1] + 1;
    char* write_set = edge + 100;
    memcpy(write_set, &bits, word);
    if (masked)
      TELL(syscall(SYS_pselect6, most, set, write_set, NULL, copy, mask));
    else
      TELL(syscall(call, most, set, write_set, NULL, copy));
    memcpy(&bits, set, word);
    say("%lx ", bits);
    memcpy(&bits, write_set, word);
    say("%lx\n", bits);
    TRUE(is_filled(set - 64, 64) && is_filled(write_set + word, 64) && is_filled(write_set - 50, 50));
    bits = 1UL << 30;
    memcpy(set, &bits, word);
    if (masked)
      TELL(syscall(SYS_pselect6, 31, set, NULL, NULL, copy, NULL));
    else
      TELL(syscall(call, 31, set, NULL, NULL, copy));
    TELL(syscall(call, 200, set, NULL, NULL, copy));
    TELL(syscall(call, 20, dark, NULL, NULL, copy));
    TELL(syscall(call, 20, pale, NULL, NULL, copy));
    TELL(syscall(call, 0, set, NULL, NULL, copy));
    TELL(syscall(call, -1, set, NULL, NULL, copy));
    TELL(syscall(call, 20, NULL, NULL, NULL, dark));
  }
  const int e = epoll_create1(0);
  struct epoll_event ev = {.events = EPOLLIN, .data.u64 = 0x1234567890}, got[4];
  TELL(epoll_ctl(e, EPOLL_CTL_ADD, q[0], &ev));
  fill(got, sizeof got);
  TELL(syscall(SYS_epoll_pwait, e, got, 4, 1000, NULL, 8));
  TRUE(got[0].data.u64 == 0x1234567890 && got[0].events == EPOLLIN && is_filled(got + 1, sizeof got[0]));
  TELL(syscall(SYS_epoll_pwait, e, dark, 4, 1000, NULL, 8));
  TELL(syscall(SYS_epoll_pwait, e, got, 0, 1000, NULL, 8));
  TELL(syscall(SYS_epoll_pwait, e, got, -1, 1000, NULL, 8));
  close(e), close(p[0]), close(p[1]), close(q[0]), close(q[1]);
}

int main(int argc, char** argv) {
  const int seconds = argc > 1 ? atoi(argv[1]) : 3;
  edge = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  dark = mmap(NULL, PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  pale = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  munmap(edge + PAGE, PAGE);
  signal(SIGPIPE, SIG_IGN);
  if (mkdtemp(folder) == NULL) return 2;
  snprintf(small, sizeof small, "%s/small", folder);
  snprintf(big, sizeof big, "%s/big", folder);
  snprintf(list, sizeof list, "%s/list", folder);
  close(open(small, O_RDWR | O_CREAT, 0600));
  const int fd = open(big, O_RDWR | O_CREAT | 0100000, 0600);
  if (ftruncate64(fd, BIG) != 0 || mkdir(list, 0700) != 0) return 2;
  close(fd);
  char name[128];
  for (int i = 0; i < 130; ++i) {
    snprintf(name, sizeof name, "%s/entry %d %.*s", list, i, i % 40, "0123456789012345678901234567890123456789");
    close(open(name, O_RDWR | O_CREAT, 0600));
  }
  if (truncate(small, 8192) != 0) return 2;
  struct timespec begin, now;
  clock_gettime(CLOCK_MONOTONIC, &begin);
  static char first[sizeof seen];
  int turns = 0, same = 1;
  do {
    at = 0;
    only32();
    listings();
    vectors();
    messages(0);
    messages(1);
    waits();
    if (turns++ == 0) memcpy(first, seen, at + 1);
    same = strcmp(first, seen) == 0;
    clock_gettime(CLOCK_MONOTONIC, &now);
  } while (now.tv_sec - begin.tv_sec < seconds && same);
  fputs(first, stdout);
  if (!same) {
    size_t i = 0, line = 0;
    for (; first[i] == seen[i]; ++i)
      if (first[i] == '\n') line = i + 1;
    printf("turn %d differs: %.200s\n", turns, seen + line);
  }
  for (int i = 0; i < 130; ++i) {
    snprintf(name, sizeof name, "%s/entry %d %.*s", list, i, i % 40, "0123456789012345678901234567890123456789");
    unlink(name);
  }
  unlink(small), unlink(big), rmdir(list), rmdir(folder);
  return !same;
}
