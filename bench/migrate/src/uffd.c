/* uffd PAGES, uffd bulk MIB: what userfaultfd takes locally.
 *
 * PAGES: microseconds that the service of one missing page takes locally, median: fault, wake-up of a
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

static void watch(void* memory, size_t bytes) {
  g_fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
  need(g_fd >= 0, "userfaultfd");
  struct uffdio_api api = {.api = UFFD_API};
  need(ioctl(g_fd, UFFDIO_API, &api) == 0, "UFFDIO_API");
  struct uffdio_register range = {.range = {.start = (uint64_t)(uintptr_t)memory, .len = bytes},
                                  .mode = UFFDIO_REGISTER_MODE_MISSING};
  need(ioctl(g_fd, UFFDIO_REGISTER, &range) == 0, "UFFDIO_REGISTER");
}

static char* memory_of(size_t bytes) {
  char* p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  need(p != MAP_FAILED, "mmap");
  return p;
}

static int bulk(size_t bytes) {
  char* memory = memory_of(bytes);
  char* source = memory_of(bytes);
  memset(source, 7, bytes);
  watch(memory, bytes);
  const double begin = now_us();
  for (size_t at = 0; at < bytes; at += kPage) {
    struct uffdio_copy copy = {
        .dst = (uint64_t)(uintptr_t)(memory + at), .src = (uint64_t)(uintptr_t)(source + at), .len = kPage};
    need(ioctl(g_fd, UFFDIO_COPY, &copy) == 0, "UFFDIO_COPY");
  }
  return report(now_us() - begin);
}

int main(int argc, char** argv) {
  if (argc == 3 && strcmp(argv[1], "bulk") == 0) return bulk((size_t)atol(argv[2]) << 20);
  need(argc == 2, "usage: uffd PAGES|bulk MIB");
  const size_t pages = (size_t)atol(argv[1]);
  double* times = calloc(pages, sizeof *times);
  need(times != NULL, "calloc");
  volatile char* memory = memory_of(pages * kPage);
  g_source = memory_of(kPage);
  memset(g_source, 7, kPage);
  watch((char*)(uintptr_t)memory, pages * kPage);
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
