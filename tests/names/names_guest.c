/* Changes names and files, while another process looks at them; both say what they see.
 *
 * names_guest ROUNDS [any]: a parent that changes, a child that looks; after each change both look, and must
 * see the same.  Prints "pid N" (the child's) first, begins with a line on stdin.
 *
 * names_guest look N: looks at files that nobody changes, N times; prints a sum.
 *
 * names_guest threads N: the same from four threads at once, without opening.
 *
 * names_guest layouts: every structure that a program of its ABI can ask a file's status in, and how large
 * files are opened; prints what the last of many times said.
 *
 * names_guest mixed: an x86-64 program that makes IA32's calls while it has a file open; prints what they
 * say.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { NAMES = 9, ROOM = 8192 };
static const char* const names[NAMES] = {"a",     "b",    "c",      "dir",     "dir/x",
                                         "dir/y", "link", "link/x", "dir/../b"};

static unsigned seed = 1;
static unsigned pick(unsigned n) {
  seed = seed * 1103515245 + 12345;
  return (seed >> 16) % n;
}

static int numbers = 1; /* descriptors are compared, too */
static size_t at;
static char seen[ROOM];
static void say(const char* format, ...) __attribute__((format(printf, 1, 2)));
static void say(const char* format, ...) {
  va_list args;
  va_start(args, format);
  at += (size_t)vsnprintf(seen + at, ROOM - at, format, args);
  va_end(args);
}

/* Twice: what the first time is asked for is known the second time. */
static void look(void) {
  int lowest = -1; /* the descriptor that is free */
  at = 0;
  for (int i = 0; i < NAMES; ++i) {
    struct stat s;
    char text[300];
    ssize_t n;
    say("%s:", names[i]);
    if (stat(names[i], &s) != 0)
      say(" e%d", errno);
    else
      say(" %lu %o %lu %ld.%09ld", (unsigned long)s.st_ino, s.st_mode,
          S_ISDIR(s.st_mode) ? 0UL : (unsigned long)s.st_size, (long)s.st_mtim.tv_sec, s.st_mtim.tv_nsec);
    say(" a%d", access(names[i], R_OK) == 0 ? 0 : errno);
    n = readlink(names[i], text, sizeof text);
    say(n < 0 ? " l%d" : " l=%.*s", n < 0 ? errno : (int)n, text);
    const int fd = open(names[i], O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
      say(" o%d", errno);
    } else {
      n = read(fd, text, 100);
      if (lowest < 0) lowest = fd;
      say(" f%d", numbers ? fd - lowest : 0);
      if (n >= 0)
        say(" '%.*s'", (int)n, text);
      else
        say(" r%d", errno);
      close(fd);
    }
    say("\n");
  }
}

static void put(const char* name, const char* text) {
  const int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC, 0644);
  if (fd < 0) return;
  if (write(fd, text, strlen(text)) < 0) perror(name);
  close(fd);
}

static void change(unsigned round) {
  char text[64];
  const char *const one = names[pick(3)], *const two = names[pick(3)];
  snprintf(text, sizeof text, "round %u", round);
  switch (pick(12)) {
    case 0: put(one, text); break;
    case 1: unlink(one); break;
    case 2: rename(one, two); break;
    case 3: chmod(one, pick(2) ? 0644 : 0600); break;
    case 4: mkdir("dir", 0755); break;
    case 5: put(pick(2) ? "dir/x" : "dir/y", text); break;
    case 6: unlink("dir/x"), unlink("dir/y"), rmdir("dir"); break;
    case 7: unlink("link"); break;
    case 8:
      if (symlink(pick(2) ? "dir" : one, "link") != 0) unlink("link");
      break;
    case 9: put("new", text), rename("new", one); break;
    case 10:
      rename("dir", "away"), mkdir("dir", 0755), unlink("away/x"), unlink("away/y"), rmdir("away");
      break;
    case 11: {
      const int fd = open(one, O_RDWR);
      if (fd < 0) break;
      char* const m = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
      struct stat s;
      if (m != MAP_FAILED && fstat(fd, &s) == 0 && s.st_size > 0) m[0] = (char)('A' + pick(26));
      close(fd);
      if (m != MAP_FAILED) munmap(m, 4096);
      break;
    }
  }
}

