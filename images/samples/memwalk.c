// Memory-walking workload: fills MEGABYTES, walks them in order, by stride and along a random cycle, and
// writes back. memwalk [MEGABYTES] [ROUNDS]: prints sums and a checksum that depend on the arguments only.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

static uint32_t seed = 2463534242U;
static uint32_t next(void) {
  seed ^= seed << 13;
  seed ^= seed >> 17;
  return seed ^= seed << 5;
}

int main(int argc, char** argv) {
  size_t megabytes = argc > 1 ? (size_t)atol(argv[1]) : 64;
  long rounds = argc > 2 ? atol(argv[2]) : 3;
  size_t count = megabytes << 18;  // words of four bytes
  uint32_t* words = malloc(count * sizeof *words);
  if (words == NULL || count == 0) {
    fprintf(stderr, "memwalk: no %zu MiB of memory\n", megabytes);
    return 1;
  }
  for (size_t i = 0; i < count; ++i) words[i] = (uint32_t)i;
  // Sattolo's shuffle: one cycle through all words, so that the walk visits each once.
  for (size_t i = count - 1; i > 0; --i) {
    size_t j = (((uint64_t)next() << 32) | next()) % i;
    uint32_t swap = words[i];
    words[i] = words[j];
    words[j] = swap;
  }
  uint64_t hash = 1;
  for (long round = 0; round < rounds; ++round) {
    uint64_t in_order = 0, by_stride = 0;
    for (size_t i = 0; i < count; ++i) in_order += words[i] ^ (uint32_t)round;
    for (size_t start = 0; start < 1024; ++start) {
      for (size_t i = start; i < count; i += 1024) by_stride = by_stride * 31 + words[i];
    }
    uint32_t at = 0;
    uint64_t steps = 0;
    do {
      at = words[at];
      ++steps;
    } while (at != 0 && steps < count / 8);
    printf("round %ld order %llu stride %llu at %u\n", round, (unsigned long long)in_order,
           (unsigned long long)by_stride, at);
    hash = hash * 1099511628211ULL ^ in_order ^ by_stride ^ at;
    // Writes to every page: swaps the links of neighbours, so that the next round's cycles differ.
    for (size_t i = 0; i + 1 < count; i += 1024) {
      uint32_t swap = words[i];
      words[i] = words[i + 1];
      words[i + 1] = swap;
    }
  }
  printf("checksum %016llx\n", (unsigned long long)hash);
  free(words);
  return 0;
}
