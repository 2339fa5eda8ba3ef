// Goal: fork, wait, pipe, exec and shared memory without a library.
#include "bare.h"

static int status_of(long pid) {
  int status = -1;
  if (CALL(wait4, pid, &status, 0, 0) != pid) return -1;
  return status;
}

int bare_main(int argc, char** argv, char** envp) {
  if (argc > 1 && argv[1][0] == 'i') {
    say("inner run\n");
    return 9;
  }
  int fds[2];
  say_number("pipe", CALL(pipe, fds));
  static int private_value = 5;
#ifdef __x86_64__
  volatile int* shared = (volatile int*)CALL(mmap, 0, 4096, 3, 0x21, -1);
#else
  volatile int* shared = (volatile int*)CALL(mmap2, 0, 4096, 3, 0x21, -1);
#endif
  long pid = CALL(fork, 0);
  if (pid == 0) {
    private_value = 6;
    shared[0] = 77;
    CALL(write, fds[1], "from the child", 14);
    return 3;
  }
  char text[32] = "";
  say_number("read", CALL(read, fds[0], text, 31));
  say(text), say("\n");
  say_number("status", status_of(pid));
  say_number("private", private_value);
  say_number("shared", shared[0]);
  pid = CALL(vfork, 0);
  if (pid == 0) {
    char* arguments[] = {argv[0], "inner", 0};
    CALL(execve, argv[0], arguments, envp);
    CALL(exit_group, 99);
  }
  say_number("status", status_of(pid));
  for (int i = 0; i < 10; ++i) {
    pid = CALL(fork, 0);
    if (pid == 0) {
      if (i == 9) *(volatile int*)4 = 1;
      CALL(exit_group, i);
    }
    say_number("status", status_of(pid) & ~0x80);
  }
  say_number("no child", CALL(wait4, -1, 0, 0, 0));
  return 0;
}
