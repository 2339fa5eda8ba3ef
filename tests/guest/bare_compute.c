// Goal: integer computation is exact: division, multiplication, shifts, sorting, hashing, recursion, string
// operations.
#include "bare.h"

static uint32_t seed = 12345;
static uint32_t next(void) {
  seed ^= seed << 13;
  seed ^= seed >> 17;
  return seed ^= seed << 5;
}
static uint32_t numbers[512];

static void sort(int from, int to) {
  if (from >= to) return;
  uint32_t pivot = numbers[(from + to) / 2];
  int i = from, j = to;
  while (i <= j) {
    while (numbers[i] < pivot) ++i;
    while (numbers[j] > pivot) --j;
    if (i <= j) {
      uint32_t swap = numbers[i];
      numbers[i++] = numbers[j];
      numbers[j--] = swap;
    }
  }
  sort(from, j), sort(i, to);
}

static int ackermann(int m, int n) {
  if (m == 0) return n + 1;
  return n == 0 ? ackermann(m - 1, 1) : ackermann(m - 1, ackermann(m, n - 1));
}

int bare_main(int argc, char** argv, char** envp) {
  (void)argc, (void)argv, (void)envp;
  for (int i = 0; i < 512; ++i) numbers[i] = next();
  sort(0, 511);
  uint32_t hash = 1;
  int ordered = 1;
  for (int i = 0; i < 512; ++i) {
    ordered &= i == 0 || numbers[i - 1] <= numbers[i];
    hash = hash * 31 + numbers[i];
  }
  say_number("ordered", ordered);
  say_number("hash", (long)(hash & 0x7fffffff));
  int64_t wide = 1;
  for (int i = 1; i < 200; ++i) {
    wide = wide * (int64_t)(next() | 1) + (wide >> 7);
    if (next() % 3 == 0) wide /= (int64_t)(next() % 1000 + 1);
    wide ^= (int64_t)((uint64_t)wide << (next() % 64));
  }
  say_number("wide", (long)(wide & 0x7fffffff));
  say_number("ackermann", ackermann(2, 20));
  char text[64], copy[64];
  for (int i = 0; i < 64; ++i) text[i] = (char)(i * 3);
  void *to = copy, *from = text;
  long count = 64;
  __asm__ volatile("cld; rep movsb" : "+D"(to), "+S"(from), "+c"(count)::"memory");
  int same = 1;
  for (int i = 0; i < 64; ++i) same &= copy[i] == text[i];
  say_number("copied", same);
  long counter = 0, expected = 0, got = 0;
  for (int i = 0; i < 100; ++i) {
    __asm__ volatile("lock xadd %0, %1" : "=r"(got), "+m"(counter) : "0"(3L) : "memory");
    expected = i * 3;
    if (got != expected) say("xadd is WRONG\n");
  }
  say_number("counter", counter);
  return 0;
}
