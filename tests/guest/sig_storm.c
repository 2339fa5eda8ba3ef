// Goal: no signal is lost: timer storms over computation and over blocking reads; expirations equal handlers
// + overruns.
#include "guest.h"

#include <sys/time.h>
#include <time.h>

static volatile sig_atomic_t handled;
static volatile long expirations;
static timer_t timer;

static void on_timer(int sig, siginfo_t* info, void* context) {
  (void)sig, (void)context;
  handled = handled + 1;
  expirations += 1 + info->si_overrun;
}

static void on_usr(int sig, siginfo_t* info, void* context) {
  (void)sig, (void)info, (void)context;
  handled = handled + 1;
}

static long long now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static unsigned compute(long long until) {
  unsigned hash = 1;
  while (now() < until) {
    for (int i = 0; i < 1000; ++i) hash = hash * 31 + (unsigned)i;
  }
  return hash;
}

static void over_compute(void) {
  long long period = 1000000, start = now();
  struct itimerspec every = {.it_interval = {0, period}, .it_value = {0, period}};
  CHECK(timer_settime(timer, 0, &every, NULL) == 0);
  compute(start + 300000000);
  struct itimerspec stop = {.it_value = {0, 0}};
  timer_settime(timer, 0, &stop, NULL);
  long due = (long)((now() - start) / period);
  // Each expiration is either a handler or an overrun: at most the one in flight may be missing.
  CHECK(expirations >= due - 2 && expirations <= due + 2);
  CHECK(handled > 20);
}

// A child sends bytes one by one, storms of signals hit the blocked reader: every byte must arrive, in order.
static void over_reads(int flags) {
  enum { kBytes = 400 };
  int fds[2];
  CHECK(pipe(fds) == 0);
  guest_on(SIGALRM, on_usr, flags);
  pid_t pid = fork();
  if (pid == 0) {
    signal(SIGALRM, SIG_IGN);
    for (int i = 0; i < kBytes; ++i) {
      char c = (char)i;
      if (write(fds[1], &c, 1) != 1) _exit(1);
      usleep(300);
    }
    _exit(0);
  }
  struct itimerval storm = {{0, 500}, {0, 500}};
  handled = 0;
  setitimer(ITIMER_REAL, &storm, NULL);
  int good = 0, interrupted = 0;
  while (good < kBytes) {
    char c;
    ssize_t got = read(fds[0], &c, 1);
    if (got == 1 && c == (char)good) {
      ++good;
    } else if (got < 0 && errno == EINTR) {
      ++interrupted;
    } else {
      break;
    }
  }
  memset(&storm, 0, sizeof storm);
  setitimer(ITIMER_REAL, &storm, NULL);
  printf("bytes %d, interrupted as SA_RESTART says %d\n", good, (interrupted == 0) == (flags == SA_RESTART));
  CHECK(handled > 20);
  guest_reap("writer", pid);
  close(fds[0]), close(fds[1]);
}

// The race of every shell: a signal just before the blocking call.  With sigsuspend none may be missed.
static void handshake(void) {
  enum { kRounds = 500 };
  sigset_t usr, none;
  sigemptyset(&usr);
  sigemptyset(&none);
  sigaddset(&usr, SIGUSR1);
  sigprocmask(SIG_BLOCK, &usr, NULL);
  guest_on(SIGUSR1, on_usr, 0);
  handled = 0;
  pid_t parent = getpid();
  pid_t pid = fork();
  if (pid == 0) {
    for (int i = 0; i < kRounds; ++i) {
      kill(parent, SIGUSR1);
      while (handled <= i) sigsuspend(&none);
    }
    _exit(0);
  }
  for (int i = 0; i < kRounds; ++i) {
    while (handled <= i) sigsuspend(&none);
    kill(pid, SIGUSR1);
  }
  guest_reap("handshake", pid);
  SHOW(handled);
  sigprocmask(SIG_UNBLOCK, &usr, NULL);
}

int main(void) {
  guest_on(SIGRTMIN, on_timer, 0);
  struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN};
  CHECK(timer_create(CLOCK_MONOTONIC, &event, &timer) == 0);
  over_compute();
  CHECK(timer_delete(timer) == 0);
  over_reads(0);
  over_reads(SA_RESTART);
  handshake();
  // Signals aimed at a computation from outside: every queued real-time signal arrives.
  guest_on(SIGRTMIN + 1, on_usr, 0);
  handled = 0;
  pid_t parent = getpid();
  pid_t pid = fork();
  if (pid == 0) {
    for (int i = 0; i < 1000; ++i) {
      if (sigqueue(parent, SIGRTMIN + 1, (union sigval){.sival_int = i}) != 0) _exit(1);
    }
    _exit(0);
  }
  for (int i = 0; handled < 1000 && i < 200; ++i) compute(now() + 20000000);
  SHOW(handled);
  guest_reap("sender", pid);
  return guest_end();
}
