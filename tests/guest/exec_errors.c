// Goal: execve fails with the errno of Linux and leaves the program running.
#include "guest.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>

extern char** environ;

static void try_exec(const char* label, const char* path) {
  char* arguments[] = {"program", NULL};
  execve(path, arguments, environ);
  printf("%s: %s\n", label, guest_errname(errno));
}

static void make(const char* name, const char* text, size_t bytes, mode_t mode) {
  int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC, 0600);
  CHECK(fd >= 0 && write(fd, text, bytes) == (ssize_t)bytes);
  fchmod(fd, mode);
  close(fd);
}

static void too_big(void) {
  size_t bytes = 6 << 20;
  char* huge = malloc(bytes);
  memset(huge, 'x', bytes);
  huge[bytes - 1] = 0;
  char* arguments[] = {"true", huge, NULL};
  execve("/bin/true", arguments, environ);
  printf("one argument of 6 MiB: %s\n", guest_errname(errno));
  enum { kMany = 40 };
  huge[100000] = 0;
  char* many[kMany + 1];
  for (int i = 0; i < kMany; ++i) many[i] = huge;
  many[kMany] = NULL;
  struct rlimit limit = {4 << 20, 8 << 20};
  setrlimit(RLIMIT_STACK, &limit);
  execve("/bin/true", many, environ);
  printf("4 MB of arguments: %s\n", guest_errname(errno));
  free(huge);
}

int main(void) {
  make("not executable", "#!/bin/true\n", 12, 0600);
  make("text", "echo not a program\n", 19, 0700);
  make("empty", "", 0, 0700);
  make("bad interpreter", "#!/nonexistent/interpreter\n", 27, 0700);
  make("interpreter is a folder", "#!/tmp\n", 7, 0700);
  make("no interpreter", "#!\n", 3, 0700);
  make("zeros", "\0\0\0\0\0\0\0\0", 8, 0700);
  symlink("loop", "loop");
  mkdir("folder", 0700);
  try_exec("missing", "missing");
  try_exec("empty path", "");
  try_exec("not executable", "not executable");
  try_exec("text", "text");
  try_exec("empty", "empty");
  try_exec("zeros", "zeros");
  try_exec("bad interpreter", "bad interpreter");
  try_exec("interpreter is a folder", "interpreter is a folder");
  try_exec("no interpreter", "no interpreter");
  try_exec("loop", "loop");
  try_exec("folder", "folder");
  try_exec("below a file", "text/program");
  try_exec("bad pointer", (const char*)16);
  char long_name[5000];
  memset(long_name, 'n', sizeof long_name);
  long_name[4999] = 0;
  try_exec("long path", long_name);
  execve("/bin/true", (char**)16, environ);
  printf("bad argv: %s\n", guest_errname(errno));
  // A script that is its own interpreter's interpreter, five deep.
  char before[32] = "/bin/true";
  for (int i = 0; i < 7; ++i) {
    char name[16], text[64], cwd[4096], line[4200];
    snprintf(name, sizeof name, "deep%d", i);
    if (i > 0) {
      CHECK(getcwd(cwd, sizeof cwd) != NULL);
      snprintf(line, sizeof line, "#!%s/%s\n", cwd, before);
    } else {
      snprintf(line, sizeof line, "#!%s\n", before);
    }
    make(name, line, strlen(line), 0700);
    snprintf(before, sizeof before, "%s", name);
    snprintf(text, sizeof text, "scripts of depth %d", i + 1);
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
      char* arguments[] = {name, NULL};
      execve(name, arguments, environ);
      _exit(errno == ELOOP ? 40 : 41);
    }
    guest_reap(text, pid);
  }
  too_big();
  int writer = open("busy", O_RDWR | O_CREAT | O_TRUNC, 0700);
  try_exec("open for writing", "busy");
  close(writer);
  return guest_end();
}
