/* spin ROUNDS [MIB]: so many rounds of integer work, then one line: ROUNDS CHECKSUM.  With MIB it first
   touches that much memory, and goes on touching it between rounds. */
#define _DEFAULT_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int main(int argc, char** argv) {
  long rounds = argc > 1 ? atol(argv[1]) : 1;
  size_t bytes = argc > 2 ? (size_t)atol(argv[2]) << 20 : 0;
  unsigned char* memory = bytes ? malloc(bytes) : NULL;
  uint32_t x = 1;
  long r;
  size_t at;
  if (bytes && !memory) return 1;
  /* Half of it at once, then 8 MiB a second, so that a memory hog is seen to grow. */
  for (at = 0; at < bytes; at += 1 << 20) {
    memset(memory + at, (int)(at >> 20) + 1, 1 << 20);
    if (at >= bytes / 2) usleep(125000);
  }
  for (r = 0; r < rounds; ++r) {
    int i;
    for (i = 0; i < 100000; ++i) x = (x * 1664525u + 1013904223u) ^ (x >> 7);
    if (bytes) x += memory[((size_t)x * 4096u) % bytes];
  }
  printf("%ld %u\n", rounds, x);
  return 0;
}
