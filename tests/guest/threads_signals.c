// Goal: robust mutexes whose owner dies, priority inheritance, cancellation, signals to one thread or to any.
#include "guest.h"

#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static pthread_mutex_t robust;
static pthread_t main_thread;
static _Atomic int taken_by, hits;
static _Atomic int ready;

static void make_robust(pthread_mutex_t* mutex, int shared) {
  pthread_mutexattr_t attributes;
  pthread_mutexattr_init(&attributes);
  pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
  if (shared != 0) pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
  CHECK(pthread_mutex_init(mutex, &attributes) == 0);
}

static void* die_with_lock(void* argument) {
  (void)argument;
  pthread_mutex_lock(&robust);
  return NULL;
}

static void robust_mutexes(void) {
  pthread_t thread;
  make_robust(&robust, 0);
  CHECK(pthread_create(&thread, NULL, die_with_lock, NULL) == 0 && pthread_join(thread, NULL) == 0);
  SHOW(pthread_mutex_lock(&robust) == EOWNERDEAD);
  SHOW(pthread_mutex_consistent(&robust));
  SHOW(pthread_mutex_unlock(&robust));
  SHOW(pthread_mutex_lock(&robust));
  pthread_mutex_t* shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  make_robust(shared, 1);
  fflush(stdout);
  pid_t pid = fork();
  if (pid == 0) {
    pthread_mutex_lock(shared);
    kill(getpid(), SIGKILL);
  }
  guest_reap("owner", pid);
  SHOW(pthread_mutex_lock(shared) == EOWNERDEAD);
}

static void cleanup(void* argument) { *(int*)argument += 1; }
static int cleaned;

static void* cancelled(void* argument) {
  int fds[2];
  char c;
  pthread_cleanup_push(cleanup, &cleaned);
  CHECK(pipe(fds) == 0);
  if (argument != NULL) {
    pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, NULL);
    ready = 1;
    for (volatile long i = 0;; ++i) {
    }
  }
  ready = 1;
  if (read(fds[0], &c, 1) < 0) return "not cancelled";
  pthread_cleanup_pop(0);
  return "not cancelled";
}

static void cancellation(void) {
  for (int asynchronous = 0; asynchronous < 2; ++asynchronous) {
    pthread_t thread;
    void* result = NULL;
    ready = 0;
    CHECK(pthread_create(&thread, NULL, cancelled, asynchronous != 0 ? "yes" : NULL) == 0);
    while (ready == 0) usleep(1000);
    usleep(10000);
    CHECK(pthread_cancel(thread) == 0);
    CHECK(pthread_join(thread, &result) == 0);
    SHOW(result == PTHREAD_CANCELED);
  }
  SHOW(cleaned);
}

static void on_signal(int sig, siginfo_t* info, void* context) {
  (void)sig, (void)info, (void)context;
  taken_by = pthread_equal(pthread_self(), main_thread) != 0 ? 1 : 2;
  hits++;
}

static void* wait_for_end(void* argument) {
  (void)argument;
  ready = 1;
  while (ready == 1) usleep(1000);
  return NULL;
}

static void directed(void) {
  pthread_t thread;
  sigset_t usr;
  sigemptyset(&usr);
  sigaddset(&usr, SIGUSR1);
  guest_on(SIGUSR1, on_signal, 0);
  ready = 0;
  CHECK(pthread_create(&thread, NULL, wait_for_end, NULL) == 0);
  while (ready == 0) usleep(1000);
  taken_by = 0;
  SHOW(pthread_kill(thread, SIGUSR1));
  while (taken_by == 0) usleep(100);
  SHOW(taken_by);
  taken_by = 0;
  SHOW(pthread_kill(main_thread, SIGUSR1));
  SHOW(taken_by);
  // Blocked here: a signal to the process goes to the other thread.
  pthread_sigmask(SIG_BLOCK, &usr, NULL);
  taken_by = 0;
  kill(getpid(), SIGUSR1);
  while (taken_by == 0) usleep(100);
  SHOW(taken_by);
  taken_by = 0;
  pthread_kill(main_thread, SIGUSR1);  // to this thread: stays pending
  usleep(20000);
  SHOW(taken_by);
  sigset_t pending;
  sigpending(&pending);
  SHOW(sigismember(&pending, SIGUSR1));
  pthread_sigmask(SIG_UNBLOCK, &usr, NULL);
  SHOW(taken_by);
  hits = 0;
  for (int i = 0; i < 500; ++i) {
    int before = hits;
    pthread_kill(thread, SIGUSR1);
    while (hits == before) sched_yield();
  }
  SHOW(hits);
  ready = 2;
  pthread_join(thread, NULL);
}

int main(void) {
  main_thread = pthread_self();
  robust_mutexes();
  cancellation();
  directed();
  return guest_end();
}
