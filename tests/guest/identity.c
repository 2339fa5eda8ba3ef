// Goal: what a process knows and sets about itself and its machine: limits, mask, folder, name, processors,
// personality.
#include "guest.h"

#include <sched.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>

static void limits(void) {
  static const int kAll[] = {RLIMIT_AS,     RLIMIT_CORE,   RLIMIT_CPU,        RLIMIT_DATA,
                             RLIMIT_FSIZE,  RLIMIT_LOCKS,  RLIMIT_MEMLOCK,    RLIMIT_MSGQUEUE,
                             RLIMIT_NICE,   RLIMIT_NOFILE, RLIMIT_NPROC,      RLIMIT_RSS,
                             RLIMIT_RTPRIO, RLIMIT_RTTIME, RLIMIT_SIGPENDING, RLIMIT_STACK};
  for (size_t i = 0; i < sizeof kAll / sizeof kAll[0]; ++i) {
    struct rlimit r;
    CHECK(getrlimit((__rlimit_resource_t)kAll[i], &r) == 0);
    printf("limit %d: %lld %lld\n", kAll[i], (long long)r.rlim_cur, (long long)r.rlim_max);
  }
  struct rlimit r = {100, 200}, old;
  SHOW_RC(prlimit(0, RLIMIT_NOFILE, &r, &old));
  SHOW_RC(prlimit(getpid(), RLIMIT_NOFILE, NULL, &old));
  printf("%lld %lld\n", (long long)old.rlim_cur, (long long)old.rlim_max);
  r = (struct rlimit){300, 200};
  SHOW_RC(setrlimit(RLIMIT_NOFILE, &r));
  SHOW_RC(getrlimit((__rlimit_resource_t)99, &r));
  r = (struct rlimit){5 << 20, 6 << 20};
  SHOW_RC(setrlimit(RLIMIT_STACK, &r));
  fflush(stdout);
  guest_show_status("ulimit of a child", system("ulimit -s; ulimit -n; ulimit -H -n"));
}

static void processors(void) {
  cpu_set_t set, one;
  SHOW_RC(sched_getaffinity(0, sizeof set, &set));
  SHOW(CPU_COUNT(&set));
  SHOW(sysconf(_SC_NPROCESSORS_ONLN));
  SHOW(sysconf(_SC_NPROCESSORS_CONF));
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &set)) continue;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    CHECK(sched_setaffinity(0, sizeof one, &one) == 0);
    unsigned now = 99;
    CHECK(getcpu(&now, NULL) == 0);
    CHECK(now == (unsigned)cpu && sched_getcpu() == cpu);
  }
  SHOW_RC(sched_setaffinity(0, sizeof set, &set));
  CPU_ZERO(&one);
  SHOW_RC(sched_setaffinity(0, sizeof one, &one));
  SHOW_RC(syscall(SYS_sched_getaffinity, 0, 1, &set));
  SHOW_RC(sched_yield());
  SHOW_RC(sched_getscheduler(0));
  struct sched_param parameter = {0};
  SHOW_RC(sched_setscheduler(0, SCHED_BATCH, &parameter));
  SHOW_RC(sched_getscheduler(0));
  SHOW_RC(sched_get_priority_max(SCHED_FIFO));
  SHOW_RC(getpriority(PRIO_PROCESS, 0));
  SHOW_RC(nice(3));
  SHOW_RC(getpriority(PRIO_PROCESS, 0));
}

static void names(void) {
  struct utsname name;
  SHOW_RC(uname(&name));
  printf("%s %s %s\n", name.sysname, name.release, name.machine);
  SHOW_RC(prctl(PR_SET_NAME, "renamed"));
  char text[17] = "";
  SHOW_RC(prctl(PR_GET_NAME, text));
  puts(text);
  SHOW_RC(prctl(PR_GET_DUMPABLE));
  SHOW_RC(prctl(PR_SET_DUMPABLE, 0));
  SHOW_RC(prctl(PR_GET_DUMPABLE));
  SHOW_RC(prctl(PR_SET_DUMPABLE, 1));
  SHOW_RC(prctl(PR_SET_PDEATHSIG, SIGUSR1));
  int sig = 0;
  SHOW_RC(prctl(PR_GET_PDEATHSIG, &sig));
  SHOW(sig);
  SHOW_RC(prctl(PR_GET_KEEPCAPS));
  SHOW_RC(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
  SHOW_RC(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
  SHOW_RC(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
  SHOW_RC(prctl(PR_GET_TIMERSLACK));
  SHOW_RC(prctl(PR_GET_SECCOMP));
  SHOW_RC(prctl(54321, 0, 0, 0, 0));
  SHOW_RC(personality(0xffffffff));
  SHOW_RC(personality(ADDR_NO_RANDOMIZE));
  SHOW_RC(personality(0xffffffff));
}

int main(void) {
  char cwd[4096];
  SHOW(umask(077));
  SHOW(umask(022));
  SHOW_RC(mkdir("inner", 0777));
  SHOW_RC(chdir("inner"));
  CHECK(getcwd(cwd, sizeof cwd) != NULL);
  puts(strrchr(cwd, '/'));
  SHOW_RC(syscall(SYS_getcwd, cwd, 2));
  SHOW_RC(rmdir("../inner"));
  SHOW_RC(getcwd(cwd, sizeof cwd) == NULL ? -1 : 0);
  SHOW_RC(chdir("/nonexistent"));
  SHOW_RC(chdir("/"));
  names();
  processors();
  limits();
  char host[256];
  SHOW_RC(gethostname(host, sizeof host));
  SHOW_RC(syscall(9999));
  SHOW_RC(syscall(-1));
  unsigned char random[16] = {0};
  SHOW_RC(syscall(SYS_getrandom, random, 16, 0));
  return guest_end();
}
