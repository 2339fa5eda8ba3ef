/* In place of a remote (`up --remote`): the hpc-vmm beside it, which holds its moves for the socket beside
 * it.  hpcd gives remotes a clean environment, so that a test cannot ask for this by a variable. */
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int main(void) {
  char own[4096];
  const ssize_t n = readlink("/proc/self/exe", own, sizeof own - 1);
  if (n <= 0) return 127;
  own[n] = 0;
  const char* const folder = dirname(own);
  char path[4200];
  snprintf(path, sizeof path, "%s/hold", folder);
  setenv("HPCVMM_HOLD", path, 1);
  snprintf(path, sizeof path, "%s/hpc-vmm", folder);
  execl(path, "hpc-vmm", "remote", (char*)NULL);
  return 127;
}
