// Goal: no system call reads or writes the launcher's zone for the guest: flat pointers, nested ones, wide
// ranges.
#include "zone.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/utsname.h>
#include <time.h>

static int file, fds[2], pair[2];
static char good[64] = "good";

static void flat(char* at) {
  SHOW_RC(pread(file, at, 8, 0));
  SHOW_RC(pwrite(file, at, 8, 0));
  SHOW_RC(write(fds[1], at, 8));
  SHOW_RC(send(pair[0], at, 8, 0));
  SHOW_RC(open(at, O_RDONLY));
  SHOW_RC(syscall(SYS_getcwd, at, 100));
  SHOW_RC(syscall(SYS_uname, at));
  SHOW_RC(syscall(SYS_gettimeofday, at, NULL));
  SHOW_RC(syscall(SYS_clock_gettime, CLOCK_MONOTONIC, at));
  SHOW_RC(syscall(SYS_nanosleep, at, NULL));
  SHOW_RC(syscall(SYS_pipe2, at, 0));
  SHOW_RC(syscall(SYS_statx, AT_FDCWD, "/", 0, STATX_BASIC_STATS, at));
  SHOW_RC(syscall(SYS_readlink, "/proc/self/exe", at, 10));
  SHOW_RC(syscall(SYS_poll, at, 1, 0));
  SHOW_RC(syscall(SYS_epoll_ctl, 0, EPOLL_CTL_ADD, 0, at));
  SHOW_RC(syscall(SYS_getrandom, at, 8, 0));
  SHOW_RC(syscall(SYS_getrusage, RUSAGE_SELF, at));
  SHOW_RC(syscall(SYS_sysinfo, at));
  SHOW_RC(syscall(SYS_times, at));
  SHOW_RC(syscall(SYS_prlimit64, 0, RLIMIT_NOFILE, NULL, at));
  SHOW_RC(syscall(SYS_getitimer, ITIMER_REAL, at));
  SHOW_RC(syscall(SYS_sched_getaffinity, 0, 128, at));
  SHOW_RC(syscall(SYS_rt_sigaction, SIGUSR1, at, NULL, 8));
  SHOW_RC(syscall(SYS_rt_sigaction, SIGUSR1, NULL, at, 8));
  SHOW_RC(syscall(SYS_rt_sigprocmask, SIG_BLOCK, at, NULL, 8));
  SHOW_RC(syscall(SYS_rt_sigprocmask, SIG_BLOCK, NULL, at, 8));
  SHOW_RC(syscall(SYS_rt_sigpending, at, 8));
  SHOW_RC(syscall(SYS_rt_sigtimedwait, at, NULL, NULL, 8));
  SHOW_RC(syscall(SYS_sigaltstack, at, NULL));
  SHOW_RC(syscall(SYS_sigaltstack, NULL, at));
  SHOW_RC(syscall(SYS_futex, at, 0, 0, NULL, NULL, 0));
  SHOW_RC(syscall(SYS_futex, at, 1, 1, NULL, NULL, 0));
  SHOW_RC(syscall(SYS_get_robust_list, 0, at, good));
  SHOW_RC(syscall(SYS_socketpair, AF_UNIX, SOCK_STREAM, 0, at));
  SHOW_RC(syscall(SYS_getsockname, pair[0], at, good + 32));
  SHOW_RC(syscall(SYS_setsockopt, pair[0], SOL_SOCKET, SO_RCVBUF, at, 4));
  SHOW_RC(ioctl(fds[0], FIONREAD, at));
  SHOW_RC(fcntl(file, F_SETLK, at));
  SHOW_RC(prctl(PR_SET_NAME, at));
  SHOW_RC(prctl(PR_GET_NAME, at));
  SHOW_RC(syscall(SYS_timer_create, CLOCK_MONOTONIC, at, good));
  SHOW_RC(syscall(SYS_getdents64, open("/", O_RDONLY | O_CLOEXEC), at, 4096));
  SHOW_RC(execve("/bin/true", (char**)at, NULL));
  SHOW_RC(execve(at, NULL, NULL));
  SHOW_RC(mincore(at, kPage, (unsigned char*)good));
  SHOW_RC(syscall(SYS_clone3, at, 64));
}

