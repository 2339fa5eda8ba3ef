// Goal: arguments, environment and exit status reach the program, and come back, exactly.
#include "guest.h"

extern char** environ;

int main(int argc, char** argv) {
  SHOW(argc);
  for (int i = 1; i < argc; ++i) printf("argv[%d] = \"%s\"\n", i, argv[i]);
  CHECK(argv[argc] == NULL);
  for (char** e = environ; *e != NULL; ++e) printf("env %s\n", *e);
  const char* value = getenv("GUEST_TEST");
  CHECK(value != NULL && strcmp(value, "a value with spaces and = signs") == 0);
  CHECK(getenv("GUEST_EMPTY") != NULL && getenv("GUEST_EMPTY")[0] == 0);
  fprintf(stderr, "this line goes to stderr\n");
  SHOW(sizeof(void*));
  SHOW(isatty(0) + isatty(1) + isatty(2));
  fflush(stdout);
  return guest_failures != 0 ? 1 : 42;
}
