// The smallest program with text, data and bss: leaves at once with status 7 if its data and bss are right.
static volatile int data = 7;
static volatile int bss[3000];

__attribute__((noreturn)) void _start(void) {
  long status = data + bss[0] + bss[2999];
#ifdef __x86_64__
  __asm__ volatile("syscall" : : "a"(231L), "D"(status));
#else
  __asm__ volatile("int $0x80" : : "a"(252L), "b"(status));
#endif
  for (;;) {
  }
}
