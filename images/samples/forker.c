// Forking workload: rounds of children that compute, allocate and report through a pipe; some exec this
// program again. forker [ROUNDS] [CHILDREN]: prints the sum of each round and a checksum.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { kMaxChildren = 64, kBytes = 1 << 20 };

struct Answer {
  uint32_t child;
  uint32_t value;
};

static uint32_t compute(uint32_t round, uint32_t child) {
  unsigned char* area = malloc(kBytes);
  if (area == NULL) return 0;
  uint32_t hash = round * 2654435761U + child;
  for (size_t i = 0; i < kBytes; i += 16) {
    area[i] = (unsigned char)hash;
    hash = hash * 31 + area[i] + 7;
  }
  free(area);
  return hash;
}

static void answer(int fd, uint32_t round, uint32_t child) {
  struct Answer a = {child, compute(round, child)};
  _exit(write(fd, &a, sizeof a) == sizeof a ? 0 : 1);
}

int main(int argc, char** argv) {
  if (argc > 3 && strcmp(argv[1], "--child") == 0)
    answer(1, (uint32_t)atol(argv[2]), (uint32_t)atol(argv[3]));
  uint32_t rounds = argc > 1 ? (uint32_t)atol(argv[1]) : 10;
  uint32_t children = argc > 2 ? (uint32_t)atol(argv[2]) : 8;
  if (children > kMaxChildren) children = kMaxChildren;
  uint64_t hash = 1;
  for (uint32_t round = 0; round < rounds; ++round) {
    int fds[2];
    if (pipe(fds) != 0) return perror("forker: pipe"), 1;
    fflush(stdout);
    for (uint32_t child = 0; child < children; ++child) {
      pid_t pid = fork();
      if (pid < 0) return perror("forker: fork"), 1;
      if (pid != 0) continue;
      if (child % 2 == 0) answer(fds[1], round, child);
      char r[16], c[16];
      snprintf(r, sizeof r, "%u", round);
      snprintf(c, sizeof c, "%u", child);
      dup2(fds[1], 1);
      execl("/proc/self/exe", "forker", "--child", r, c, (char*)NULL);
      _exit(2);
    }
    close(fds[1]);
    struct Answer a;
    uint64_t sum = 0;
    while (read(fds[0], &a, sizeof a) == (ssize_t)sizeof a) sum += (uint64_t)a.value * (a.child + 1);
    close(fds[0]);
    int failed = 0, status = 0;
    while (wait(&status) > 0) failed += status != 0;
    printf("round %u sum %llu failed %d\n", round, (unsigned long long)sum, failed);
    hash = (hash ^ sum) * 1099511628211ULL;
  }
  printf("checksum %016llx\n", (unsigned long long)hash);
  return 0;
}
