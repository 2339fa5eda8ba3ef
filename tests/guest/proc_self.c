// Goal: /proc/self describes the guest and nothing else: exe, maps, cmdline, comm, environ, auxv, task,
// status, mem.
#include "guest.h"

#include <dirent.h>
#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <pthread.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

static char buffer[1 << 20];
static int variable = 12345;

static ssize_t slurp(const char* path) {
  int fd = open(path, O_RDONLY);
  if (fd < 0) {
    printf("%s: %s\n", path, guest_errname(errno));
    return -1;
  }
  ssize_t have = 0, got;
  while ((got = read(fd, buffer + have, sizeof buffer - 1 - (size_t)have)) > 0) have += got;
  buffer[have] = 0;
  close(fd);
  return have;
}

static void executable(const char* self) {
  char target[4096];
  ssize_t n = readlink("/proc/self/exe", target, sizeof target - 1);
  CHECK(n > 0);
  target[n > 0 ? n : 0] = 0;
  SHOW(strcmp(target, self));
  struct stat a, b;
  SHOW_RC(stat("/proc/self/exe", &a));
  SHOW_RC(stat(self, &b));
  SHOW(a.st_ino == b.st_ino && a.st_dev == b.st_dev);
  int fd = open("/proc/self/exe", O_RDONLY);
  CHECK(fd >= 0 && fstat(fd, &a) == 0 && a.st_ino == b.st_ino);
  unsigned char head[5];
  CHECK(read(fd, head, 5) == 5 && memcmp(head, ELFMAG, 4) == 0);
  SHOW(head[4] == (sizeof(void*) == 8 ? ELFCLASS64 : ELFCLASS32));
  close(fd);
  char by_pid[64];
  snprintf(by_pid, sizeof by_pid, "/proc/%d/exe", getpid());
  n = readlink(by_pid, target, sizeof target - 1);
  target[n > 0 ? n : 0] = 0;
  SHOW(strcmp(target, self));
}

struct Line {
  unsigned long long from, to;
  char rights[8];
  char path[512];
};

static int find_line(const void* address, struct Line* found) {
  int hits = 0;
  char* line = buffer;
  while (*line != 0) {
    struct Line l = {0};
    if (sscanf(line, "%llx-%llx %7s %*s %*s %*s %511[^\n]", &l.from, &l.to, l.rights, l.path) >= 3 &&
        (uintptr_t)address >= l.from && (uintptr_t)address < l.to) {
      *found = l;
      ++hits;
    }
    line = strchr(line, '\n');
    if (line == NULL) break;
    ++line;
  }
  return hits;
}

static void show_line(const char* label, const void* address, const char* self) {
  struct Line l;
  int hits = find_line(address, &l);
  const char* what = strcmp(l.path, self) == 0 ? "program"
                     : l.path[0] == '['        ? l.path
                     : l.path[0] == 0          ? "none"
                                               : "other";
  printf("%s: %d line, %s, %s\n", label, hits, hits > 0 ? l.rights : "", hits > 0 ? what : "");
}

