/* touch 4k|huge|cow: microseconds of the first write to a page.
 *
 * 4k:   4 MiB of anonymous memory, 4 KiB pages, per page; many rounds, the pages given back before each
 * huge: 8 MiB of memory where transparent huge pages are allowed, per 2 MiB; the same rounds
 * cow:  the parent's first write to each 4 KiB page after fork, while the child lives
 *
 * Rounds over few pages, as the floors have them: in a virtual machine of some cloud, memory that the host's
 * kernel has never used costs ten times as much, on both sides, and that is not what is to be measured. */
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"

static double touch(char* p, size_t bytes, size_t step) {
  const double begin = now_us();
  for (size_t i = 0; i < bytes; i += step) ((volatile char*)p)[i] = 1;
  return (now_us() - begin) / ((double)bytes / (double)step);
}

static double touch_often(char* p, size_t bytes, size_t step) {
  const long rounds = scaled(16, 2);
  double sum = 0;
  for (long i = 0; i < rounds; ++i) {
    need(madvise(p, bytes, MADV_DONTNEED) == 0, "MADV_DONTNEED");
    sum += touch(p, bytes, step);
  }
  return sum / (double)rounds;
}

int main(int argc, char** argv) {
  const char* what = argc > 1 ? argv[1] : "4k";
  const size_t huge_page = (size_t)2 << 20;
  const int huge = strcmp(what, "huge") == 0;
  const int cow = strcmp(what, "cow") == 0;
  const size_t bytes = cow ? (size_t)scaled(32, 4) << 20 : huge ? 4 * huge_page : 2 * huge_page;
  char* raw = mmap(NULL, bytes + huge_page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  need(raw != MAP_FAILED, "mmap");
  char* p = (char*)(((uintptr_t)raw + huge_page - 1) & ~(huge_page - 1));
  madvise(p, bytes, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
  if (!cow) return report(touch_often(p, bytes, huge ? huge_page : 4096));
  memset(p, 1, bytes);
  int hold[2];
  need(pipe(hold) == 0, "pipe");
  const pid_t child = fork();
  need(child >= 0, "fork");
  if (child == 0) {
    char byte;
    close(hold[1]);
    _exit(read(hold[0], &byte, 1) == 0 ? 0 : 1);
  }
  const double each = touch(p, bytes, 4096);
  close(hold[1]);
  need(waitpid(child, NULL, 0) == child, "waitpid");
  return report(each);
}
