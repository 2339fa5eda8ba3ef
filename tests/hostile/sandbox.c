// Goal: a program that confines itself (seccomp strict and filter, no_new_privs) sees what Linux shows.
#include "guest.h"

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

static siginfo_t last;

static void on_sys(int sig, siginfo_t* info, void* context) {
  (void)sig, (void)context;
  last = *info;
}

static void strict(void) {
  if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT) != 0) _exit(1);
  syscall(SYS_write, 1, "may write\n", 10);
  syscall(SYS_exit, 4);
}
static void strict_killed(void) {
  prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT);
  syscall(SYS_getpid);
  syscall(SYS_exit, 5);
}

// Everything is allowed but getppid (errno 77), getpgrp (SIGSYS) and sync (kills).
static int install(unsigned flags) {
  struct sock_filter code[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
#ifdef __x86_64__
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 1, 0),
#else
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_I386, 1, 0),
#endif
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | 77),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getpgrp, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP | 5),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_sync, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  struct sock_fprog program = {sizeof code / sizeof code[0], code};
  return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program);
}

static void* in_thread(void* argument) {
  errno = 0;
  *(int*)argument = syscall(SYS_getppid) == -1 && errno == 77;
  return NULL;
}

static void filter(void) {
  SHOW_RC(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
  SHOW_RC(install(SECCOMP_FILTER_FLAG_TSYNC));
  SHOW_RC(prctl(PR_GET_SECCOMP));
  SHOW(syscall(SYS_getppid));
  SHOW(errno);
  guest_on(SIGSYS, on_sys, 0);
  syscall(SYS_getpgrp);
  printf("SIGSYS code %d call %d errno %d arch %d\n", last.si_code, last.si_syscall == SYS_getpgrp,
         last.si_errno, last.si_arch == AUDIT_ARCH_X86_64 || last.si_arch == AUDIT_ARCH_I386);
  // The launcher's own work goes on under the filter: memory, threads, processes.
  char* area = mmap(NULL, 16 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  for (int i = 0; i < 16 << 20; i += 4096) area[i] = 1;
  pthread_t thread;
  int inherited = 0;
  CHECK(pthread_create(&thread, NULL, in_thread, &inherited) == 0 && pthread_join(thread, NULL) == 0);
  SHOW(inherited);
  fflush(stdout);
  pid_t pid = fork();
  if (pid == 0) _exit(syscall(SYS_getppid) == -1 ? 8 : 9);
  guest_reap("child", pid);
  fflush(stdout);
  guest_show_status("exec", system("grep ^Seccomp: /proc/self/status"));
}
static void filter_killed(void) {
  prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  install(0);
  sync();
}
static void without_privilege(void) {
  CHECK(setuid(65534) == 0);
  SHOW_RC(install(0));
}

int main(void) {
  guest_child("strict", strict);
  guest_child("strict, killed", strict_killed);
  guest_child("filter", filter);
  guest_child("filter, killed", filter_killed);
  if (getuid() == 0) guest_child("without privilege", without_privilege);
  SHOW_RC(syscall(SYS_seccomp, 99, 0, NULL));
  SHOW_RC(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, 16));
  return guest_end();
}
