// Goal: all clocks tick, never backwards, agree with each other and across threads; usage and load figures
// are sane.
#include "guest.h"

#include <pthread.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <sys/time.h>
#include <sys/times.h>
#include <time.h>

static const struct {
  const char* name;
  clockid_t id;
} kClocks[] = {{"REALTIME", CLOCK_REALTIME},
               {"MONOTONIC", CLOCK_MONOTONIC},
               {"PROCESS", CLOCK_PROCESS_CPUTIME_ID},
               {"THREAD", CLOCK_THREAD_CPUTIME_ID},
               {"MONOTONIC_RAW", CLOCK_MONOTONIC_RAW},
               {"REALTIME_COARSE", CLOCK_REALTIME_COARSE},
               {"MONOTONIC_COARSE", CLOCK_MONOTONIC_COARSE},
               {"BOOTTIME", CLOCK_BOOTTIME},
               {"TAI", CLOCK_TAI}};

static long long read_clock(clockid_t id) {
  struct timespec t;
  CHECK(clock_gettime(id, &t) == 0);
  CHECK(t.tv_nsec >= 0 && t.tv_nsec < 1000000000);
  return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void* monotone(void* argument) {
  long long last = 0;
  long backwards = 0;
  for (int i = 0; i < 200000; ++i) {
    long long t = read_clock(CLOCK_MONOTONIC);
    backwards += t < last;
    last = t;
  }
  *(long*)argument = backwards;
  return NULL;
}

static void burn(long long ns) {
  long long until = read_clock(CLOCK_THREAD_CPUTIME_ID) + ns;
  while (read_clock(CLOCK_THREAD_CPUTIME_ID) < until) {
  }
}

int main(void) {
  for (size_t i = 0; i < sizeof kClocks / sizeof kClocks[0]; ++i) {
    struct timespec resolution;
    CHECK(clock_getres(kClocks[i].id, &resolution) == 0);
    long long a = read_clock(kClocks[i].id);
    burn(20000000);
    long long b = read_clock(kClocks[i].id);
    printf("%s: resolution %ld, moved %d\n", kClocks[i].name, resolution.tv_nsec,
           b > a && b - a < 5000000000LL);
  }
  struct timespec unused;
  SHOW_RC(clock_gettime(12345, &unused));
  SHOW_RC(syscall(SYS_clock_gettime, CLOCK_REALTIME, (void*)16));
  long long before = read_clock(CLOCK_REALTIME);
  struct timeval day;
  gettimeofday(&day, NULL);
  long long after = read_clock(CLOCK_REALTIME);
  long long micro = day.tv_sec * 1000000LL + day.tv_usec;
  SHOW(micro >= before / 1000 && micro <= after / 1000 + 1);
  // time() reads the coarse clock.
  time_t second = time(NULL);
  SHOW(second >= before / 1000000000 - 1 && second <= after / 1000000000 + 1);
  pthread_t threads[3];
  long backwards[3];
  for (int i = 0; i < 3; ++i) pthread_create(&threads[i], NULL, monotone, &backwards[i]);
  for (int i = 0; i < 3; ++i) pthread_join(threads[i], NULL);
  SHOW(backwards[0] + backwards[1] + backwards[2]);
  struct rusage self;
  long long cpu = read_clock(CLOCK_PROCESS_CPUTIME_ID);
  burn(50000000);
  SHOW(read_clock(CLOCK_PROCESS_CPUTIME_ID) - cpu >= 50000000);
  SHOW_RC(getrusage(RUSAGE_SELF, &self));
  long long used = (self.ru_utime.tv_sec + self.ru_stime.tv_sec) * 1000000LL + self.ru_utime.tv_usec +
                   self.ru_stime.tv_usec;
  SHOW(used >= 100000 && self.ru_maxrss > 0 && self.ru_minflt > 0);
  struct tms t;
  SHOW(times(&t) != (clock_t)-1);
  SHOW(t.tms_utime + t.tms_stime >= 10);
  fflush(stdout);
  pid_t pid = fork();
  if (pid == 0) {
    burn(50000000);
    _exit(0);
  }
  guest_reap("burner", pid);
  SHOW_RC(getrusage(RUSAGE_CHILDREN, &self));
  SHOW((self.ru_utime.tv_usec + self.ru_stime.tv_usec) +
           (self.ru_utime.tv_sec + self.ru_stime.tv_sec) * 1000000 >=
       45000);
  clockid_t other;
  SHOW(clock_getcpuclockid(0, &other));
  SHOW(read_clock(other) > 0);
  struct sysinfo info;
  SHOW_RC(sysinfo(&info));
  SHOW(info.totalram > 0 && info.procs > 0 && info.uptime > 0);
  SHOW_RC(getrusage(77, &self));
  return guest_end();
}
