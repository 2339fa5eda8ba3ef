// Goal: stopping and continuing: by itself, by others, with threads, while blocked and while computing.
#include "guest.h"

#include <pthread.h>
#include <sys/mman.h>

static volatile unsigned long* counter;

static void until(pid_t pid, int options) {
  int status = 0;
  CHECK(waitpid(pid, &status, options) == pid);
  guest_show_status("  parent", status);
}

static void* count(void* argument) {
  for (;;) ++*counter;
  return argument;
}
static void compute(void) { count(NULL); }
static void sleep_on(void) {
  for (;;) pause();
}
static void threads(void) {
  pthread_t thread;
  for (int i = 0; i < 3; ++i) pthread_create(&thread, NULL, count, NULL);
  sleep_on();
}
static void stop_itself(void) {
  raise(SIGSTOP);
  raise(SIGTSTP);
  _exit(4);
}
static void stop_blocked_read(void) {
  int fds[2];
  char c;
  if (pipe(fds) != 0) _exit(1);
  if (fork() == 0) {
    usleep(150000);
    _exit(write(fds[1], "x", 1) == 1 ? 0 : 1);
  }
  _exit(read(fds[0], &c, 1) == 1 ? 6 : 7);  // a stop and continue must not show as EINTR
}

static void exercise(const char* label, void (*body)(void), int counts) {
  printf("%s\n", label);
  fflush(stdout);
  pid_t pid = fork();
  if (pid == 0) body();
  for (int i = 0; i < 3; ++i) {
    usleep(10000);
    kill(pid, SIGSTOP);
    until(pid, WUNTRACED);
    unsigned long before = *counter;
    usleep(20000);
    CHECK(*counter == before);
    kill(pid, SIGCONT);
    until(pid, WCONTINUED);
    if (counts != 0) {
      for (int spins = 0; *counter == before && spins < 2000; ++spins) usleep(1000);
      CHECK(*counter != before);
    }
  }
  kill(pid, SIGSTOP);
  until(pid, WUNTRACED);
  kill(pid, SIGTERM);  // pending until continued
  int status = 0;
  usleep(10000);
  SHOW(waitpid(pid, &status, WNOHANG));
  kill(pid, SIGCONT);
  until(pid, 0);
}

static volatile sig_atomic_t continued;
static void on_cont(int sig) {
  (void)sig;
  continued = 1;
}
static void handler(void) {
  signal(SIGCONT, on_cont);
  signal(SIGTSTP, SIG_IGN);
  raise(SIGTSTP);  // ignored
  raise(SIGSTOP);
  _exit(continued != 0 ? 8 : 9);
}

int main(void) {
  counter = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  exercise("computing", compute, 1);
  exercise("sleeping", sleep_on, 0);
  exercise("threads", threads, 1);
  pid_t pid = fork();
  if (pid == 0) {
    setpgid(0, 0);
    stop_itself();
  }
  until(pid, WUNTRACED);
  kill(pid, SIGCONT);
  // The second stop is SIGTSTP: its group is orphaned or not as in the native run.
  until(pid, WUNTRACED);
  kill(pid, SIGCONT);
  waitpid(pid, NULL, 0);
  pid = fork();
  if (pid == 0) handler();
  until(pid, WUNTRACED);
  kill(pid, SIGCONT);
  until(pid, 0);
  pid = fork();
  if (pid == 0) stop_blocked_read();
  usleep(20000);
  kill(pid, SIGSTOP);
  until(pid, WUNTRACED);
  kill(pid, SIGCONT);
  until(pid, 0);
  pid = fork();
  if (pid == 0) sleep_on();
  kill(pid, SIGSTOP);
  until(pid, WUNTRACED);
  kill(pid, SIGKILL);  // kills a stopped process at once
  until(pid, 0);
  return guest_end();
}
