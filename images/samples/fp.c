// Floating-point workload: n-body steps, a small matrix product and a series, in x87 or SSE as the compiler
// chooses. fp [STEPS]: prints energies with ten digits, which every correct machine of one bitness agrees on,
// and a checksum.
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

enum { kBodies = 5, kSide = 120 };

struct Body {
  double x[3], v[3], mass;
};

static double energy(const struct Body* b) {
  double e = 0;
  for (int i = 0; i < kBodies; ++i) {
    e += 0.5 * b[i].mass * (b[i].v[0] * b[i].v[0] + b[i].v[1] * b[i].v[1] + b[i].v[2] * b[i].v[2]);
    for (int j = i + 1; j < kBodies; ++j) {
      double r = 0;
      for (int k = 0; k < 3; ++k) r += (b[i].x[k] - b[j].x[k]) * (b[i].x[k] - b[j].x[k]);
      e -= b[i].mass * b[j].mass / sqrt(r);
    }
  }
  return e;
}

static void advance(struct Body* b, double dt) {
  for (int i = 0; i < kBodies; ++i) {
    for (int j = i + 1; j < kBodies; ++j) {
      double d[3], r = 0;
      for (int k = 0; k < 3; ++k) {
        d[k] = b[i].x[k] - b[j].x[k];
        r += d[k] * d[k];
      }
      double pull = dt / (r * sqrt(r));
      for (int k = 0; k < 3; ++k) {
        b[i].v[k] -= d[k] * b[j].mass * pull;
        b[j].v[k] += d[k] * b[i].mass * pull;
      }
    }
  }
  for (int i = 0; i < kBodies; ++i) {
    for (int k = 0; k < 3; ++k) b[i].x[k] += dt * b[i].v[k];
  }
}

static uint64_t add(uint64_t hash, double value) {
  char text[40];
  snprintf(text, sizeof text, "%.10e", value);
  for (const char* p = text; *p != 0; ++p) hash = (hash ^ (unsigned char)*p) * 1099511628211ULL;
  return hash;
}

int main(int argc, char** argv) {
  long steps = argc > 1 ? atol(argv[1]) : 200000;
  uint64_t hash = 14695981039346656037ULL;
  struct Body b[kBodies];
  for (int i = 0; i < kBodies; ++i) {
    b[i] = (struct Body){
        {4.0 * i, 1.0 + i * i * 0.3, 0.2 * i}, {0.1 * i, 0.4 - 0.1 * i, 0.05}, i == 0 ? 39.0 : 0.03 * i};
  }
  for (long step = 0; step < steps; ++step) {
    if (step % (steps / 4 + 1) == 0) {
      printf("step %ld energy %.10f\n", step, energy(b));
      hash = add(hash, energy(b));
    }
    advance(b, 0.001);
  }
  static double left[kSide][kSide], right[kSide][kSide];
  double trace = 0;
  for (int i = 0; i < kSide; ++i) {
    for (int j = 0; j < kSide; ++j) left[i][j] = sin(i + 2.0 * j), right[i][j] = 1.0 / (i + j + 1);
  }
  for (int i = 0; i < kSide; ++i) {
    for (int k = 0; k < kSide; ++k) trace += left[i][k] * right[k][i];
  }
  double series = 0;
  for (int i = 1; i < 1000000; ++i) series += 1.0 / ((double)i * i);
  printf("trace %.10f series %.10f\n", trace, series);
  printf("checksum %016llx\n", (unsigned long long)add(add(hash, trace), series));
  return 0;
}
