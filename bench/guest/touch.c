/* touch 4k|huge|cow: microseconds of the first write to a page.
 *
 * 4k:   fresh anonymous memory, 4 KiB pages, per page
 * huge: the same where the mapping allows transparent huge pages, per 2 MiB
 * cow:  the parent's first write to each 4 KiB page after fork, while the child lives */
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

int main(int argc, char** argv) {
  const char* what = argc > 1 ? argv[1] : "4k";
  const size_t huge_page = (size_t)2 << 20;
  const int huge = strcmp(what, "huge") == 0;
  const size_t bytes = (size_t)scaled(huge ? 512 : 64, huge ? 16 : 4) << 20;
  char* raw = mmap(NULL, bytes + huge_page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  need(raw != MAP_FAILED, "mmap");
  char* p = (char*)(((uintptr_t)raw + huge_page - 1) & ~(huge_page - 1));
  madvise(p, bytes, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
  if (strcmp(what, "cow") != 0) return report(touch(p, bytes, huge ? huge_page : 4096));
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
