/* Goal: an IA32 program can use the 32-bit vDSO image in every way Linux's own is used.
 * Method: map [table][image] from the file named on the command line; call the functions through the table
 * and through int $0x80; return from signal handlers through both trampolines and unwind through them with
 * libgcc. */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include <unwind.h>

#include "hpcvmm/abi/vdso.h"

extern void __register_frame(void*);

struct timespec64 {
  long long sec, nsec;
};

static int failures;
#define EXPECT(condition)                                                       \
  do {                                                                          \
    if (!(condition)) {                                                         \
      fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #condition); \
      ++failures;                                                               \
    }                                                                           \
  } while (0)

static char* image;

/* Linear search with the version check of a dynamic linker. */
static void* find(const char* name, const char* version) {
  const Elf32_Ehdr* ehdr = (const void*)image;
  const Elf32_Phdr* phdr = (const void*)(image + ehdr->e_phoff);
  const Elf32_Dyn* dyn = NULL;
  for (int i = 0; i < ehdr->e_phnum; ++i)
    if (phdr[i].p_type == PT_DYNAMIC) dyn = (const void*)(image + phdr[i].p_vaddr);
  const char *strtab = NULL, *verdef = NULL;
  const Elf32_Sym* symtab = NULL;
  const Elf32_Word* hash = NULL;
  const Elf32_Half* versym = NULL;
  Elf32_Word soname = 0;
  for (; dyn && dyn->d_tag; ++dyn) {
    char* at = image + dyn->d_un.d_ptr;
    if (dyn->d_tag == DT_STRTAB) strtab = at;
    if (dyn->d_tag == DT_SYMTAB) symtab = (const void*)at;
    if (dyn->d_tag == DT_HASH) hash = (const void*)at;
    if (dyn->d_tag == DT_VERSYM) versym = (const void*)at;
    if (dyn->d_tag == DT_VERDEF) verdef = at;
    if (dyn->d_tag == DT_SONAME) soname = dyn->d_un.d_val;
  }
  if (!strtab || !symtab || !hash || !versym || !verdef) return NULL;
  EXPECT(strcmp(strtab + soname, "linux-gate.so.1") == 0);
  for (Elf32_Word i = 1; i < hash[1]; ++i) {
    if (strcmp(strtab + symtab[i].st_name, name) != 0) continue;
    const char* at = verdef;
    for (;;) {
      const Elf32_Verdef* def = (const void*)at;
      const Elf32_Verdaux* aux = (const void*)(at + def->vd_aux);
      if (def->vd_ndx == (versym[i] & 0x7fff) && strcmp(strtab + aux->vda_name, version) == 0)
        return image + symtab[i].st_value;
      if (!def->vd_next) return NULL;
      at += def->vd_next;
    }
  }
  return NULL;
}

static long vsyscall(void* entry, long number, long a, long b) {
  long result;
  __asm__ volatile("call *%1" : "=a"(result) : "r"(entry), "0"(number), "b"(a), "c"(b) : "memory");
  return result;
}

/* What the unwinder met on the way out of a handler. */
static volatile int met_main, met_raise_site, frames;
static char* raise_low;
static char* raise_high;
int main(int argc, char** argv);

static _Unwind_Reason_Code visit(struct _Unwind_Context* context, void* unused) {
  (void)unused;
  char* pc = (char*)_Unwind_GetIP(context);
  if (pc >= raise_low && pc <= raise_high) met_raise_site = 1;
  if (_Unwind_FindEnclosingFunction(pc) == (void*)main) met_main = 1;
  return ++frames < 64 ? _URC_NO_REASON : _URC_END_OF_STACK;
}

static volatile int handled;
static void handler(int signo) {
  handled = signo;
  _Unwind_Backtrace(visit, NULL);
}

/* The kernel's sigaction structures; glibc's would put its own trampoline in. */
struct old_sigaction {
  void (*handler)(int);
  unsigned long mask, flags;
  void* restorer;
};
struct rt_sigaction {
  void (*handler)(int);
  unsigned long flags;
  void* restorer;
  unsigned long mask[2];
};

static __attribute__((noinline)) void raise_here(void) {
  long pid = getpid();
  register long check = 0x13572468;
  __asm__ volatile(
      "movl $37, %%eax\n\t"
      "movl %2, %%ecx\n"
      "1: int $0x80\n"
      "2: movl $1b, %0\n\t"
      "movl $2b, %1"
      : "=m"(raise_low), "=m"(raise_high)
      : "i"(SIGUSR1), "b"(pid), "D"(check)
      : "eax", "ecx", "memory");
  EXPECT(check == 0x13572468);
}

