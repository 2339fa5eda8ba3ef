/* cpu int|sse|avx|stream|stream4k: seconds of pure computing, in microseconds.
 *
 * int:      dependent integer operations (a hash), registers only
 * sse, avx: multiply-add chains on 2 / 4 doubles a register
 * stream:   reads and writes 1 GiB (transparent huge pages) after every page was touched
 * stream4k: the same over 4 KiB pages */
#include <immintrin.h>
#include <string.h>
#include <sys/mman.h>

#include "bench.h"

static volatile uint64_t g_sink;

static void integer(long n) {
  uint32_t h = 2166136261u;
  for (long i = 0; i < n; ++i) {
    h = (h ^ (uint32_t)i) * 16777619u;
    h ^= h >> 15;
  }
  g_sink = h;
}

static void sse(long n) {
  __m128d a = _mm_set1_pd(1.0), b = _mm_set1_pd(0.5), c = _mm_set1_pd(0.25), d = _mm_set1_pd(0.125);
  const __m128d m = _mm_set1_pd(0.999999), k = _mm_set1_pd(0.000001);
  for (long i = 0; i < n; ++i) {
    a = _mm_add_pd(_mm_mul_pd(a, m), k);
    b = _mm_add_pd(_mm_mul_pd(b, m), k);
    c = _mm_add_pd(_mm_mul_pd(c, m), k);
    d = _mm_add_pd(_mm_mul_pd(d, m), k);
  }
  double out[2];
  _mm_storeu_pd(out, _mm_add_pd(_mm_add_pd(a, b), _mm_add_pd(c, d)));
  g_sink = (uint64_t)(out[0] * 1e6 + out[1]);
}

__attribute__((target("avx"))) static void avx(long n) {
  __m256d a = _mm256_set1_pd(1.0), b = _mm256_set1_pd(0.5), c = _mm256_set1_pd(0.25),
          d = _mm256_set1_pd(0.125);
  const __m256d m = _mm256_set1_pd(0.999999), k = _mm256_set1_pd(0.000001);
  for (long i = 0; i < n; ++i) {
    a = _mm256_add_pd(_mm256_mul_pd(a, m), k);
    b = _mm256_add_pd(_mm256_mul_pd(b, m), k);
    c = _mm256_add_pd(_mm256_mul_pd(c, m), k);
    d = _mm256_add_pd(_mm256_mul_pd(d, m), k);
  }
  double out[4];
  _mm256_storeu_pd(out, _mm256_add_pd(_mm256_add_pd(a, b), _mm256_add_pd(c, d)));
  g_sink = (uint64_t)(out[0] * 1e6 + out[3]);
}

static double stream(long mib, int huge) {
  const size_t bytes = (size_t)mib << 20;
  uint64_t* p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  need(p != MAP_FAILED, "mmap");
  /* Said by the program, so that both sides have the same pages. */
  madvise(p, bytes, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
  memset(p, 1, bytes);
  const double begin = now_us();
  uint64_t sum = 0;
  for (int round = 0; round < 2; ++round)
    for (size_t i = 0; i < bytes / 8; i += 8) {
      sum += p[i] + p[i + 3];
      p[i + 5] = sum;
    }
  g_sink = sum;
  return now_us() - begin;
}

int main(int argc, char** argv) {
  const char* what = argc > 1 ? argv[1] : "int";
  if (strcmp(what, "stream") == 0) return report(stream(scaled(1024, 16), 1));
  if (strcmp(what, "stream4k") == 0) return report(stream(scaled(1024, 16), 0));
  const double begin = now_us();
  if (strcmp(what, "int") == 0) integer(scaled(120000000, 1000));
  if (strcmp(what, "sse") == 0) sse(scaled(40000000, 1000));
  if (strcmp(what, "avx") == 0) avx(scaled(40000000, 1000));
  return report(now_us() - begin);
}
