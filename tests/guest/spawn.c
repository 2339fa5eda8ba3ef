// Goal: posix_spawn with file actions and attributes, its error reporting, system() and popen().
#include "guest.h"

#include <fcntl.h>
#include <spawn.h>

extern char** environ;

int main(int argc, char** argv) {
  (void)argc;
  const char* helper = guest_sibling(argv[0], "echo_args", NULL);
  char* arguments[] = {"echo_args", "one", "", "three  spaces", NULL};
  char* environment[] = {"KEEP=this", "DROP=that", NULL};
  pid_t pid;
  fflush(stdout);
  int error = posix_spawn(&pid, helper, NULL, NULL, arguments, environment);
  guest_reap("plain", pid);
  SHOW(error);
  printf("%s\n", guest_errname(posix_spawn(&pid, "/nonexistent", NULL, NULL, arguments, environ)));
  printf("%s\n", guest_errname(posix_spawn(&pid, "/etc/passwd", NULL, NULL, arguments, environ)));
  printf("%s\n", guest_errname(posix_spawnp(&pid, "no such program", NULL, NULL, arguments, environ)));
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 1, "out", O_WRONLY | O_CREAT | O_TRUNC, 0600);
  posix_spawn_file_actions_adddup2(&actions, 1, 9);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  posix_spawnattr_setflags(&attributes,
                           POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR2);
  posix_spawnattr_setsigmask(&attributes, &set);
  signal(SIGUSR1, SIG_IGN);
  signal(SIGHUP, SIG_IGN);
  sigemptyset(&set);
  sigaddset(&set, SIGUSR1);
  posix_spawnattr_setsigdefault(&attributes, &set);
  fflush(stdout);
  SHOW(posix_spawn(&pid, helper, &actions, &attributes, arguments, environment));
  guest_reap("actions", pid);
  FILE* out = fopen("out", "r");
  for (int c = fgetc(out); c != EOF; c = fgetc(out)) putchar(c);
  fclose(out);
  posix_spawn_file_actions_addopen(&actions, 5, "/nonexistent/file", O_RDONLY, 0);
  printf("%s\n", guest_errname(posix_spawn(&pid, helper, &actions, NULL, arguments, environ)));
  int good = 0;
  char* quiet[] = {"true", NULL};
  for (int i = 0; i < 50; ++i) {
    int status = -1;
    good += posix_spawn(&pid, "/bin/true", NULL, NULL, quiet, environ) == 0 &&
            waitpid(pid, &status, 0) == pid && status == 0;
  }
  SHOW(good);
  fflush(stdout);
  guest_show_status("system", system("echo from the shell; exit 9"));
  FILE* pipe_end = popen("cat; echo end", "w");
  fputs("through popen\n", pipe_end);
  guest_show_status("popen", pclose(pipe_end));
  return guest_end();
}
