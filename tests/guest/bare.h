// For integer-only tests: system calls, output and an entry point without any library, for both bitnesses.
// Nothing here or in a test that includes it uses SSE or x87: a KVM that emulates 32-bit code has neither.
#pragma once

#include <asm/unistd.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __x86_64__
static long bare_call(long n, long a, long b, long c, long d, long e, long f) {
  long result;
  register long r10 __asm__("r10") = d;
  register long r8 __asm__("r8") = e;
  register long r9 __asm__("r9") = f;
  __asm__ volatile("syscall"
                   : "=a"(result)
                   : "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                   : "rcx", "r11", "memory");
  return result;
}
__asm__(".globl _start\n_start: xor %ebp, %ebp; mov %rsp, %rdi; and $-16, %rsp; call bare_start; hlt");
#else
struct BareArguments {
  long n, a, b, c, d, e, f;
};
static long bare_call(long n, long a, long b, long c, long d, long e, long f) {
  struct BareArguments all = {n, a, b, c, d, e, f};
  long result = (long)&all;
  __asm__ volatile(
      "push %%ebp; push %%ebx; mov 4(%%eax), %%ebx; mov 8(%%eax), %%ecx; mov 12(%%eax), %%edx; mov "
      "16(%%eax), %%esi; "
      "mov 20(%%eax), %%edi; mov 24(%%eax), %%ebp; mov (%%eax), %%eax; int $0x80; pop %%ebx; pop %%ebp"
      : "+a"(result)
      :
      : "ecx", "edx", "esi", "edi", "memory");
  return result;
}
__asm__(
    ".globl _start\n_start: xor %ebp, %ebp; mov %esp, %eax; and $-16, %esp; sub $12, %esp; push %eax; "
    "call bare_start; hlt");
#endif

#define CALL(n, ...) BARE_SIX(n, __VA_ARGS__, 0, 0, 0, 0, 0, 0)
#define BARE_SIX(n, a, b, c, d, e, f, ...) \
  bare_call(__NR_##n, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))

int bare_main(int argc, char** argv, char** envp);

void* memset(void* to, int value, size_t n);
void* memset(void* to, int value, size_t n) {
  for (volatile char* p = to; n > 0; --n) *p++ = (char)value;
  return to;
}
void* memcpy(void* to, const void* from, size_t n);
void* memcpy(void* to, const void* from, size_t n) {
  const char* f = from;
  for (volatile char* p = to; n > 0; --n) *p++ = *f++;
  return to;
}

__attribute__((unused)) static size_t bare_length(const char* text) {
  size_t n = 0;
  while (text[n] != 0) ++n;
  return n;
}
__attribute__((unused)) static void say(const char* text) { CALL(write, 1, text, bare_length(text)); }
__attribute__((unused)) static void say_number(const char* label, long value) {
  char line[200];
  size_t n = 0;
  for (const char* p = label; *p != 0 && n < 150; ++p) line[n++] = *p;
  line[n++] = ' ';
  unsigned long rest = value < 0 ? -(unsigned long)value : (unsigned long)value;
  if (value < 0) line[n++] = '-';
  char digits[24];
  int count = 0;
  do {
    digits[count++] = (char)('0' + rest % 10);
    rest /= 10;
  } while (rest != 0);
  while (count > 0) line[n++] = digits[--count];
  line[n++] = '\n';
  CALL(write, 1, line, n);
}

__attribute__((used, noreturn)) void bare_start(long* stack);
void bare_start(long* stack) {
  int argc = (int)stack[0];
  CALL(exit_group, bare_main(argc, (char**)(stack + 1), (char**)(stack + 2 + argc)));
  for (;;) {
  }
}

// The kernel's own sigaction, and a restorer, which a library would bring.
struct BareAction {
  void (*handler)(int, void*, void*);
  unsigned long flags;
  void (*restorer)(void);
  uint32_t mask[2];
};
void bare_restore(void);
#ifdef __x86_64__
__asm__("bare_restore: mov $15, %eax; syscall");
#else
__asm__("bare_restore: mov $173, %eax; int $0x80");
#endif
__attribute__((unused)) static void bare_on(int sig, void (*handler)(int, void*, void*),
                                            unsigned long flags) {
  struct BareAction action = {handler, flags | 0x04000004, bare_restore, {0, 0}};
  CALL(rt_sigaction, sig, &action, 0, 8);
}
