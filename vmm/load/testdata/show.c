// Prints everything about its initial stack that does not depend on where the stack is, so that two ways of
// starting it (the kernel's, the loader's) can be compared as text.
#include <elf.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

static char output[1 << 16];
static int zeros[5000];
static int numbers[3] = {1, 2, 3};

static int is_pointer(unsigned long type) {
  return type == AT_PHDR || type == AT_BASE || type == AT_ENTRY || type == AT_RANDOM || type == AT_EXECFN ||
         type == AT_PLATFORM || type == AT_SYSINFO || type == AT_SYSINFO_EHDR;
}

int main(int argc, char** argv, char** envp) {
  const char* strings = argv[0];
  // No heap: where the loader's test runs an IA32 program, brk(2) is still that of the 64-bit test itself.
  setvbuf(stdout, output, _IOFBF, sizeof output);
  unsigned long sum = 0;
  for (unsigned i = 0; i < sizeof zeros / sizeof zeros[0]; ++i) sum += (unsigned)zeros[i];
  // Neither argv nor envp moves before main: sp was one word below argv.
  printf("sp %% 16 = %u, argc %d, bss %lu, data %d\n", (unsigned)(((uintptr_t)argv - sizeof(long)) % 16),
         argc, sum, numbers[0] + numbers[1] + numbers[2]);
  for (int i = 0; i < argc; ++i) printf("argv[%d] +%ld '%s'\n", i, (long)(argv[i] - strings), argv[i]);
  printf("argv end %d, envp follows %d\n", argv[argc] == NULL, envp == argv + argc + 1);
  int n = 0;
  for (; envp[n] != NULL; ++n) printf("envp[%d] +%ld '%s'\n", n, (long)(envp[n] - strings), envp[n]);
  unsigned long* aux = (unsigned long*)(envp + n + 1);
  unsigned long phdr = 0, entry = 0;
  const char* platform = NULL;
  const char* random = NULL;
  const char* execfn = NULL;
  for (; aux[0] != AT_NULL; aux += 2) {
    if (aux[0] == AT_PHDR) phdr = aux[1];
    if (aux[0] == AT_ENTRY) entry = aux[1];
    if (aux[0] == AT_RANDOM) random = (const char*)aux[1];
    if (aux[0] == AT_EXECFN) execfn = (const char*)aux[1];
    if (aux[0] == AT_PLATFORM) platform = (const char*)aux[1];
    if (is_pointer(aux[0]))
      printf("aux %lu\n", aux[0]);
    else
      printf("aux %lu = %lx\n", aux[0], aux[1]);
  }
  const char* end = execfn + strlen(execfn) + 1;
  printf("entry - phdr %ld, phdr page offset %lu\n", (long)(entry - phdr), phdr % 4096);
  printf("execfn '%s' +%ld, then page end - %ld\n", execfn, (long)(execfn - strings),
         (long)(4096 - (long)((uintptr_t)end % 4096)));
  printf("platform '%s', random at platform%+ld, platform end %% 16 = %u\n", platform,
         (long)(random - platform), (unsigned)((uintptr_t)(platform + strlen(platform) + 1) % 16));
  // How far below the random bytes the final AT_NULL ends depends on the alignment of sp alone.
  printf("auxv near random %d\n", (uintptr_t)random - (uintptr_t)(aux + 2) < 16);
  return 42;
}
