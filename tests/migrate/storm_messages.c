/* Messages, options of sockets, and waiting for descriptors, made with the kernel's own structures, at the
 * edges of mappings, while somebody moves the process (told.h). */
#include "told.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stddef.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/un.h>

/* A message as it was received, with nothing else changed. */
static void tell_message(const struct msghdr* m, const struct msghdr* before) {
  say("name %d iov %d control %d namelen %d controllen %d flags %x\n", m->msg_name == before->msg_name,
      m->msg_iov == before->msg_iov && m->msg_iovlen == before->msg_iovlen,
      m->msg_control == before->msg_control, (int)m->msg_namelen, (int)m->msg_controllen,
      (unsigned)m->msg_flags);
}

/* `old`: through socketcall(2) where there is one, whose numbers are 16 and 17. */
static long pass_message(int receives, int fd, struct msghdr* m, int flags, int old) {
#ifdef SYS_socketcall
  const long words[] = {fd, (long)m, flags};
  if (old) return syscall(SYS_socketcall, receives ? 17 : 16, words);
#endif
  (void)old;
  return syscall(receives ? SYS_recvmsg : SYS_sendmsg, fd, m, flags);
}
static long send_message(int fd, struct msghdr* m, int flags, int old) {
  return pass_message(0, fd, m, flags, old);
}
static long receive_message(int fd, struct msghdr* m, int flags, int old) {
  return pass_message(1, fd, m, flags, old);
}

static void messages(int old) {
  static char a[70000], b[70000];
  struct sockaddr_un name = {.sun_family = AF_UNIX}, from;
  snprintf(name.sun_path, sizeof name.sun_path, "%s/to", folder);
  const socklen_t length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(name.sun_path) + 1);
  const int to = socket(AF_UNIX, SOCK_DGRAM, 0), by = socket(AF_UNIX, SOCK_DGRAM, 0);
  TELL(bind(to, (struct sockaddr*)&name, length));
  struct sockaddr_un mine = name;
  strcat(mine.sun_path, "2");
  TELL(bind(by, (struct sockaddr*)&mine, length + 1));
  char control[200];
  struct iovec out[3] = {{"0123456789", 10}, {"abc", 3}, {NULL, 0}}, in[3] = {{a, 5}, {b, 3}, {a + 20, 50}};
  struct msghdr m = {.msg_name = &name, .msg_namelen = length, .msg_iov = out, .msg_iovlen = 3}, before;
  for (unsigned round = 0; round < 6; ++round) {
    const int sends = round == 1 || round == 3 || round == 5;
    m = (struct msghdr){.msg_name = &name, .msg_namelen = length, .msg_iov = out, .msg_iovlen = 3};
    if (sends) {
      memset(control, 0, sizeof control);
      m.msg_control = control;
      m.msg_controllen = CMSG_SPACE(2 * sizeof(int));
      struct cmsghdr* const c = CMSG_FIRSTHDR(&m);
      c->cmsg_level = SOL_SOCKET;
      c->cmsg_type = SCM_RIGHTS;
      c->cmsg_len = CMSG_LEN(2 * sizeof(int));
      memcpy(CMSG_DATA(c), (int[]){to, by}, 2 * sizeof(int));
    }
    TELL(send_message(by, &m, 0, old));
    fill(a, 100), fill(b, 100), fill(&from, sizeof from), fill(control, sizeof control);
    m = (struct msghdr){.msg_name = round == 2 ? NULL : (void*)&from,
                        .msg_namelen = round == 3 ? 10 : sizeof from,
                        .msg_iov = in,
                        .msg_iovlen = round == 4 ? 2 : 3,
                        .msg_control = round == 0 ? NULL : control,
                        .msg_controllen = round == 0   ? 0
                                          : round == 5 ? CMSG_LEN(sizeof(int))
                                                       : sizeof control,
                        .msg_flags = 0x5a5a};
    before = m;
    TELL(receive_message(to, &m, round == 4 ? MSG_TRUNC : MSG_CMSG_CLOEXEC, old));
    tell_message(&m, &before);
    say("%.5s %.3s %.5s %d %d\n", a, b, a + 20, is_filled(b + 3, 50), is_filled(a + 25, 50));
    if (round != 2 && round != 3)
      TRUE(from.sun_family == AF_UNIX && strcmp(from.sun_path, mine.sun_path) == 0);
    if (round == 3) TRUE(memcmp(&from, &mine, 10) == 0 && is_filled((char*)&from + 10, 20));
    for (struct cmsghdr* c = CMSG_FIRSTHDR(&m); c != NULL && m.msg_control != NULL; c = CMSG_NXTHDR(&m, c)) {
      const unsigned n = (unsigned)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
      say("control %d %d, %u descriptors\n", c->cmsg_level, c->cmsg_type, n);
      for (unsigned i = 0; i < n; ++i) {
        int fd;
        memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
        say("descriptor %d flags %d\n", fd, fcntl(fd, F_GETFD));
        close(fd);
      }
    }
  }
  /* What is wrong with a message. */
  m = (struct msghdr){.msg_name = &name, .msg_namelen = length, .msg_iov = out, .msg_iovlen = 1025};
  TELL(send_message(by, &m, 0, old));
  m.msg_iovlen = 1, m.msg_namelen = (socklen_t)-1;
  TELL(send_message(by, &m, 0, old));
  m.msg_namelen = 300;
  TELL(send_message(by, &m, 0, old) == -1 && errno != EFAULT);
  m.msg_namelen = length, m.msg_name = dark;
  TELL(send_message(by, &m, 0, old));
  m.msg_name = &name, m.msg_iov = (struct iovec*)dark;
  TELL(send_message(by, &m, 0, old));
  m.msg_iov = out, m.msg_control = dark, m.msg_controllen = 64;
  TELL(send_message(by, &m, 0, old));
  m.msg_control = control, m.msg_controllen = 3;
  TELL(send_message(by, &m, 0, old));
