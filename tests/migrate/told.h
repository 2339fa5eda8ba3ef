/* Programs that tell what their system calls said, turn after turn, while somebody moves them: the first turn
 * is printed, to be compared with a native run, and each later turn must be the same. */
#pragma once

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096UL
static char* edge; /* the second of these two pages is not there */
static char* dark; /* PROT_NONE */
static char* pale; /* read only */
static char folder[] = "/tmp/storm_told.XXXXXX";

static char seen[1 << 18];
static size_t at;
static void say(const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  at += (size_t)vsnprintf(seen + at, sizeof seen - at, format, arguments);
  va_end(arguments);
}

/* The result of a call, as the kernel gives it. */
#define TELL(...) tell(#__VA_ARGS__, __LINE__, (errno = 0, (long)(__VA_ARGS__)))
static long tell(const char* text, int line, long result) {
  const int error = errno;
  if (result == -1 && error != 0)
    say("%d %s: error %d\n", line, text, error);
  else
    say("%d %s: %ld\n", line, text, result);
  return result;
}
#define TRUE(condition) say("%d %s: %s\n", __LINE__, #condition, (condition) ? "yes" : "no")

/* Bytes that a call has no business with. */
static void fill(void* to, size_t bytes) { memset(to, 0x5a, bytes); }
static int is_filled(const void* from, size_t bytes) {
  for (size_t i = 0; i < bytes; ++i)
    if (((const unsigned char*)from)[i] != 0x5a) return 0;
  return 1;
}

/* Makes the pages and the folder; 0: done. */
static int begin_telling(void) {
  edge = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  dark = mmap(NULL, PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  pale = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  munmap(edge + PAGE, PAGE);
  signal(SIGPIPE, SIG_IGN);
  return mkdtemp(folder) == NULL;
}

/* Turns for so many seconds; returns the program's status. */
static int turns(int argc, char** argv, void (*turn)(void)) {
  static char first[sizeof seen];
  const int seconds = argc > 1 ? atoi(argv[1]) : 3;
  struct timespec begin, now;
  clock_gettime(CLOCK_MONOTONIC, &begin);
  int count = 0, same = 1;
  do {
    at = 0;
    turn();
    if (count++ == 0) memcpy(first, seen, at + 1);
    same = strcmp(first, seen) == 0;
    clock_gettime(CLOCK_MONOTONIC, &now);
  } while (now.tv_sec - begin.tv_sec < seconds && same);
  fputs(first, stdout);
  if (!same) {
    size_t i = 0, line = 0;
    for (; first[i] == seen[i]; ++i)
      if (first[i] == '\n') line = i + 1;
    printf("turn %d differs: %.200s\n", count, seen + line);
  }
  return !same;
}
