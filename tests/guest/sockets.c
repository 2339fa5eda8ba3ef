// Goal: sockets: stream, datagram, local and IPv4; scattered and ancillary data; passed descriptors and
// credentials.
#include "guest.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>

static void pass_descriptor(int via, int fd) {
  char byte = 'D';
  struct iovec part = {&byte, 1};
  union {
    struct cmsghdr head;
    char room[CMSG_SPACE(sizeof(int) * 2)];
  } control;
  memset(&control, 0, sizeof control);
  struct msghdr message = {
      .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
  struct cmsghdr* head = CMSG_FIRSTHDR(&message);
  head->cmsg_level = SOL_SOCKET;
  head->cmsg_type = SCM_RIGHTS;
  head->cmsg_len = CMSG_LEN(sizeof(int) * 2);
  int both[2] = {fd, fd};
  memcpy(CMSG_DATA(head), both, sizeof both);
  SHOW_RC(sendmsg(via, &message, 0));
}

static void receive_descriptor(int via) {
  char bytes[8];
  struct iovec parts[2] = {{bytes, 0}, {bytes, 8}};
  union {
    struct cmsghdr head;
    char room[256];
  } control;
  struct msghdr message = {
      .msg_iov = parts, .msg_iovlen = 2, .msg_control = &control, .msg_controllen = sizeof control};
  SHOW_RC(recvmsg(via, &message, MSG_CMSG_CLOEXEC));
  SHOW(message.msg_controllen == CMSG_SPACE(sizeof(int) * 2) ||
       message.msg_controllen == CMSG_LEN(sizeof(int) * 2));
  struct cmsghdr* head = CMSG_FIRSTHDR(&message);
  int got[2];
  memcpy(got, CMSG_DATA(head), sizeof got);
  printf("level %d type %d, %d %d, cloexec %d\n", head->cmsg_level, head->cmsg_type, got[0] >= 3,
         got[1] > got[0], fcntl(got[0], F_GETFD));
  SHOW_RC(write(got[1], "through a passed descriptor", 27));
  close(got[0]), close(got[1]);
}

static void credentials(int a, int b) {
  int on = 1;
  SHOW_RC(setsockopt(b, SOL_SOCKET, SO_PASSCRED, &on, sizeof on));
  SHOW_RC(send(a, "c", 1, 0));
  char byte;
  struct iovec part = {&byte, 1};
  char room[256];
  struct msghdr message = {
      .msg_iov = &part, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof room};
  SHOW_RC(recvmsg(b, &message, 0));
  struct ucred who;
  memcpy(&who, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof who);
  printf("credentials: pid %d uid %d\n", who.pid == getpid(), who.uid == getuid());
  socklen_t length = sizeof who;
  SHOW_RC(getsockopt(a, SOL_SOCKET, SO_PEERCRED, &who, &length));
  SHOW(who.pid == getpid());
}

static void tcp(void) {
  int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t length = sizeof address;
  SHOW_RC(bind(listener, (struct sockaddr*)&address, sizeof address));
  SHOW_RC(listen(listener, 5));
  SHOW_RC(getsockname(listener, (struct sockaddr*)&address, &length));
  fflush(stdout);
  pid_t pid = fork();
  if (pid == 0) {
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(fd, (struct sockaddr*)&address, sizeof address) != 0) _exit(1);
    static char data[100000];
    for (size_t i = 0; i < sizeof data; ++i) data[i] = (char)(i * 13);
    struct iovec parts[3] = {{data, 1000}, {data + 1000, 1}, {data + 1001, sizeof data - 1001}};
    size_t sent = (size_t)writev(fd, parts, 3);
    while (sent < sizeof data) sent += (size_t)send(fd, data + sent, sizeof data - sent, 0);
    shutdown(fd, SHUT_WR);
    char answer[4] = "";
    _exit(recv(fd, answer, 2, MSG_WAITALL) == 2 && strcmp(answer, "ok") == 0 ? 0 : 2);
  }
  struct sockaddr_in peer;
  length = sizeof peer;
  int fd = accept4(listener, (struct sockaddr*)&peer, &length, SOCK_CLOEXEC);
  SHOW(length == sizeof peer && peer.sin_addr.s_addr == htonl(INADDR_LOOPBACK));
  int one = 1;
  SHOW_RC(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one));
  static unsigned char data[200000];
  size_t have = 0;
  for (ssize_t got = 1; got > 0; have += (size_t)got) got = recv(fd, data + have, sizeof data - have, 0);
  int good = 1;
  for (size_t i = 0; i < have; ++i) good &= data[i] == (unsigned char)(i * 13);
  printf("received %zu, right %d\n", have, good);
  SHOW_RC(send(fd, "ok", 2, MSG_NOSIGNAL));
  guest_reap("client", pid);
  close(fd), close(listener);
  fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  address.sin_port = htons(1);
  SHOW_RC(connect(fd, (struct sockaddr*)&address, sizeof address) == 0 || errno == EINPROGRESS ||
          errno == ECONNREFUSED);
  SHOW_RC(connect(1, (struct sockaddr*)&address, sizeof address));
  close(fd);
}

static void datagrams(void) {
  int a = socket(AF_UNIX, SOCK_DGRAM, 0), b = socket(AF_UNIX, SOCK_DGRAM, 0);
  struct sockaddr_un name = {.sun_family = AF_UNIX, .sun_path = "socket"}, from;
  SHOW_RC(bind(a, (struct sockaddr*)&name, sizeof name));
  SHOW_RC(sendto(b, "datagram", 8, 0, (struct sockaddr*)&name, sizeof name));
  socklen_t length = sizeof from;
  char text[4];
  SHOW_RC(recvfrom(a, text, sizeof text, MSG_TRUNC, (struct sockaddr*)&from, &length));
  SHOW(length);
  SHOW_RC(recvfrom(a, text, sizeof text, MSG_DONTWAIT, NULL, NULL));
  struct mmsghdr many[3];
  struct iovec part = {"xyz", 3};
  memset(many, 0, sizeof many);
  for (int i = 0; i < 3; ++i) {
    many[i].msg_hdr =
        (struct msghdr){.msg_name = &name, .msg_namelen = sizeof name, .msg_iov = &part, .msg_iovlen = 1};
  }
  SHOW_RC(sendmmsg(b, many, 3, 0));
  SHOW(many[2].msg_len);
  int waiting = 0;
  SHOW_RC(ioctl(a, FIONREAD, &waiting));
  SHOW(waiting);
  close(a), close(b);
}

int main(void) {
  int pair[2];
  SHOW_RC(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
  int file = open("file", O_RDWR | O_CREAT | O_TRUNC, 0600);
  pass_descriptor(pair[0], file);
  receive_descriptor(pair[1]);
  char text[64] = "";
  SHOW_RC(pread(file, text, sizeof text, 0));
  puts(text);
  credentials(pair[0], pair[1]);
  datagrams();
  tcp();
  SHOW_RC(socket(AF_INET, 99, 0));
  SHOW_RC(socket(250, SOCK_STREAM, 0));
  close(pair[1]);
  SHOW_RC(send(pair[0], "x", 1, MSG_NOSIGNAL));
  return guest_end();
}
