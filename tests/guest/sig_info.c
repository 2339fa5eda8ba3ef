// Goal: siginfo is complete for each way to raise a signal: kill, tgkill, sigqueue, timers, children, the
// kernel.
#include "guest.h"

#include <fcntl.h>
#include <sys/syscall.h>
#include <time.h>

static volatile sig_atomic_t seen;
static siginfo_t last;

static void record(int sig, siginfo_t* info, void* context) {
  (void)sig, (void)context;
  last = *info;
  seen = seen + 1;
}

static void wait_one(void) {
  for (int i = 0; seen == 0 && i < 5000; ++i) usleep(1000);
  CHECK(seen == 1);
  seen = 0;
}

static void sent(const char* label) {
  wait_one();
  printf("%s: SIG%s code %d errno %d from me %d uid %d value %d\n", label, sigabbrev_np(last.si_signo),
         last.si_code, last.si_errno, last.si_pid == getpid(), last.si_uid == getuid(),
         last.si_value.sival_int);
}

static void from_timer(const char* label, int notify) {
  struct sigevent event = {.sigev_notify = notify, .sigev_signo = SIGRTMIN + 2};
  event.sigev_value.sival_int = 99;
  if (notify == SIGEV_THREAD_ID) event._sigev_un._tid = (pid_t)syscall(SYS_gettid);
  timer_t timer;
  CHECK(timer_create(CLOCK_MONOTONIC, &event, &timer) == 0);
  struct itimerspec soon = {.it_value = {0, 2000000}};
  CHECK(timer_settime(timer, 0, &soon, NULL) == 0);
  wait_one();
  printf("%s: signal RTMIN+%d code %d value %d overrun %d\n", label, last.si_signo - SIGRTMIN, last.si_code,
         last.si_value.sival_int, last.si_overrun);
  CHECK(timer_delete(timer) == 0);
}

static void child_event(const char* label, pid_t pid) {
  wait_one();
  printf("%s: code %d status %d pid %d uid %d\n", label, last.si_code, last.si_status, last.si_pid == pid,
         last.si_uid == getuid());
}

static void children(void) {
  guest_on(SIGCHLD, record, 0);
  pid_t pid = fork();
  if (pid == 0) _exit(33);
  child_event("exited", pid);
  waitpid(pid, NULL, 0);
  pid = fork();
  if (pid == 0) {
    for (;;) pause();
  }
  kill(pid, SIGSTOP);
  child_event("stopped", pid);
  kill(pid, SIGCONT);
  child_event("continued", pid);
  kill(pid, SIGKILL);
  child_event("killed", pid);
  waitpid(pid, NULL, 0);
}

int main(void) {
  guest_on(SIGUSR1, record, 0);
  guest_on(SIGRTMIN + 2, record, 0);
  guest_on(SIGPIPE, record, 0);
  guest_on(SIGIO, record, 0);
  kill(getpid(), SIGUSR1);
  sent("kill");
  raise(SIGUSR1);
  sent("tgkill");
  CHECK(sigqueue(getpid(), SIGUSR1, (union sigval){.sival_int = 1234}) == 0);
  sent("sigqueue");
  siginfo_t forged;
  memset(&forged, 0, sizeof forged);
  forged.si_code = -77;
  forged.si_value.sival_int = 555;
  SHOW_RC(syscall(SYS_rt_sigqueueinfo, getpid(), SIGUSR1, &forged));
  sent("rt_sigqueueinfo");
  // tgsigqueueinfo to oneself may even carry a code of the kernel's
  forged.si_code = SI_QUEUE;
  SHOW_RC(syscall(SYS_rt_tgsigqueueinfo, getpid(), syscall(SYS_gettid), SIGUSR1, &forged));
  sent("rt_tgsigqueueinfo");
  pid_t pid = fork();
  if (pid == 0) _exit(kill(getppid(), SIGUSR1));
  wait_one();
  printf("kill by child: pid %d\n", last.si_pid == pid);
  guest_reap("child", pid);
  from_timer("timer", SIGEV_SIGNAL);
  from_timer("timer to thread", SIGEV_THREAD_ID);
  int fds[2];
  CHECK(pipe(fds) == 0);
  CHECK(fcntl(fds[0], F_SETOWN, getpid()) == 0 && fcntl(fds[0], F_SETSIG, SIGIO) == 0);
  CHECK(fcntl(fds[0], F_SETFL, O_ASYNC | O_NONBLOCK) == 0);
  CHECK(write(fds[1], "x", 1) == 1);
  wait_one();
  printf("SIGIO: code %d fd %d band %ld\n", last.si_code, last.si_fd == fds[0], (long)last.si_band);
  close(fds[0]);
  SHOW_RC(write(fds[1], "x", 1));
  printf("SIGPIPE: %d, code %d\n", seen, last.si_code);
  seen = 0;
  children();
  SHOW_RC(kill(getpid(), 0));
  SHOW_RC(kill(getpid(), 65));
  SHOW_RC(syscall(SYS_tgkill, getpid(), -1, SIGUSR1));
  SHOW_RC(sigaction(SIGKILL, &(struct sigaction){.sa_handler = SIG_IGN}, NULL));
  return guest_end();
}