static void maps(const char* self) {
  char* area = mmap(NULL, 5 * 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  mprotect(area + 2 * 4096, 4096, PROT_NONE);
  char* heap = sbrk(4096);
  int fd = open(self, O_RDONLY);
  char* file = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
  int on_stack = 0;
  CHECK(slurp("/proc/self/maps") > 100);
  show_line("code", (void*)(uintptr_t)maps, self);
  show_line("data", &variable, self);
  show_line("stack", &on_stack, self);
  show_line("heap", heap, self);
  show_line("libc", (void*)(uintptr_t)getauxval(AT_BASE), self);
  show_line("area", area, self);
  show_line("guard", area + 2 * 4096, self);
  show_line("behind", area + 3 * 4096, self);
  show_line("file", file, self);
  show_line("zero page", NULL, self);
  struct Line l;
  CHECK(find_line(area + 2 * 4096, &l) == 1 && l.to - l.from == 4096);
  CHECK(strstr(buffer, "hpc-vmm") == NULL && strstr(buffer, "hpcvmm") == NULL &&
        strstr(buffer, "kvm") == NULL);
  // Nothing lies in the part of the address space where no program has anything.
  unsigned long long last = 0;
  int ordered = 1, foreign = 0;
  for (char* line = buffer; line != NULL && *line != 0;) {
    unsigned long long from, to;
    if (sscanf(line, "%llx-%llx", &from, &to) == 2) {
      ordered &= from >= last && to > from;
      last = to;
      foreign += to > 0x6a0000000000ULL && from < 0x6b0000000000ULL;
    }
    line = strchr(line, '\n');
    if (line != NULL) ++line;
  }
  SHOW(ordered);
  SHOW(foreign);
  CHECK(slurp("/proc/self/smaps") > 100);
  SHOW(strstr(buffer, "hpc-vmm") == NULL);
  show_line("smaps code", (void*)(uintptr_t)maps, self);
}

static void* second_thread(void* argument) {
  prctl(PR_SET_NAME, "second");
  pthread_barrier_wait(argument);
  pthread_barrier_wait(argument);
  return NULL;
}

static int tasks(void) {
  int count = 0;
  DIR* folder = opendir("/proc/self/task");
  for (struct dirent* e = readdir(folder); e != NULL; e = readdir(folder)) count += e->d_name[0] != '.';
  closedir(folder);
  return count;
}

static void show_status(const char* key) {
  CHECK(slurp("/proc/self/status") > 0);
  char* line = strstr(buffer, key);
  CHECK(line != NULL);
  if (line != NULL) printf("%.*s\n", (int)strcspn(line, "\n"), line);
}

static void threads(void) {
  pthread_t thread;
  pthread_barrier_t barrier;
  pthread_barrier_init(&barrier, NULL, 2);
  SHOW(tasks());
  show_status("Threads:");
  pthread_create(&thread, NULL, second_thread, &barrier);
  pthread_barrier_wait(&barrier);
  SHOW(tasks());
  show_status("Threads:");
  pthread_barrier_wait(&barrier);
  pthread_join(thread, NULL);
}

int main(int argc, char** argv) {
  (void)argc;
  executable(argv[0]);
  maps(argv[0]);
  ssize_t n = slurp("/proc/self/cmdline");
  SHOW(n == (ssize_t)(strlen(argv[0]) + 1 + sizeof "first" + sizeof "second argument"));
  SHOW(memcmp(buffer, argv[0], strlen(argv[0]) + 1));
  puts(buffer + strlen(argv[0]) + 1);
  CHECK(slurp("/proc/self/comm") > 0);
  printf("comm %s", buffer);
  SHOW_RC(prctl(PR_SET_NAME, "a name longer than fifteen"));
  CHECK(slurp("/proc/self/comm") > 0);
  printf("comm %s", buffer);
  show_status("Name:");
  n = slurp("/proc/self/environ");
  for (char* e = buffer; e < buffer + n; e += strlen(e) + 1) printf("environ %s\n", e);
  n = slurp("/proc/self/auxv");
  const ElfW(auxv_t)* entry = (const ElfW(auxv_t)*)buffer;
  int same = 1;
  for (; entry->a_type != AT_NULL; ++entry) {
    same &= getauxval(entry->a_type) == entry->a_un.a_val || entry->a_type == AT_IGNORE;
  }
  SHOW(same && n > 100);
  threads();
  show_status("SigBlk:");
  show_status("SigIgn:");
  signal(SIGUSR1, SIG_IGN);
  guest_on(SIGUSR2, (void (*)(int, siginfo_t*, void*))(uintptr_t)tasks, 0);
  show_status("SigIgn:");
  show_status("SigCgt:");
  show_status("TracerPid:");
  show_status("Seccomp:");
  show_status("NoNewPrivs:");
  char link[4096] = "", cwd[4096];
  SHOW_OK(readlink("/proc/self/cwd", link, sizeof link - 1));
  SHOW(strcmp(link, getcwd(cwd, sizeof cwd)));
  CHECK(slurp("/proc/self/limits") > 0);
  SHOW_RC(access("/proc/self/fd/1", F_OK));
  SHOW_RC(access("/proc/self/fd/3", F_OK));
  SHOW_RC(access("/proc/self/fdinfo/1", F_OK));
  int fd = open("/proc/self/fd/1", O_WRONLY | O_APPEND);
  SHOW(fd);
  close(fd);
  CHECK(slurp("/proc/thread-self/stat") > 0);
  SHOW(atoi(buffer) == (int)syscall(SYS_gettid));
  return guest_end();
}
