// What every guest test shares: output that survives a crash, checks that name themselves, results in words.
// A test prints what it observed, never a pid, an address or a time; the runner compares that with a native
// run.
#pragma once

#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

static int guest_failures;

/// Says so and makes the exit status 1 when `cond` is false; says nothing when it holds.
#define CHECK(cond)                                                                  \
  do {                                                                               \
    if (!(cond)) {                                                                   \
      printf("FAILED %s:%d: %s\n", strrchr("/" __FILE__, '/') + 1, __LINE__, #cond); \
      guest_failures = 1;                                                            \
    }                                                                                \
  } while (0)

/// Prints an expression and its value.
#define SHOW(expr) printf("%s = %lld\n", #expr, (long long)(expr))
/// Evaluates a call that gives -1 and errno; prints the value, or the name of the error.
#define SHOW_RC(expr) guest_show_rc(#expr, (errno = 0, (long long)(expr)), 1)
/// The same, but says only "ok" when it works: for results that differ from run to run.
#define SHOW_OK(expr) guest_show_rc(#expr, (errno = 0, (long long)(expr)), 0)

__attribute__((unused)) static const char* guest_errname(int error) {
  const char* name = strerrorname_np(error);
  return name != NULL ? name : "?";
}

__attribute__((unused)) static long long guest_show_rc(const char* text, long long result, int with_value) {
  int error = errno;
  if (result == -1 && error != 0) {
    printf("%s: %s\n", text, guest_errname(error));
  } else if (with_value != 0) {
    printf("%s: %lld\n", text, result);
  } else {
    printf("%s: ok\n", text);
  }
  errno = error;
  return result;
}

/// Prints a wait status in words.
__attribute__((unused)) static void guest_show_status(const char* label, int status) {
  if (WIFEXITED(status)) {
    printf("%s: exited %d\n", label, WEXITSTATUS(status));
  } else if (WIFSIGNALED(status)) {
    printf("%s: killed by SIG%s%s\n", label, sigabbrev_np(WTERMSIG(status)),
           WCOREDUMP(status) ? " (core)" : "");
  } else if (WIFSTOPPED(status)) {
    printf("%s: stopped by SIG%s\n", label, sigabbrev_np(WSTOPSIG(status)));
  } else if (WIFCONTINUED(status)) {
    printf("%s: continued\n", label);
  } else {
    printf("%s: status %#x\n", label, status);
  }
}

/// Waits for `pid` and prints how it ended.
__attribute__((unused)) static int guest_reap(const char* label, pid_t pid) {
  int status = -1;
  pid_t got;
  do {
    got = waitpid(pid, &status, 0);
  } while (got < 0 && errno == EINTR);
  CHECK(got == pid);
  guest_show_status(label, status);
  return status;
}

/// Runs `body` in a child and prints how it ended; a body that returns ends the child with the check result.
__attribute__((unused)) static int guest_child(const char* label, void (*body)(void)) {
  fflush(stdout);
  pid_t pid = fork();
  if (pid == 0) {
    body();
    fflush(stdout);
    _exit(guest_failures);
  }
  CHECK(pid > 0);
  return guest_reap(label, pid);
}

/// Installs an SA_SIGINFO handler with an empty mask.
__attribute__((unused)) static void guest_on(int sig, void (*handler)(int, siginfo_t*, void*), int flags) {
  struct sigaction action;
  memset(&action, 0, sizeof action);
  action.sa_sigaction = handler;
  action.sa_flags = SA_SIGINFO | flags;
  sigemptyset(&action.sa_mask);
  CHECK(sigaction(sig, &action, NULL) == 0);
}

/// Path of another test program in the same folder and of the same bitness: guest_sibling(argv[0],
/// "echo_args").
__attribute__((unused)) static const char* guest_sibling(const char* self, const char* name,
                                                         const char* bits) {
  static char path[4096];
  const char* slash = strrchr(self, '/');
  snprintf(path, sizeof path, "%.*s/%s.%s", slash != NULL ? (int)(slash - self) : 1,
           slash != NULL ? self : ".", name, bits != NULL ? bits : (sizeof(void*) == 8 ? "64" : "32"));
  return path;
}

__attribute__((constructor, unused)) static void guest_start(void) { setvbuf(stdout, NULL, _IOLBF, 1 << 16); }

/// Exit status of the test.
__attribute__((unused)) static int guest_end(void) {
  puts(guest_failures != 0 ? "FAILED" : "done");
  return guest_failures;
}
