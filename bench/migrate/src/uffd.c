/* uffd PAGES: microseconds that the service of one missing page takes locally, median: fault, wake-up of a
 * service thread that sleeps in poll(), UFFDIO_COPY of a page from elsewhere, wake-up of the one that
 * faulted. */
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "bench.h"

enum { kPage = 4096 };
static int g_fd;
static char* g_source;

static int by_size(const void* a, const void* b) {
  const double x = *(const double*)a, y = *(const double*)b;
  return (x > y) - (x < y);
}

static void* serve(void* unused) {
  (void)unused;
  for (;;) {
    struct pollfd p = {.fd = g_fd, .events = POLLIN};
    struct uffd_msg m;
    need(poll(&p, 1, -1) == 1, "poll");
    if (read(g_fd, &m, sizeof m) != (ssize_t)sizeof m) continue;
    struct uffdio_copy copy = {.dst = m.arg.pagefault.address & ~(uint64_t)(kPage - 1),
                               .src = (uint64_t)(uintptr_t)g_source,
                               .len = kPage};
    need(ioctl(g_fd, UFFDIO_COPY, &copy) == 0, "UFFDIO_COPY");
  }
  return NULL;
}

int main(int argc, char** argv) {
  need(argc == 2, "usage: uffd PAGES");
  const size_t pages = (size_t)atol(argv[1]);
  double* times = calloc(pages, sizeof *times);
  g_fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
  need(g_fd >= 0, "userfaultfd");
  struct uffdio_api api = {.api = UFFD_API};
  need(ioctl(g_fd, UFFDIO_API, &api) == 0, "UFFDIO_API");
  volatile char* memory =
      mmap(NULL, pages * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  g_source = mmap(NULL, kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  need(times != NULL && memory != MAP_FAILED && g_source != MAP_FAILED, "memory");
  memset(g_source, 7, kPage);
  struct uffdio_register range = {.range = {.start = (uint64_t)(uintptr_t)memory, .len = pages * kPage},
                                  .mode = UFFDIO_REGISTER_MODE_MISSING};
  need(ioctl(g_fd, UFFDIO_REGISTER, &range) == 0, "UFFDIO_REGISTER");
  pthread_t thread;
  need(pthread_create(&thread, NULL, serve, NULL) == 0, "pthread_create");
  for (size_t i = 0; i < pages; ++i) {
    const double begin = now_us();
    need(memory[i * kPage] == 7, "content");
    times[i] = now_us() - begin;
  }
  qsort(times, pages, sizeof times[0], by_size);
  return report(times[pages / 2]);
}
