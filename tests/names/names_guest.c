/* Changes names and files, while another process looks at them; both say what they see.
 *
 * names_guest ROUNDS [any]: a parent that changes, a child that looks; after each change both look, and must
 * see the same.  Prints "pid N" (the child's) first, begins with a line on stdin.
 *
 * names_guest look N: looks at files that nobody changes, N times; prints a sum.
 *
 * names_guest threads N: the same from four threads at once, without opening.
 *
 * names_guest mixed: an x86-64 program that makes IA32's calls while it has a file open; prints what they
 * say.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
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
  if (argc == 2 && strcmp(argv[1], "mixed") == 0) return mixed();
  dup2(0, 9);
  numbers = argc == 2;
  return argc == 2 || argc == 3 ? parent((unsigned)atoi(argv[1])) : 2;
}
