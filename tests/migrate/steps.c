/* steps STOP: writes 1, 2, 3... a line each, until the file STOP is there, then "done COUNT SUM".  Every step
 * looks whether a page still holds what an earlier step wrote there, and writes it anew; a second thread
 * keeps time. */
#include <pthread.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

enum { kPages = 64, kWords = 1024 };

static unsigned memory[kPages][kWords];
static volatile unsigned beats;

static void doze(void) {
  const struct timespec t = {0, 20 * 1000 * 1000};
  nanosleep(&t, NULL);
}

static void* beat(void* arg) {
  for (;;) {
    doze();
    ++beats;
  }
  return arg;
}

static void say(const char* format, unsigned a, unsigned b) {
  char line[64];
  const int n = snprintf(line, sizeof line, format, a, b);
  if (write(1, line, (size_t)n) != n) _exit(4);
}

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  pthread_t thread;
  if (pthread_create(&thread, NULL, beat, NULL) != 0) return 2;
  unsigned sum = 0;
  unsigned step = 1;
  for (; access(argv[1], F_OK) != 0; ++step) {
    unsigned* const page = memory[step % kPages];
    const unsigned before = step > kPages ? step - kPages : 0;
    for (int k = 0; k < kWords; k += 97) {
      if (page[k] != before) {
        say("step %u finds %u in memory\n", step, page[k]);
        return 3;
      }
      page[k] = step;
    }
    sum = sum * 31 + step;
    say("%u\n", step, 0);
    doze();
  }
  say("done %u %u\n", step - 1, sum);
  return beats == 0;
}