static void all(int fd, void* to, size_t n, int out) {
  for (size_t done = 0; done < n;) {
    const ssize_t k = out ? write(fd, (char*)to + done, n - done) : read(fd, (char*)to + done, n - done);
    if (k <= 0) exit(9);
    done += (size_t)k;
  }
}

/* A file that is open while its name goes, and another file gets it. */
static int child(int in, int out, unsigned rounds) {
  char c, half[5] = "", rest[64] = "";
  int held = -1;
  for (unsigned i = 0; i < rounds; ++i) {
    all(in, &c, 1, 0);
    look();
    look();
    if (held >= 0) {
      const ssize_t n = read(held, rest, sizeof rest);
      say("held %s%.*s\n", half, n < 0 ? 0 : (int)n, rest);
      close(held);
    }
    held = open("held", O_RDONLY);
    memset(half, 0, sizeof half);
    if (read(held, half, 4) != 4) say("held e%d\n", errno);
    all(out, &at, sizeof at, 1);
    all(out, seen, at, 1);
  }
  return 0;
}

static int parent(unsigned rounds) {
  int to[2], from[2];
  char line[16], theirs[ROOM], held[64] = "";
  if (pipe(to) != 0 || pipe(from) != 0) return 2;
  put("held", "held before");
  const pid_t pid = fork();
  if (pid == 0) {
    close(to[1]);
    close(from[0]);
    close(0);
    exit(child(to[0], from[1], rounds));
  }
  close(to[0]);
  close(from[1]);
  close(0);
  printf("pid %d\n", (int)pid);
  fflush(stdout);
  if (read(9, line, sizeof line) <= 0) return 3;
  for (unsigned i = 0; i < rounds; ++i) {
    change(i);
    look();
    if (i != 0) say("held %s\n", held);
    all(to[1], "g", 1, 1);
    size_t n;
    all(from[0], &n, sizeof n, 0);
    all(from[0], theirs, n, 0);
    if (n != at || memcmp(theirs, seen, n) != 0) {
      printf("round %u differs\n--- here\n%.*s--- there\n%.*s", i, (int)at, seen, (int)n, theirs);
      return 1;
    }
    snprintf(held, sizeof held, i == 0 ? "held before" : "held after %u", i - 1);
    char text[64];
    snprintf(text, sizeof text, "held after %u", i);
    if (i % 2) unlink("held");
    put("held.new", text);
    rename("held.new", "held");
  }
  int status;
  waitpid(pid, &status, 0);
  printf("%u rounds the same, %d\n", rounds, status);
  return status != 0;
}

static int stable(unsigned times) {
  unsigned long sum = 0;
  char text[8192];
  mkdir("stable", 0755);
  put("stable/file", "a file that stays as it is");
  for (unsigned i = 0; i < times; ++i) {
    struct stat s;
    if (stat("stable/none", &s) == 0 || errno != ENOENT) return 1;
    if (readlink("stable/file", text, sizeof text) >= 0 || errno != EINVAL) return 2;
    const int fd = open("stable/file", O_RDONLY);
    if (fd < 0 || fstat(fd, &s) != 0) return 3;
    const ssize_t n = read(fd, text, sizeof text);
    if (n != s.st_size || read(fd, text, sizeof text) != 0 || lseek(fd, 0, SEEK_CUR) != n) return 4;
    for (ssize_t k = 0; k < n; ++k) sum = sum * 31 + (unsigned char)text[k];
    close(fd);
    if (i < 20) usleep(20000); /* what is asked for takes a moment to come */
  }
  printf("%lu\n", sum);
  return 0;
}

