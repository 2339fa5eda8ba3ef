/* Calls whose structures differ between the ABIs, and vectors, made with the kernel's own structures, at the
 * edges of mappings, while somebody moves the process (told.h). */
#include "told.h"

#include <fcntl.h>
#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <sys/wait.h>

#define BIG 0xc0001000LL /* bytes of a file that is larger than a 32-bit off_t can say */
static char small[64], big[64], list[64];

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
      s->blksize, is_filled(s->pad0, 4) && is_filled(s->pad3, 4),
      s->ino == x->stx_ino && s->ino_low == (unsigned)s->ino,
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
    say("limit %d: %ld %ld ", what, (long)syscall(SYS_getrlimit, what, &old),
        (long)syscall(SYS_ugetrlimit, what, &now));
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
  const long long wide[4] = {0x123456789LL, 3, 77,
                             0x500000004LL}; /* the upper half of nanoseconds is not looked at */
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

/* Many at once: more than there is room for below 4 GiB. */
static void* lists(void* result) {
  char entries[9000];
  unsigned sum = 0;
  for (int i = 0; i < 10; ++i) {
    const int fd = open(list, O_RDONLY | O_DIRECTORY);
    for (;;) {
      fill(entries, sizeof entries);
      const long got = syscall(SYS_getdents64, fd, entries, 8192L);
      if (got <= 0) break;
      sum = sum * 31 + (unsigned)got + (unsigned)!is_filled(entries + got, sizeof entries - (size_t)got);
      for (long k = 0; k < got;) {
        unsigned short length;
        memcpy(&length, entries + k + 16, sizeof length);
        for (const char* c = entries + k + 19; *c != 0; ++c) sum += (unsigned char)*c;
        k += length;
      }
    }
    close(fd);
  }
  *(unsigned*)result = sum;
  return NULL;
}

static void crowd(void) {
  pthread_t threads[8];
  unsigned sums[8];
  for (int i = 0; i < 8; ++i) pthread_create(&threads[i], NULL, lists, &sums[i]);
  for (int i = 0; i < 8; ++i) pthread_join(threads[i], NULL);
  unsigned same = 0;
  for (int i = 0; i < 8; ++i) same += sums[i] == sums[0];
  say("%u of 8 the same, %u\n", same, sums[0]);
}

static void turn(void) {
  only32();
  listings();
  vectors();
  crowd();
}

int main(int argc, char** argv) {
  if (begin_telling() != 0) return 2;
  snprintf(small, sizeof small, "%s/small", folder);
  snprintf(big, sizeof big, "%s/big", folder);
  snprintf(list, sizeof list, "%s/list", folder);
  close(open(small, O_RDWR | O_CREAT, 0600));
  const int fd = open(big, O_RDWR | O_CREAT | 0100000, 0600);
  if (ftruncate64(fd, BIG) != 0 || mkdir(list, 0700) != 0) return 2;
  close(fd);
  char name[128];
  for (int i = 0; i < 130; ++i) {
    snprintf(name, sizeof name, "%s/entry %d %.*s", list, i, i % 40,
             "0123456789012345678901234567890123456789");
    close(open(name, O_RDWR | O_CREAT, 0600));
  }
  if (truncate(small, 8192) != 0) return 2;
  const int status = turns(argc, argv, turn);
  for (int i = 0; i < 130; ++i) {
    snprintf(name, sizeof name, "%s/entry %d %.*s", list, i, i % 40,
             "0123456789012345678901234567890123456789");
    unlink(name);
  }
  unlink(small), unlink(big), rmdir(list), rmdir(folder);
  return status;
}
