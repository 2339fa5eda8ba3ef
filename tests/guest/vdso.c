// Goal: AT_SYSINFO_EHDR leads to an ELF image whose clock_gettime works and agrees with the system call.
#include "guest.h"

#include <link.h>
#include <sys/auxv.h>
#include <sys/syscall.h>
#include <time.h>

typedef int (*clock_function)(clockid_t, struct timespec*);

static void* find_symbol(const char* image, const char* wanted) {
  const ElfW(Ehdr)* head = (const ElfW(Ehdr)*)image;
  const ElfW(Phdr)* segment = (const ElfW(Phdr)*)(image + head->e_phoff);
  const ElfW(Dyn)* dynamic = NULL;
  uintptr_t bias = 0;
  for (int i = 0; i < head->e_phnum; ++i) {
    if (segment[i].p_type == PT_LOAD) bias = (uintptr_t)image + segment[i].p_offset - segment[i].p_vaddr;
    if (segment[i].p_type == PT_DYNAMIC) dynamic = (const ElfW(Dyn)*)(image + segment[i].p_offset);
  }
  const ElfW(Sym)* symbols = NULL;
  const char* names = NULL;
  for (; dynamic != NULL && dynamic->d_tag != DT_NULL; ++dynamic) {
    if (dynamic->d_tag == DT_SYMTAB) symbols = (const ElfW(Sym)*)(bias + dynamic->d_un.d_ptr);
    if (dynamic->d_tag == DT_STRTAB) names = (const char*)(bias + dynamic->d_un.d_ptr);
  }
  if (symbols == NULL || names == NULL) return NULL;
  // The string table follows the symbol table in every vDSO, so it bounds the search.
  for (const ElfW(Sym)* s = symbols; (const char*)(s + 1) <= names || s < symbols + 8; ++s) {
    if (strcmp(names + s->st_name, wanted) == 0) return (void*)(bias + s->st_value);
  }
  return NULL;
}

static long long nanoseconds(struct timespec t) { return t.tv_sec * 1000000000LL + t.tv_nsec; }

int main(void) {
  const char* image = (const char*)getauxval(AT_SYSINFO_EHDR);
#ifdef __x86_64__
  CHECK(image != NULL);
#endif
  if (image != NULL) {
    CHECK(memcmp(image, ELFMAG, SELFMAG) == 0);
    CHECK(image[EI_CLASS] == (sizeof(void*) == 8 ? ELFCLASS64 : ELFCLASS32));
    clock_function by_vdso = (clock_function)find_symbol(image, "__vdso_clock_gettime");
    CHECK(by_vdso != NULL);
    for (int i = 0; by_vdso != NULL && i < 1000; ++i) {
      struct timespec before, between, after;
      syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &before);
      CHECK(by_vdso(CLOCK_MONOTONIC, &between) == 0);
      syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &after);
      if (nanoseconds(before) > nanoseconds(between) || nanoseconds(between) > nanoseconds(after)) {
        CHECK(!"vDSO and system call disagree");
        break;
      }
    }
  }
  return guest_end();
}