static void tell_status(const char* name) {
  struct statx x;
  memset(&x, 0x5a, sizeof x);
  say("%s:", name);
  if (syscall(SYS_statx, AT_FDCWD, name, AT_NO_AUTOMOUNT, STATX_BASIC_STATS, &x) != 0) {
    say(" e%d\n", errno);
    return;
  }
  say(" %x %llx %llx %llx %lld.%u\n", x.stx_mask, (unsigned long long)x.stx_attributes,
      (unsigned long long)x.stx_attributes_mask, (unsigned long long)x.stx_mnt_id,
      (long long)x.stx_btime.tv_sec, x.stx_btime.tv_nsec);
#ifdef __i386__
  /* Word by word: struct stat64 has gaps, which nobody writes to, and 96 bytes; struct stat has 64. */
  static const int calls[] = {SYS_stat64, SYS_lstat64, SYS_fstatat64, SYS_stat, SYS_lstat};
  for (unsigned i = 0; i < sizeof calls / sizeof calls[0]; ++i) {
    unsigned words[25];
    memset(words, 0x5a, sizeof words);
    const long rc = calls[i] == SYS_fstatat64 ? syscall(calls[i], AT_FDCWD, name, words, 0)
                                              : syscall(calls[i], name, words);
    say(" %d: %ld e%d", calls[i], rc, rc != 0 ? errno : 0);
    for (unsigned k = 0; k < 25; ++k) say(" %x", words[k]);
    say("\n");
  }
#endif
}

/* What the descriptor shows of how it was opened, and where it is. */
static void tell_descriptor(int fd) {
  char text[300] = "", name[64];
  const int other = dup(fd); /* home has to know the file now */
  snprintf(name, sizeof name, "/proc/self/fdinfo/%d", fd);
  const int info = open(name, O_RDONLY);
  const ssize_t n = read(info, text, sizeof text - 1);
  for (ssize_t i = 0; i < n; ++i)
    if (strncmp(text + i, "mnt_id", 6) == 0) text[i] = 0;
  say(" %o %s", fcntl(fd, F_GETFL), text);
  close(info);
  close(other);
}

static void tell_opened(const char* name, int flags) {
  const int fd = (int)syscall(SYS_open, name, flags);
  if (fd < 0) {
    say(" o%d\n", errno);
    return;
  }
  char text[8] = "";
  say(" read %zd", read(fd, text, 3));
  say(" '%s'", text);
#ifdef __i386__
  long long at64 = -1;
  say(" seek %ld", (long)syscall(SYS__llseek, fd, 0, 2, &at64, SEEK_CUR));
  say(" %lld", at64);
  say(" %ld", (long)syscall(SYS__llseek, fd, -1, -4, &at64, SEEK_END));
  say(" %lld", at64);
  say(" %ld", (long)syscall(SYS__llseek, fd, 0, 4, (void*)8, SEEK_SET));
  unsigned words[25];
  memset(words, 0x5a, sizeof words);
  say(" %ld", (long)syscall(SYS_fstat64, fd, words));
  for (unsigned k = 0; k < 25; ++k) say(" %x", words[k]);
  say(" %ld", (long)syscall(SYS_fstat, fd, words));
#endif
  say(" at %ld", (long)lseek(fd, 0, SEEK_CUR));
  say(" %zd", pread(fd, text, 4, 1));
  say(" '%s'", text);
  struct statx x;
  say(" %ld", (long)syscall(SYS_statx, fd, "", AT_EMPTY_PATH | AT_NO_AUTOMOUNT, STATX_BASIC_STATS, &x));
  say(" %llu\n", (unsigned long long)x.stx_size);
  tell_descriptor(fd);
  say(" %d\n", close(fd));
}

