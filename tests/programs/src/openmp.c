// Prime sieve, reduction and sections over OpenMP threads; the sums are exact whatever the schedule.
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>

enum { kLimit = 200000 };

int main(void) {
  omp_set_num_threads(4);
  int seen = 0;
  long primes = 0, sum = 0;
#pragma omp parallel reduction(+ : seen)
  seen += 1;
#pragma omp parallel for schedule(dynamic, 100) reduction(+ : primes, sum)
  for (int n = 2; n < kLimit; ++n) {
    int prime = 1;
    for (int d = 2; d * d <= n && prime != 0; ++d) prime = n % d != 0;
    primes += prime;
    sum += prime != 0 ? n : 0;
  }
  long total = 0;
#pragma omp parallel for
  for (int i = 0; i < 1000; ++i) {
#pragma omp atomic
    total += i;
  }
#pragma omp parallel
  for (int round = 0; round < 100; ++round) {
#pragma omp barrier
#pragma omp single
    total += 1;
  }
  printf("threads %d primes %ld sum %ld total %ld\n", seen, primes, sum, total);
  return 0;
}
