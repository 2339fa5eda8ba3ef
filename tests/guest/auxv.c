// Goal: the auxiliary vector is the one Linux gives: each value stands in its right relation to the program.
#include "guest.h"

#include <elf.h>
#include <link.h>
#include <sys/auxv.h>

extern char __executable_start[];
extern char** environ;
static int in_data = 1;

static void program_headers(void) {
  const ElfW(Phdr)* header = (const ElfW(Phdr)*)getauxval(AT_PHDR);
  CHECK(getauxval(AT_PHENT) == sizeof(ElfW(Phdr)));
  CHECK((const char*)header > __executable_start && (const char*)header < __executable_start + 4096);
  uintptr_t bias = 0;
  int loads = 0;
  int covers_data = 0;
  for (size_t i = 0; i < getauxval(AT_PHNUM); ++i) {
    if (header[i].p_type == PT_PHDR) bias = (uintptr_t)header - header[i].p_vaddr;
  }
  for (size_t i = 0; i < getauxval(AT_PHNUM); ++i) {
    if (header[i].p_type != PT_LOAD) continue;
    ++loads;
    uintptr_t from = bias + header[i].p_vaddr;
    if ((uintptr_t)&in_data >= from && (uintptr_t)&in_data < from + header[i].p_memsz) covers_data = 1;
  }
  SHOW(loads);
  CHECK(covers_data);
}

int main(int argc, char** argv) {
  (void)argc;
  program_headers();
  SHOW(getauxval(AT_PAGESZ));
  SHOW(getauxval(AT_CLKTCK));
  SHOW(getauxval(AT_UID) == getuid());
  SHOW(getauxval(AT_EUID) == geteuid());
  SHOW(getauxval(AT_GID) == getgid());
  SHOW(getauxval(AT_EGID) == getegid());
  SHOW(getauxval(AT_SECURE));
  SHOW(getauxval(AT_FLAGS));
  SHOW(getauxval(AT_BASE) != 0);
  printf("platform %s\n", (const char*)getauxval(AT_PLATFORM));
  printf("execfn is argv[0]: %d\n", strcmp((const char*)getauxval(AT_EXECFN), argv[0]) == 0);
  const unsigned char* random = (const unsigned char*)getauxval(AT_RANDOM);
  CHECK(random != NULL);
  int zeros = 0;
  for (int i = 0; i < 16; ++i) zeros += random[i] == 0;
  CHECK(zeros < 6);
  // Strings and vector lie above the arguments on the stack, in Linux' order.
  const char* execfn = (const char*)getauxval(AT_EXECFN);
  char** end = environ;
  while (*end != NULL) ++end;
  SHOW((uintptr_t)(end + 1) < (uintptr_t)random);
  SHOW((uintptr_t)random < (uintptr_t)argv[0]);
  SHOW((uintptr_t)argv[0] < (uintptr_t)environ[0]);
  SHOW((uintptr_t)environ[0] < (uintptr_t)execfn);
  // AT_EXECFN is the last string: a null word of 4 or 8 bytes ends the stack page behind it.
  uintptr_t top = (uintptr_t)execfn + strlen(execfn) + 1 + sizeof(void*);
  SHOW(top % 4096);
  CHECK(getauxval(AT_ENTRY) != 0);
#ifdef __i386__
  SHOW((uintptr_t)argv > 0xff000000U);
#else
  SHOW((uintptr_t)argv >> 40 == 0x7f || (uintptr_t)argv >> 40 == 0x7e);
#endif
  return guest_end();
}