drain:
  m = (struct msghdr){.msg_iov = in, .msg_iovlen = 3};
  errno = 0;
  if (receive_message(to, &m, MSG_DONTWAIT, old) >= 0) goto drain;
  say("then error %d\n", errno);
  TELL(send_message(by, (struct msghdr*)dark, 0, old));
  TELL(receive_message(to, (struct msghdr*)dark, MSG_DONTWAIT, old));
  TELL(send_message(-1, &m, 0, old));
  m = (struct msghdr){.msg_name = &name, .msg_namelen = length, .msg_iov = out, .msg_iovlen = 2};
  TELL(send_message(by, &m, 0, old));
  struct iovec broken[2] = {{a, 4}, {dark, 9}};
  m = (struct msghdr){.msg_iov = broken, .msg_iovlen = 2};
  TELL(receive_message(to, &m, MSG_DONTWAIT | MSG_PEEK, old));
  m.msg_iov = in, m.msg_iovlen = 1;
  TELL(receive_message(to, &m, MSG_DONTWAIT | MSG_PEEK | MSG_TRUNC, old));
  m.msg_name = dark, m.msg_namelen = sizeof from, m.msg_iovlen = 3;
  TELL(receive_message(to, &m, MSG_DONTWAIT, old));
  close(to), close(by);
  unlink(name.sun_path), unlink(mine.sun_path);
  /* Many bytes, some of them with a descriptor. */
  int v[2];
  TELL(socketpair(AF_UNIX, SOCK_STREAM, 0, v));
  for (size_t i = 0; i < sizeof a; ++i) a[i] = (char)(i * 31 + i / 256);
  for (int with = 0; with < 2; ++with) {
    struct iovec all = {a, 60000}, back[2] = {{b, 30000}, {b + 30000, 40000}};
    m = (struct msghdr){.msg_iov = &all, .msg_iovlen = 1};
    memset(control, 0, sizeof control);
    if (with) {
      m.msg_control = control;
      m.msg_controllen = CMSG_SPACE(sizeof(int));
      struct cmsghdr* const c = CMSG_FIRSTHDR(&m);
      *c = (struct cmsghdr){
          .cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
    }
    TELL(send_message(v[0], &m, 0, old));
    memset(b, 0, sizeof b);
    m = (struct msghdr){
        .msg_iov = back, .msg_iovlen = 2, .msg_control = control, .msg_controllen = sizeof control};
    long got = 0;
    while (got < 60000) {
      back[0] = (struct iovec){b + got, got < 30000 ? (size_t)(30000 - got) : 0};
      back[1] =
          (struct iovec){got < 30000 ? b + 30000 : b + got, (size_t)(got < 30000 ? 40000 : 70000 - got)};
      m.msg_controllen = sizeof control;
      const long n = receive_message(v[1], &m, 0, old);
      if (n <= 0) break;
      struct cmsghdr* const c = CMSG_FIRSTHDR(&m);
      if (c != NULL) {
        int fd;
        memcpy(&fd, CMSG_DATA(c), sizeof fd);
        say("with descriptor %d\n", fd);
        close(fd);
      }
      got += n;
    }
    say("%ld %d\n", got, memcmp(a, b, 60000) == 0);
  }
  /* Options. */
  int value = 0, n[2] = {sizeof value, 0x5a5a};
  TELL(getsockopt(v[0], SOL_SOCKET, SO_TYPE, &value, (socklen_t*)n));
  say("%d %d %x\n", value, n[0], (unsigned)n[1]);
  fill(&value, sizeof value);
  n[0] = 2;
  TELL(getsockopt(v[0], SOL_SOCKET, SO_TYPE, &value, (socklen_t*)n));
  say("%x %d\n", (unsigned)value, n[0]);
  n[0] = 100;
  TELL(getsockopt(v[0], SOL_SOCKET, SO_ERROR, a, (socklen_t*)n));
  say("%d\n", n[0]);
  n[0] = -1;
  TELL(getsockopt(v[0], SOL_SOCKET, SO_ERROR, a, (socklen_t*)n));
  TELL(getsockopt(v[0], SOL_SOCKET, SO_ERROR, dark, (socklen_t*)(n[0] = 4, n)));
  TELL(getsockopt(v[0], SOL_SOCKET, SO_ERROR, a, (socklen_t*)dark));
  struct timeval limit = {3, 250000};
  TELL(setsockopt(v[0], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit));
  memset(&limit, 0, sizeof limit);
  n[0] = sizeof limit;
  TELL(getsockopt(v[0], SOL_SOCKET, SO_RCVTIMEO, &limit, (socklen_t*)n));
  say("%ld %ld %d\n", (long)limit.tv_sec, (long)limit.tv_usec, n[0]);
  TELL(setsockopt(v[0], SOL_SOCKET, SO_RCVTIMEO, &limit, 3));
  TELL(setsockopt(v[0], SOL_SOCKET, SO_RCVTIMEO, dark, sizeof limit));
  close(v[0]), close(v[1]);
}

