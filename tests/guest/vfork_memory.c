// Goal: thousands of vfork + exec leave nothing behind in the memory of the process that makes them.
// statm counts the whole process, so under hpc-vmm the VMM's own memory, too.
#include "guest.h"

#include <fcntl.h>

/// KiB of this process's memory that is in use.
static long resident_kib(void) {
  char text[128] = {0};
  const int fd = open("/proc/self/statm", O_RDONLY);
  CHECK(fd >= 0 && read(fd, text, sizeof text - 1) > 0);
  close(fd);
  long size = 0, resident = 0;
  CHECK(sscanf(text, "%ld %ld", &size, &resident) == 2);
  return resident * (sysconf(_SC_PAGESIZE) / 1024);
}

static void run(const char* program, int times, int succeeds) {
  for (int i = 0; i < times; ++i) {
    const pid_t pid = vfork();
    if (pid == 0) {
      execl(program, program, "leaf", (char*)NULL);
      _exit(9);
    }
    int status = 0;
    CHECK(pid > 0 && waitpid(pid, &status, 0) == pid);
    CHECK(status == (succeeds ? 0 : 9 << 8));
  }
}

int main(int argc, char** argv) {
  if (argc > 1) return 0;
  run(argv[0], 100, 1);  // what is allocated once
  run("/nonexistent/program", 100, 0);
  const long before = resident_kib();
  run(argv[0], 1500, 1);
  const long after_success = resident_kib();
  run("/nonexistent/program", 1500, 0);
  const long after_failure = resident_kib();
  // 8 KiB each would be 12 MiB.
  if (after_success - before > 512 || after_failure - after_success > 512)
    printf("grown by %ld and %ld KiB\n", after_success - before, after_failure - after_success);
  CHECK(after_success - before <= 512);
  CHECK(after_failure - after_success <= 512);
  return guest_end();
}
