// Goal: readv, writev, preadv, splice, tee, vmsplice, sendfile, copy_file_range, and their wrong arguments.
#include "guest.h"

#include <fcntl.h>
#include <sys/sendfile.h>
#include <sys/uio.h>

static char text[64];

static void vectors(int fd) {
  struct iovec out[4] = {{"one ", 4}, {NULL, 0}, {"two ", 4}, {"three", 5}};
  SHOW_RC(writev(fd, out, 4));
  char a[3] = "", b[20] = "";
  struct iovec in[2] = {{a, 2}, {b, 19}};
  SHOW_RC(preadv(fd, in, 2, 0));
  printf("[%s] [%s]\n", a, b);
  SHOW_RC(pwritev(fd, out, 1, 0x100000004LL));
  SHOW_RC(lseek(fd, 0, SEEK_END));
  SHOW_RC(preadv2(fd, in, 2, 5, RWF_HIPRI) >= 0 || errno == EOPNOTSUPP);
  SHOW_RC(ftruncate(fd, 13));
  SHOW_RC(readv(fd, in, -1));
  SHOW_RC(readv(fd, in, 2000));
  in[0].iov_len = (size_t)-1;
  SHOW_RC(preadv(fd, in, 1, 0));
  in[0] = (struct iovec){(void*)16, 4};
  SHOW_RC(preadv(fd, in, 1, 0));
  in[0] = (struct iovec){a, 2}, in[1] = (struct iovec){(void*)16, 4};
  SHOW_RC(preadv(fd, in, 2, 0));  // half is good
  SHOW_RC(preadv(fd, (struct iovec*)16, 2, 0));
  SHOW_RC(writev(fd, (struct iovec[]){{(void*)16, 3}}, 1));
}

static void pipes(int fd) {
  int first[2], second[2];
  CHECK(pipe(first) == 0 && pipe2(second, O_NONBLOCK) == 0);
  off64_t offset = 4;
  SHOW_RC(splice(fd, &offset, first[1], NULL, 9, 0));
  SHOW(offset);
  SHOW_RC(tee(first[0], second[1], 100, 0));
  memset(text, 0, sizeof text);
  SHOW_RC(read(second[0], text, sizeof text));
  puts(text);
  int out = open("out", O_RDWR | O_CREAT | O_TRUNC, 0600);
  SHOW_RC(splice(first[0], NULL, out, NULL, 100, 0));
  SHOW_RC(vmsplice(first[1], (struct iovec[]){{"spliced from memory", 19}}, 1, 0));
  memset(text, 0, sizeof text);
  SHOW_RC(read(first[0], text, sizeof text));
  puts(text);
  SHOW_RC(splice(fd, NULL, out, NULL, 10, 0));
  SHOW_RC(read(second[0], text, 1));
  SHOW_RC(fcntl(first[0], F_SETPIPE_SZ, 65536));
  off_t from = 0;
  SHOW_RC(sendfile(first[1], fd, &from, 5));
  SHOW(from);
  SHOW_RC(sendfile(out, fd, NULL, 100));
  off64_t in_at = 0, out_at = 100;
  SHOW_RC(copy_file_range(fd, &in_at, out, &out_at, 7, 0));
  SHOW_RC(lseek(out, 0, SEEK_END));
  SHOW_RC(sendfile(1000, fd, NULL, 1));
}

int main(void) {
  int fd = open("file", O_RDWR | O_CREAT | O_TRUNC, 0600);
  vectors(fd);
  pipes(fd);
  SHOW_RC(read(fd, (void*)16, 0));
  SHOW_RC(pread(fd, (void*)16, 1, 0));
  SHOW_RC(pread(fd, text, 1, -1));
  SHOW_RC(write(1000, "", 0));
  SHOW_RC(read(open(".", O_RDONLY), text, 1));
  SHOW_RC(pwrite(fd, "", 0, 1));
  return guest_end();
}
