/* What one program sees of its machine.  probe numbers | go CPU | threads | spin SECONDS */
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <time.h>
#include <unistd.h>

static void die(const char* what) {
  perror(what);
  exit(1);
}

static void print_affinity(void) {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) != 0) die("sched_getaffinity");
  printf("affinity");
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu)
    if (CPU_ISSET(cpu, &set)) printf(" %d", cpu);
  printf("\n");
}

static void print_place(void) {
  unsigned cpu = 0, node = 0;
  char where[32] = "?";
  if (syscall(SYS_getcpu, &cpu, &node, NULL) != 0) die("getcpu");
  FILE* f = fopen("/proc/self/hpc/where", "r");
  if (f == NULL || fgets(where, sizeof where, f) == NULL) die("/proc/self/hpc/where");
  fclose(f);
  printf("cpu %u\nnode %u\nwhere %d\n", cpu, node, atoi(where));
}

static void numbers(void) {
  struct sysinfo info;
  unsigned long small = 0;
  if (sysinfo(&info) != 0) die("sysinfo");
  printf("online %ld\nconfigured %ld\n", sysconf(_SC_NPROCESSORS_ONLN), sysconf(_SC_NPROCESSORS_CONF));
  printf("memory %llu\n", (unsigned long long)info.totalram * info.mem_unit >> 10);
  printf("pages %llu\n", (unsigned long long)sysconf(_SC_PHYS_PAGES) * 4);
  print_affinity();
  print_place();
  /* A set that names no CPU of the machine, and one whose size does. */
  cpu_set_t none;
  CPU_ZERO(&none);
  CPU_SET(1000, &none);
  printf("nowhere %d\n", sched_setaffinity(0, sizeof none, &none));
  printf("bytes %ld\n", syscall(SYS_sched_getaffinity, 0, sizeof small, &small));
}

static void go(int cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  if (sched_setaffinity(0, sizeof set, &set) != 0) die("sched_setaffinity");
  print_affinity();
  print_place();
}

static void* thread_main(void* arg) {
  (void)arg;
  print_affinity();
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(0, &set);
  CPU_SET(1, &set);
  if (pthread_setaffinity_np(pthread_self(), sizeof set, &set) != 0) die("pthread_setaffinity_np");
  print_affinity();
  return NULL;
}

static void threads(void) {
  pthread_t thread;
  if (pthread_create(&thread, NULL, thread_main, NULL) != 0) die("pthread_create");
  pthread_join(thread, NULL);
  print_affinity();
}

static void spin(int seconds) {
  struct timespec begin, now;
  clock_gettime(CLOCK_MONOTONIC, &begin);
  do clock_gettime(CLOCK_MONOTONIC, &now);
  while (now.tv_sec < begin.tv_sec + seconds);
}

int main(int argc, char** argv) {
  if (argc > 1 && strcmp(argv[1], "numbers") == 0) numbers();
  if (argc > 2 && strcmp(argv[1], "go") == 0) go(atoi(argv[2]));
  if (argc > 1 && strcmp(argv[1], "threads") == 0) threads();
  if (argc > 2 && strcmp(argv[1], "spin") == 0) spin(atoi(argv[2]));
  return 0;
}
