// Goal: masks inside handlers and after them, nesting, SA_NODEFER, SA_RESETHAND, sigaltstack, what fork and
// exec keep.
#include "guest.h"

#include <sys/wait.h>

static int level;
static int raised;
static char alternate_stack[65536];

static void show_mask(const char* label) {
  sigset_t set;
  sigprocmask(SIG_BLOCK, NULL, &set);
  printf("%s: blocked", label);
  for (int sig = 1; sig < 65; ++sig) {
    if (sigismember(&set, sig) == 1) printf(" %d", sig);
  }
  printf("\n");
}

static void nested(int sig, siginfo_t* info, void* context) {
  (void)info;
  const ucontext_t* saved = context;
  ++level;
  printf("enter %d at level %d, saved mask has USR1 %d USR2 %d\n", sig, level,
         sigismember(&saved->uc_sigmask, SIGUSR1), sigismember(&saved->uc_sigmask, SIGUSR2));
  show_mask("  inside");
  if (level < 4 && ++raised < 8) {
    raise(sig == SIGUSR1 ? SIGUSR2 : SIGUSR1);
    if (level == 2) raise(SIGHUP);
  }
  printf("leave %d at level %d\n", sig, level);
  --level;
}

static void where(int sig, siginfo_t* info, void* context) {
  (void)info, (void)context;
  char here;
  stack_t now;
  sigaltstack(NULL, &now);
  printf("signal %d: on the alternate stack %d, flags %d\n", sig,
         &here > alternate_stack && &here < alternate_stack + sizeof alternate_stack, now.ss_flags);
  if (sig == SIGUSR1) raise(SIGUSR2);
  SHOW_RC(sigaltstack(&(stack_t){.ss_flags = SS_DISABLE}, NULL));
}

static void change_mask(int sig, siginfo_t* info, void* context) {
  (void)sig, (void)info;
  ucontext_t* saved = context;
  sigaddset(&saved->uc_sigmask, SIGWINCH);  // takes effect on return
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGURG);
  sigprocmask(SIG_BLOCK, &set, NULL);  // undone on return
}

static void with_mask(int sig, int flags, int also) {
  struct sigaction action = {.sa_sigaction = nested, .sa_flags = SA_SIGINFO | flags};
  sigemptyset(&action.sa_mask);
  if (also != 0) sigaddset(&action.sa_mask, also);
  CHECK(sigaction(sig, &action, NULL) == 0);
}

int main(int argc, char** argv) {
  (void)argc;
  show_mask("start");
  with_mask(SIGUSR1, 0, SIGHUP);
  with_mask(SIGUSR2, SA_NODEFER, 0);
  with_mask(SIGHUP, 0, SIGTERM);
  raise(SIGUSR1);
  show_mask("after");
  with_mask(SIGUSR2, SA_RESETHAND, 0);
  level = 3;
  raise(SIGUSR2);
  struct sigaction old;
  sigaction(SIGUSR2, NULL, &old);
  SHOW(old.sa_handler == SIG_DFL);
  // Blocked signals arrive together when unblocked, lowest number first to be delivered last.
  sigset_t set, previous;
  sigfillset(&set);
  sigprocmask(SIG_SETMASK, &set, &previous);
  show_mask("all");
  with_mask(SIGUSR1, SA_NODEFER, 0);
  with_mask(SIGUSR2, SA_NODEFER, 0);
  raise(SIGUSR2), raise(SIGHUP), raise(SIGUSR1), raise(SIGUSR1);
  level = 10;
  sigprocmask(SIG_SETMASK, &previous, NULL);
  guest_on(SIGUSR1, where, SA_ONSTACK);
  guest_on(SIGUSR2, where, SA_ONSTACK);
  CHECK(sigaltstack(&(stack_t){.ss_sp = alternate_stack, .ss_size = sizeof alternate_stack}, NULL) == 0);
  raise(SIGUSR1);
  SHOW_RC(sigaltstack(&(stack_t){.ss_sp = alternate_stack, .ss_size = 100}, NULL));
  guest_on(SIGUSR1, change_mask, 0);
  raise(SIGUSR1);
  show_mask("changed by the handler");
  signal(SIGUSR1, SIG_IGN);
  fflush(stdout);
  pid_t pid = fork();
  if (pid == 0) {
    show_mask("in the child");
    fflush(stdout);
    execl(guest_sibling(argv[0], "echo_args", NULL), "echo_args", NULL);
    _exit(99);
  }
  guest_reap("exec", pid);
  return guest_end();
}