static int layouts(void) {
  enum { LARGEFILE = 0100000 };
  if (mkdir("stable", 0755) == 0) { /* who comes second sees the same files */
    put("stable/file", "a file that stays as it is");
    const int fd = open("stable/big", O_RDWR | O_CREAT | LARGEFILE, 0644);
    if (write(fd, "a big file", 10) != 10 || ftruncate64(fd, 0xc0001000LL) != 0) return 1;
    close(fd);
    /* As home's hpcd will: later readings change no access time. */
    DIR* const folder = opendir("stable");
    while (readdir(folder) != NULL) continue;
    closedir(folder);
  }
  for (unsigned i = 0; i < 40; ++i) {
    at = 0;
    tell_status("stable/file");
    tell_status("stable/big");
    tell_status("stable");
    tell_status("stable/none");
    tell_opened("stable/file", O_RDONLY);
    tell_opened("stable/file", O_RDONLY | LARGEFILE);
    tell_opened("stable/big", O_RDONLY);
    tell_opened("stable/big", O_RDONLY | LARGEFILE);
    if (i < 20) usleep(20000);
  }
  fwrite(seen, 1, at, stdout);
  return 0;
}

#ifdef __x86_64__
static long ia32_call(long number, long a, long b) {
  long result;
  __asm__ volatile("int $0x80"
                   : "=a"(result)
                   : "a"(number), "b"(a), "c"(b)
                   : "memory", "r8", "r9", "r10", "r11");
  return (int)result;
}

/* Calls of the other ABI have other numbers: 63 is dup2, and x86-64's uname; 5 is open, and x86-64's fstat.
 */
static int mixed(void) {
  char text[16] = "";
  char* const low = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
  mkdir("stable", 0755);
  put("stable/file", "a file that stays as it is");
  for (unsigned i = 0; i < 40; ++i) {
    const int fd = open("stable/file", O_RDONLY);
    if (read(fd, text, 4) != 4) return 1;
    close(fd);
    if (i < 20) usleep(20000);
  }
  const int fd = open("stable/file", O_RDONLY);
  if (read(fd, text, 4) != 4) return 2;
  const long copy = ia32_call(63, fd, 50);
  strcpy(low, "stable/file");
  const long other = ia32_call(5, (long)low, O_RDONLY);
  memset(text, 0, sizeof text);
  const ssize_t n = read(50, text, 7);
  printf("%ld %ld %zd '%s'\n", copy, other - fd, n, text);
  return 0;
}

#endif

static unsigned looks;
static void* looker(void* arg) {
  unsigned* const wrong = arg;
  for (unsigned i = 0; i < looks; ++i) {
    /* Fresh memory each time: what is written there has to come from somewhere else. */
    char* const room = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    struct stat* const s = (struct stat*)(room + 64);
    strcpy(room + 4096, "stable/file");
    if (stat(room + 4096, s) != 0 || s->st_size != 26) ++*wrong;
    if (readlink(room + 4096, room, 64) >= 0 || errno != EINVAL) ++*wrong;
    if (access("stable/none", R_OK) == 0 || errno != ENOENT) ++*wrong;
    munmap(room, 8192);
  }
  return NULL;
}

static int threads(unsigned times) {
  pthread_t t[4];
  unsigned wrong[4] = {0};
  mkdir("stable", 0755);
  put("stable/file", "a file that stays as it is");
  looks = times;
  for (int i = 0; i < 4; ++i) pthread_create(&t[i], NULL, looker, &wrong[i]);
  for (int i = 0; i < 4; ++i) pthread_join(t[i], NULL);
  printf("wrong %u\n", wrong[0] + wrong[1] + wrong[2] + wrong[3]);
  return 0;
}

int main(int argc, char** argv) {
  if (argc == 3 && strcmp(argv[1], "threads") == 0) return threads((unsigned)atoi(argv[2]));
  if (argc == 3 && strcmp(argv[1], "look") == 0) return stable((unsigned)atoi(argv[2]));
  if (argc == 2 && strcmp(argv[1], "layouts") == 0) return layouts();
#ifdef __x86_64__
  if (argc == 2 && strcmp(argv[1], "mixed") == 0) return mixed();
#endif
  dup2(0, 9);
  numbers = argc == 2;
  return argc == 2 || argc == 3 ? parent((unsigned)atoi(argv[1])) : 2;
}