static struct pollfd many[40];
static int waker;
static void* neighbour(void* nothing) {
  (void)nothing;
  usleep(30000);
  many[1].events = POLLPRI;
  if (write(waker, "x", 1) != 1) return many;
  return NULL;
}

static void waits(void) {
  int p[2], q[2];
  TELL(pipe(p));
  TELL(pipe(q));
  TELL(write(q[1], "x", 1));
  for (int n = 0; n <= 40; n += n < 4 ? 1 : 12) {
    for (int i = 0; i < 40; ++i)
      many[i] = (struct pollfd){i % 3 == 0 ? q[0] : i % 3 == 1 ? p[0] : -1, POLLIN, 0x5a5a};
    TELL(poll(many, (nfds_t)n, 0));
    unsigned sum = 0;
    for (int i = 0; i < 40; ++i) sum = sum * 7 + (unsigned short)many[i].revents + (unsigned)many[i].events;
    say("%x\n", sum);
  }
  for (int i = 0; i < 40; ++i) many[i].fd = -1;
  many[39].fd = 987;
  TELL(poll(many, 40, 0));
  say("%x\n", (unsigned short)many[39].revents);
  TELL(poll((struct pollfd*)dark, 1, 0));
  TELL(poll((struct pollfd*)(edge + PAGE - 8), 2, 0));
  TELL(poll((struct pollfd*)pale, 1, 0));
  /* Somebody writes between what the call writes. */
  many[0] = (struct pollfd){p[0], POLLIN, 0}, many[1] = (struct pollfd){-1, POLLIN, 0};
  many[2] = (struct pollfd){p[0], POLLIN, 0};
  waker = p[1];
  pthread_t t;
  void* failed = NULL;
  TELL(pthread_create(&t, NULL, neighbour, NULL));
  TELL(poll(many, 3, 5000));
  TELL(pthread_join(t, &failed));
  say("%x %x %x %x %d\n", (unsigned)many[0].revents, (unsigned)many[1].events, (unsigned)many[1].revents,
      (unsigned)many[2].revents, failed != NULL);
  const struct timespec left = {0, 1000000};
  struct {
    struct timespec t;
    char behind[8];
  } limit;
  fill(&limit, sizeof limit);
  limit.t = left;
  many[0] = (struct pollfd){q[1], POLLIN, 0x5a5a};
  TELL(syscall(SYS_ppoll, many, 1, &limit.t, NULL, 8));
#if __SIZEOF_LONG__ == 8
  TRUE(limit.t.tv_sec == 0 && limit.t.tv_nsec == 0);
#else
  TRUE(is_filled(limit.behind, 8));
#endif
  say("%x\n", (unsigned short)many[0].revents);
  /* Sets that end where the memory does. */
  const size_t word = sizeof(long);
#ifdef SYS__newselect
  const long call = SYS__newselect;
#else
  const long call = SYS_select;
#endif
  TELL(dup2(p[0], 200)); /* select looks at no more descriptors than the table has room for */
  for (int masked = 0; masked < 2; ++masked) {
    char* const set = edge + PAGE - word;
    fill(edge, PAGE);
    unsigned long bits = 1UL << p[0] | 1UL << q[0] | 1UL << p[1];
    memcpy(set, &bits, word);
    const long zero[2] = {0, 0};
    long copy[2] = {0, 0};
    memcpy(copy, zero, sizeof copy);
    const long mask[2] = {0, 8};
    const int most = q[1] + 1;
    char* write_set = edge + 100;
    memcpy(write_set, &bits, word);
    if (masked)
      TELL(syscall(SYS_pselect6, most, set, write_set, NULL, copy, mask));
    else
      TELL(syscall(call, most, set, write_set, NULL, copy));
    memcpy(&bits, set, word);
    say("%lx ", bits);
    memcpy(&bits, write_set, word);
    say("%lx\n", bits);
    TRUE(is_filled(set - 64, 64) && is_filled(write_set + word, 64) && is_filled(write_set - 50, 50));
    bits = 1UL << 30;
    memcpy(set, &bits, word);
    if (masked)
      TELL(syscall(SYS_pselect6, 31, set, NULL, NULL, copy, NULL));
    else
      TELL(syscall(call, 31, set, NULL, NULL, copy));
    TELL(syscall(call, 200, set, NULL, NULL, copy));
    TELL(syscall(call, 20, dark, NULL, NULL, copy));
    TELL(syscall(call, 20, pale, NULL, NULL, copy));
    TELL(syscall(call, 0, set, NULL, NULL, copy));
    TELL(syscall(call, -1, set, NULL, NULL, copy));
    TELL(syscall(call, 20, NULL, NULL, NULL, dark));
  }
  close(200);
  const int e = epoll_create1(0);
  struct epoll_event ev = {.events = EPOLLIN, .data.u64 = 0x1234567890}, got[4];
  TELL(epoll_ctl(e, EPOLL_CTL_ADD, q[0], &ev));
  fill(got, sizeof got);
  TELL(syscall(SYS_epoll_pwait, e, got, 4, 1000, NULL, 8));
  TRUE(got[0].data.u64 == 0x1234567890 && got[0].events == EPOLLIN && is_filled(got + 1, sizeof got[0]));
  TELL(syscall(SYS_epoll_pwait, e, dark, 4, 1000, NULL, 8));
  TELL(syscall(SYS_epoll_pwait, e, got, 0, 1000, NULL, 8));
  TELL(syscall(SYS_epoll_pwait, e, got, -1, 1000, NULL, 8));
  close(e), close(p[0]), close(p[1]), close(q[0]), close(q[1]);
}

static void turn(void) {
  messages(0);
  messages(1);
  waits();
}

int main(int argc, char** argv) {
  if (begin_telling() != 0) return 2;
  const int status = turns(argc, argv, turn);
  rmdir(folder);
  return status;
}
