// Goal: waiting for signals: sigsuspend, sigtimedwait, signalfd, pending sets, order and number of real-time
// signals.
#include "guest.h"

#include <sys/signalfd.h>
#include <time.h>

static int order[64];
static int count;

static void record(int sig, siginfo_t* info, void* context) {
  (void)sig, (void)context;
  order[count++ % 64] = info->si_value.sival_int;
}

static void show_pending(const char* label) {
  sigset_t set;
  CHECK(sigpending(&set) == 0);
  printf("%s: pending", label);
  for (int sig = 1; sig < 65; ++sig) {
    if (sigismember(&set, sig) == 1) printf(" %d", sig);
  }
  printf("\n");
}

static void queue(int sig, int value) {
  CHECK(sigqueue(getpid(), sig, (union sigval){.sival_int = value}) == 0);
}

static void show_order(const char* label) {
  printf("%s:", label);
  for (int i = 0; i < count; ++i) printf(" %d", order[i]);
  printf("\n");
  count = 0;
}

int main(void) {
  sigset_t all, none, real_time;
  sigfillset(&all);
  sigemptyset(&none);
  sigemptyset(&real_time);
  sigprocmask(SIG_SETMASK, &all, NULL);
  for (int sig = SIGRTMIN; sig < SIGRTMIN + 3; ++sig) {
    struct sigaction action = {.sa_sigaction = record, .sa_flags = SA_SIGINFO};
    sigfillset(&action.sa_mask);
    CHECK(sigaction(sig, &action, NULL) == 0);
    sigaddset(&real_time, sig);
  }
  // The masks are full, so that each sigsuspend takes one signal only.
  struct sigaction action = {.sa_sigaction = record, .sa_flags = SA_SIGINFO};
  sigfillset(&action.sa_mask);
  CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
  for (int i = 0; i < 10; ++i) queue(SIGRTMIN + 2 - i % 3, i);
  queue(SIGUSR1, 100);
  queue(SIGUSR1, 101);  // an ordinary signal is not queued twice
  show_pending("ten queued");
  for (int i = 0; i < 11; ++i) SHOW_RC(sigsuspend(&none));
  show_order("delivered");
  show_pending("after");
  queue(SIGRTMIN + 1, 7);
  queue(SIGRTMIN, 8);
  siginfo_t info;
  for (int i = 0; i < 3; ++i) {
    int sig = sigtimedwait(&real_time, &info, &(struct timespec){0, 1000000});
    printf("sigtimedwait: %s value %d\n", sig < 0 ? guest_errname(errno) : "got",
           sig < 0 ? 0 : info.si_value.sival_int);
  }
  pid_t pid = fork();
  if (pid == 0) {
    usleep(20000);
    _exit(sigqueue(getppid(), SIGRTMIN + 1, (union sigval){.sival_int = 55}));
  }
  SHOW(sigwaitinfo(&real_time, &info) - SIGRTMIN);
  SHOW(info.si_value.sival_int);
  guest_reap("sender", pid);
  SHOW_RC(sigtimedwait(&real_time, &info, &(struct timespec){0, 2000000000}));
  int fd = signalfd(-1, &real_time, SFD_NONBLOCK);
  struct signalfd_siginfo got[4];
  SHOW_RC(read(fd, got, sizeof got));
  queue(SIGRTMIN + 2, 21);
  queue(SIGRTMIN, 22);
  SHOW_RC(read(fd, got, sizeof got) / (ssize_t)sizeof got[0]);
  printf("signalfd: %d %d, code %d\n", got[0].ssi_int, got[1].ssi_int, got[0].ssi_code);
  show_pending("before fork");
  queue(SIGUSR1, 1);
  fflush(stdout);
  pid = fork();
  if (pid == 0) {
    show_pending("a child starts with none");
    fflush(stdout);
    _exit(0);
  }
  guest_reap("child", pid);
  show_pending("the parent still has it");
  signal(SIGUSR1, SIG_IGN);
  show_pending("ignoring drops it");
  SHOW_RC(sigsuspend((sigset_t*)16));
  return guest_end();
}
