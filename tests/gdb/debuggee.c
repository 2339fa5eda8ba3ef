// What the debugger test looks at: first argument, one way to be interesting.  The test names functions, not
// lines.
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

volatile int shared = 5;
volatile double half = 0.5;
static volatile int ready;

__attribute__((noinline)) int triple(int x) {
  int result = x * 3;
  return result;
}

__attribute__((noinline)) int in_thread(int number) {
  shared += number;
  return shared;
}

static void* worker(void* arg) {
  (void)arg;
  return (void*)(long)in_thread(100);
}

static void* waiter(void* arg) {
  (void)arg;
  ready = 1;
  pause();
  return NULL;
}

static int counted;

__attribute__((noinline)) void count_one(void) { __atomic_fetch_add(&counted, 1, __ATOMIC_SEQ_CST); }

static void* many_calls(void* arg) {
  for (int i = 0; i < 10; ++i) {
    count_one();
    getppid();
  }
  return arg;
}

static void on_usr1(int signo) { shared += signo; }

__attribute__((noinline)) void crash(volatile int* where) { *where = 1; }

__attribute__((noinline)) void in_child(void) { shared = 77; }

static int fork_and_wait(void) {
  int status = 0;
  pid_t child = fork();
  if (child == 0) {
    in_child();
    _exit(shared == 77 ? 9 : 1);
  }
  waitpid(child, &status, 0);
  return WEXITSTATUS(status);
}

static int vfork_and_wait(void) {
  int status = 0;
  pid_t child = vfork();
  if (child == 0) {
    in_child();
    _exit(8);
  }
  waitpid(child, &status, 0);
  return WEXITSTATUS(status);
}

int main(int argc, char** argv) {
  const char* mode = argc > 1 ? argv[1] : "plain";
  int value = 14;
  value = triple(value);
  printf("value %d shared %d half %.2f\n", value, shared, half);
  fflush(stdout);
  if (strcmp(mode, "threads") == 0) {
    pthread_t a, b;
    pthread_create(&a, NULL, waiter, NULL);
    while (!ready) usleep(1000);
    pthread_create(&b, NULL, worker, NULL);
    pthread_join(b, NULL);
    printf("shared %d\n", shared);
  } else if (strcmp(mode, "crash") == 0) {
    crash(NULL);
  } else if (strcmp(mode, "usr1") == 0) {
    signal(SIGUSR1, on_usr1);
    raise(SIGUSR1);
    printf("shared %d\n", shared);
  } else if (strcmp(mode, "abort") == 0) {
    abort();
  } else if (strcmp(mode, "fork") == 0) {
    printf("child %d\n", fork_and_wait());
    int status = vfork_and_wait();
    printf("vfork child %d shared %d\n", status, shared);
  } else if (strcmp(mode, "sleep") == 0) {
    ready = 1;
    sleep(60);
  } else if (strcmp(mode, "spin") == 0) {
    while (shared == 5) ready = 1;
    printf("left %d\n", shared);
  } else if (strcmp(mode, "crowd") == 0) {
    pthread_t crowd[4];
    for (int i = 0; i < 4; ++i) pthread_create(&crowd[i], NULL, many_calls, NULL);
    for (int i = 0; i < 4; ++i) pthread_join(crowd[i], NULL);
    printf("counted %d\n", counted);
  } else if (strcmp(mode, "exec") == 0) {
    execl("/bin/echo", "echo", "executed", (char*)NULL);
  }
  return value == 42 ? 7 : 1;
}
