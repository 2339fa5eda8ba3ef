// Goal: exec between the bitnesses, by descriptor, of scripts; exact arguments, environment, close-on-exec,
// ids.
#include "guest.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

static const char* helper;
static char helper_copy[4096];
static char* environment[] = {"KEEP1=x", "KEEP_EMPTY=", "KEEPNOEQUALS", "OTHER=1", NULL};
static char* arguments[] = {"name of its own", "", "with \"quotes\" and \\", "\xc3\xa4\x01\xff", "-n", NULL};

static void by_path(void) { execve(helper, arguments, environment); }
static void by_fexecve(void) {
  int fd = open(helper, O_RDONLY | O_CLOEXEC);
  fexecve(fd, arguments, environment);
}
static void by_execveat(void) {
  int folder = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
  syscall(SYS_execveat, folder, helper + 1, arguments, environment, 0);
}
static void by_execveat_empty(void) {
  int fd = open(helper, O_PATH | O_CLOEXEC);
  syscall(SYS_execveat, fd, "", arguments, environment, AT_EMPTY_PATH);
}
static void no_arguments(void) {
  char* none[] = {NULL};
  execve(helper, none, environment);
}
static void descriptors(void) {
  dup2(1, 5);
  fcntl(dup2(1, 6), F_SETFD, FD_CLOEXEC);
  dup2(1, 700);
  open("/dev/null", O_RDONLY | O_CLOEXEC);
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR1);
  sigprocmask(SIG_BLOCK, &set, NULL);
  signal(SIGUSR2, SIG_IGN);
  signal(SIGHUP, SIG_DFL);
  execve(helper, arguments, environment);
}
static void twice(void) {
  // 32 -> 64 -> 32 or the reverse, through the shell
  char command[9000];
  snprintf(command, sizeof command, "exec %s through sh", helper);
  char* shell[] = {"sh", "-c", command, NULL};
  execve("/bin/sh", shell, environment);
}
static void script(void) {
  char* names[] = {"ignored", "a b", "c", NULL};
  execve("./script", names, environment);
}
static void script_by_fd(void) {
  int fd = open("./script", O_RDONLY);
  syscall(SYS_execveat, fd, "", arguments, environment, AT_EMPTY_PATH);
}

int main(int argc, char** argv) {
  (void)argc;
  static const char* const kBits[] = {"64", "32"};
  for (int i = 0; i < 2; ++i) {
    helper = strcpy(helper_copy, guest_sibling(argv[0], "echo_args", kBits[i]));
    int fd = open("script", O_WRONLY | O_CREAT | O_TRUNC, 0700);
    dprintf(fd, "#!%s  one argument with spaces \t\n", helper);
    close(fd);
    guest_child("path", by_path);
    guest_child("fexecve", by_fexecve);
    guest_child("execveat", by_execveat);
    guest_child("execveat empty", by_execveat_empty);
    guest_child("no arguments", no_arguments);
    guest_child("descriptors", descriptors);
    guest_child("twice", twice);
    guest_child("script", script);
    guest_child("script by descriptor", script_by_fd);
  }
  int fd = open("script", O_RDONLY | O_CLOEXEC);
  SHOW_RC(fexecve(fd, arguments, environment));  // the interpreter could not open it
  return guest_end();
}
