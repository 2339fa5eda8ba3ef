/* What every guest workload shares: its clock, its size, and the one line it prints. */
#pragma once

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static inline double now_us(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec * 1e6 + (double)t.tv_nsec * 1e-3;
}

/* BENCH_SCALE (1 if absent) makes all counts smaller or larger; never below `least`. */
static inline long scaled(long count, long least) {
  const char* text = getenv("BENCH_SCALE");
  const double factor = text != NULL ? atof(text) : 1.0;
  const long n = (long)((double)count * factor);
  return n > least ? n : least;
}

/* table.py reads the last line that begins so. */
static inline int report(double value) {
  printf("VALUE %.6f\n", value);
  return 0;
}

static inline void need(int ok, const char* what) {
  if (ok) return;
  perror(what);
  exit(2);
}
