// Goal: the smallest program: arguments, output, errors of calls, status.
#include "bare.h"

int bare_main(int argc, char** argv, char** envp) {
  say("hello\n");
  say_number("argc", argc);
  for (int i = 1; i < argc; ++i) say(argv[i]), say("\n");
  int count = 0;
  while (envp[count] != 0) say(envp[count++]), say("\n");
  say_number("write to nowhere", CALL(write, 1000, "", 1));
  say_number("write from nowhere", CALL(write, 1, 16, 1));
  say_number("no such call", bare_call(9999, 0, 0, 0, 0, 0, 0));
  say_number("pid equals tid", CALL(getpid, 0) == CALL(gettid, 0));
  return 42;
}
