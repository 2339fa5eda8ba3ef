/* Says sums over its own file's pages: constants, and initialised data of which it has written some.  A line
 * on stdin asks for one. */
#include <stdint.h>
#include <stdio.h>

#define WORDS 131072 /* 1 MiB each */

__asm__(
    ".section .rodata\n .balign 4096\n fixed: .set i, 1\n .rept 131072\n .quad i * 0x9E3779B1\n .set i, i + "
    "1\n .endr\n"
    ".data\n .balign 4096\n changed: .set i, 7\n .rept 131072\n .quad i * 0x85EBCA77\n .set i, i + 1\n "
    ".endr\n"
    ".text\n");
extern const uint64_t fixed[WORDS];
extern uint64_t changed[WORDS];

static uint64_t sum(const volatile uint64_t* words) {
  uint64_t s = 0;
  for (unsigned i = 0; i < WORDS; ++i) s = s * 31 + words[i];
  return s;
}

int main(void) {
  char line[16];
  for (unsigned i = 0; i < 8; ++i) changed[i * 16384] += 5;
  puts("ready");
  fflush(stdout);
  while (fgets(line, sizeof line, stdin) != NULL) {
    printf("%016llx %016llx\n", (unsigned long long)sum(fixed), (unsigned long long)sum(changed));
    fflush(stdout);
    changed[100] += 1;
  }
  return 0;
}