static void signals(void) {
  const Elf32_Ehdr* ehdr = (const void*)image;
  const Elf32_Phdr* phdr = (const void*)(image + ehdr->e_phoff);
  for (int i = 0; i < ehdr->e_phnum; ++i) {
    if (phdr[i].p_type != PT_GNU_EH_FRAME) continue;
    /* .eh_frame_hdr: version, three encodings, then the pc-relative address of .eh_frame
     * (DW_EH_PE_pcrel|sdata4) */
    char* header = image + phdr[i].p_vaddr;
    EXPECT(header[0] == 1 && header[1] == 0x1b);
    int relative;
    memcpy(&relative, header + 4, 4);
    __register_frame(header + 4 + relative);
  }
  raise_here(); /* default action blocked below; first run only learns raise_low/high */
  EXPECT(handled == SIGUSR1);

  void* trampoline[2] = {find("__kernel_sigreturn", "LINUX_2.5"), find("__kernel_rt_sigreturn", "LINUX_2.5")};
  for (int rt = 0; rt < 2; ++rt) {
    long result;
    if (rt) {
      struct rt_sigaction action = {handler, SA_SIGINFO | 0x04000000, trampoline[1], {0, 0}};
      result = syscall(SYS_rt_sigaction, SIGUSR1, &action, NULL, 8);
    } else {
      struct old_sigaction action = {handler, 0, 0x04000000, trampoline[0]};
      result = syscall(SYS_sigaction, SIGUSR1, &action, NULL);
    }
    EXPECT(result == 0);
    handled = met_main = met_raise_site = frames = 0;
    raise_here();
    EXPECT(handled == SIGUSR1);
    EXPECT(met_raise_site); /* the interrupted instruction itself: the frame description was used */
    EXPECT(met_main);
    printf("%s: returned, unwound %d frames\n", rt ? "__kernel_rt_sigreturn" : "__kernel_sigreturn", frames);
  }
}

static int answer_fixed(int clock, struct timespec* t) {
  t->tv_sec = clock;
  t->tv_nsec = 5;
  return 3;
}

static void clocks(struct hpcvmm_vdso_table* table) {
  int (*clock_get)(int, struct timespec*) = find("__vdso_clock_gettime", "LINUX_2.6");
  int (*clock_get64)(int, struct timespec64*) = find("__vdso_clock_gettime64", "LINUX_2.6");
  int (*get_res)(int, struct timespec*) = find("__vdso_clock_getres", "LINUX_2.6");
  int (*timeofday)(long*, void*) = find("__vdso_gettimeofday", "LINUX_2.6");
  long (*get_time)(long*) = find("__vdso_time", "LINUX_2.6");
  EXPECT(clock_get && clock_get64 && get_res && timeofday && get_time);
  if (failures) return;
  for (int i = 0; i < 1000; ++i) {
    struct timespec a, b, c;
    struct timespec64 d;
    syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &a);
    EXPECT(clock_get(CLOCK_MONOTONIC, &b) == 0);
    EXPECT(clock_get64(CLOCK_MONOTONIC, &d) == 0);
    syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &c);
    long long na = a.tv_sec * 1000000000LL + a.tv_nsec, nb = b.tv_sec * 1000000000LL + b.tv_nsec;
    long long nc = c.tv_sec * 1000000000LL + c.tv_nsec, nd = d.sec * 1000000000LL + d.nsec;
    EXPECT(na <= nb && nb <= nd && nd <= nc);
  }
  struct timespec t;
  EXPECT(clock_get(9999, &t) == -EINVAL);
  EXPECT(get_res(CLOCK_MONOTONIC, &t) == 0 && t.tv_nsec > 0);
  long stored = 0, tv[2];
  EXPECT(get_time(&stored) == stored && stored > 1600000000);
  EXPECT(timeofday(tv, NULL) == 0 && tv[0] >= stored && tv[0] <= stored + 1);
  mprotect(table, HPCVMM_VDSO_TABLE_BYTES, PROT_READ | PROT_WRITE);
  table->clock_gettime = (uintptr_t)answer_fixed;
  mprotect(table, HPCVMM_VDSO_TABLE_BYTES, PROT_READ);
  EXPECT(clock_get(77, &t) == 3 && t.tv_sec == 77 && t.tv_nsec == 5);
}

int main(int argc, char** argv) {
  if (argc != 2) {
    fprintf(stderr, "usage: %s VDSO32_IMAGE\n", argv[0]);
    return 2;
  }
  int fd = open(argv[1], O_RDONLY);
  char* pages = mmap(NULL, 3 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (fd < 0 || pages == MAP_FAILED) {
    perror(argv[1]);
    return 2;
  }
  image = pages + HPCVMM_VDSO_TABLE_BYTES;
  EXPECT(mmap(image, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_FIXED, fd, 0) == image);
  clocks((void*)pages);
  void* entry = find("__kernel_vsyscall", "LINUX_2.5");
  EXPECT(entry && vsyscall(entry, SYS_getpid, 0, 0) == getpid());
  EXPECT(find("__kernel_vsyscall", "LINUX_2.6") == NULL);
  signal(SIGUSR1, handler);
  signals();
  printf("%d failures\n", failures);
  return failures ? 1 : 0;
}