static void nested(char* at) {
  struct iovec two[2] = {{good, 4}, {at, 8}};
  SHOW_RC(preadv(file, two + 1, 1, 0));
  SHOW_RC(preadv(file, (struct iovec*)at, 1, 0));
  SHOW_RC(process_vm_readv(getpid(), &(struct iovec){good, 8}, 1, &(struct iovec){at, 8}, 1, 0));
  SHOW_RC(process_vm_writev(getpid(), &(struct iovec){good, 8}, 1, &(struct iovec){at, 8}, 1, 0));
  SHOW_RC(process_vm_readv(getpid(), &(struct iovec){at, 8}, 1, &(struct iovec){good, 8}, 1, 0));
  struct msghdr message = {.msg_iov = two + 1, .msg_iovlen = 1};
  CHECK(send(pair[1], "12345678", 8, 0) == 8);
  SHOW_RC(recvmsg(pair[0], &message, MSG_DONTWAIT));
  SHOW_RC(sendmsg(pair[0], &message, 0));
  message = (struct msghdr){.msg_iov = two, .msg_iovlen = 1, .msg_control = at, .msg_controllen = 64};
  SHOW_RC(sendmsg(pair[0], &message, 0));
  message = (struct msghdr){.msg_name = at, .msg_namelen = 16, .msg_iov = two, .msg_iovlen = 1};
  SHOW_RC(sendmsg(pair[0], &message, 0));
  message = (struct msghdr){.msg_iov = (struct iovec*)at, .msg_iovlen = 1};
  SHOW_RC(sendmsg(pair[0], &message, 0));
  SHOW_RC(syscall(SYS_recvmsg, pair[0], at, MSG_DONTWAIT));
  fd_set none;
  FD_ZERO(&none);
  SHOW_RC(syscall(SYS_pselect6, 4, at, NULL, NULL, NULL, NULL));
  SHOW_RC(vmsplice(fds[1], two + 1, 1, 0));
  // a child asks for its parent
  fflush(stdout);
  pid_t pid = fork();
  if (pid == 0) {
    SHOW_RC(process_vm_readv(getppid(), &(struct iovec){good, 8}, 1, &(struct iovec){at, 8}, 1, 0));
    fflush(stdout);
    _exit(0);
  }
  guest_reap("child", pid);
}

static void kernel_settings(char* at) {
  SHOW_RC(prctl(PR_SET_MM, PR_SET_MM_START_BRK, at, 0, 0));
  SHOW_RC(prctl(PR_SET_MM, PR_SET_MM_ARG_START, at, 0, 0));
  SHOW_RC(syscall(SYS_set_tid_address, at) > 0);
  fflush(stdout);
  pid_t pid = fork();
  if (pid == 0) _exit(0);  // its own tid address is new; nothing is written on exit
  guest_reap("exit", pid);
  SHOW_RC(syscall(SYS_set_tid_address, NULL) > 0);
}

int main(void) {
  file = open("file", O_RDWR | O_CREAT | O_TRUNC, 0600);
  CHECK(write(file, "0123456789abcdef", 16) == 16);
  CHECK(pipe2(fds, O_NONBLOCK) == 0 && socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, pair) == 0);
  *(int*)(good + 32) = 16;
  for (int i = 0; i < kZonePlaces; ++i) {
    printf("place %d\n", i);
    flat(kZone[i] + 8);
    nested(kZone[i] + 8);
  }
#ifdef __x86_64__
  puts("across the beginning, with a good start");
  char* edge = (char*)0x6a0000000000 - kPage;
  char* before =
      mmap(edge, kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
  CHECK(before == edge);
  SHOW_RC(pread(file, edge + kPage - 4, 8, 0) <= 4);
  SHOW_RC(write(fds[1], edge + kPage - 4, 8) <= 4);
  SHOW_RC(syscall(SYS_getcwd, edge + kPage - 1, 4096));
#endif
  kernel_settings(kZone[1]);
  return guest_end();
}
