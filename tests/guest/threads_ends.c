// Goal: processes with threads end as they should: exec, exit_group, fork and death in a thread, leader gone
// first.
#include "guest.h"

#include <pthread.h>
#include <sys/syscall.h>

static const char* self;
static pid_t leader;

static void* spin(void* argument) {
  for (volatile long i = 0;; ++i) {
  }
  return argument;
}
static void* sleeper(void* argument) {
  for (;;) pause();
  return argument;
}

static void start(void* (*body)(void*)) {
  pthread_t thread;
  CHECK(pthread_create(&thread, NULL, body, NULL) == 0);
}

static void crowd(void) {
  start(spin);
  start(sleeper);
  usleep(5000);
}

static void* do_exec(void* argument) {
  char same[16];
  snprintf(same, sizeof same, "KEEP=%d", getpid() == leader);
  char* environment[] = {same, NULL};
  execle(guest_sibling(self, "echo_args", NULL), "echo_args", "from a thread", (char*)NULL, environment);
  return argument;
}
static void* do_exit(void* argument) {
  (void)argument;
  exit(21);
}
static void* do_fork(void* argument) {
  pid_t pid = fork();
  if (pid == 0) {
    // Only this thread is in the child; it is the leader there.
    CHECK(getpid() == syscall(SYS_gettid));
    _exit(guest_failures != 0 ? 99 : 5);
  }
  guest_reap("fork in a thread", pid);
  return argument;
}
static void* do_crash(void* argument) {
  *(volatile int*)8 = 1;
  return argument;
}
static void* late(void* argument) {
  usleep(50000);
  puts("the thread lives on without its leader");
  fflush(stdout);
  (void)argument;
  _exit(17);
}
static void* late_return(void* argument) {
  usleep(50000);
  return argument;
}

static void exec_in_thread(void) {
  leader = getpid();
  crowd();
  start(do_exec);
  for (;;) pause();
}
static void exec_in_leader(void) {
  crowd();
  leader = getpid();
  do_exec(NULL);
}
static void exit_in_thread(void) {
  crowd();
  start(do_exit);
  for (;;) pause();
}
static void return_from_main(void) {
  crowd();
  exit(22);
}
static void crash_in_thread(void) {
  crowd();
  start(do_crash);
  for (;;) pause();
}
static void kill_all(void) {
  crowd();
  kill(getpid(), SIGKILL);
  for (;;) pause();
}
static void leader_first(void) {
  start(late);
  pthread_exit(NULL);
}
static void last_thread(void) {
  start(late_return);
  syscall(SYS_exit, 33);  // the leader's status counts, though it ends first
}
static void fork_in_thread(void) {
  pthread_t thread;
  crowd();
  CHECK(pthread_create(&thread, NULL, do_fork, NULL) == 0 && pthread_join(thread, NULL) == 0);
}
static int at_fork;
static void before(void) { at_fork += 1; }
static void after(void) { at_fork += 10; }
static void fork_handlers(void) {
  pthread_atfork(before, after, after);
  pid_t pid = fork();
  if (pid == 0) _exit(at_fork);
  guest_reap("atfork", pid);
  SHOW(at_fork);
}

int main(int argc, char** argv) {
  (void)argc;
  self = argv[0];
  for (int i = 0; i < 3; ++i) {
    guest_child("exec in a thread", exec_in_thread);
    guest_child("exec in the leader", exec_in_leader);
    guest_child("exit in a thread", exit_in_thread);
    guest_child("return from main", return_from_main);
    guest_child("crash in a thread", crash_in_thread);
    guest_child("SIGKILL", kill_all);
    guest_child("leader first", leader_first);
    guest_child("last thread", last_thread);
    guest_child("forker", fork_in_thread);
  }
  guest_child("handlers", fork_handlers);
  return guest_end();
}
