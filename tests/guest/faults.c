// Goal: every wrong access gives SIGSEGV with the exact si_code and si_addr, for read, write and execute.
#include "guest.h"

#include <setjmp.h>
#include <sys/mman.h>

enum { kPage = 4096, kAnon = MAP_PRIVATE | MAP_ANONYMOUS };

static sigjmp_buf escape;
static siginfo_t last;
static long trap_error;

static void leave(int sig, siginfo_t* info, void* context) {
  (void)sig;
  last = *info;
  const ucontext_t* where = context;
  // Without bit 0: whether the entry was present depends on what the kernel has resident.
  trap_error = (long)where->uc_mcontext.gregs[REG_ERR] & ~1L;
  siglongjmp(escape, 1);
}

static void read_at(volatile char* at) { (void)*at; }
static void write_at(volatile char* at) { *at = 1; }
static void run_at(volatile char* at) { ((void (*)(void))at)(); }
static void read_word(volatile char* at) { (void)*(volatile uint64_t*)at; }

static void probe(const char* label, void (*access)(volatile char*), char* at, char* expected) {
  if (sigsetjmp(escape, 1) == 0) {
    access(at);
    printf("%-28s fine\n", label);
    return;
  }
  const char* code = last.si_code == SEGV_MAPERR ? "MAPERR" : last.si_code == SEGV_ACCERR ? "ACCERR" : "?";
  if (last.si_code == SI_KERNEL) code = "KERNEL";
  printf("%-28s SIG%s %s address %s error %#lx\n", label, sigabbrev_np(last.si_signo), code,
         (char*)last.si_addr == expected ? "exact" : "WRONG", trap_error);
}

int main(void) {
  guest_on(SIGSEGV, leave, 0);
  guest_on(SIGBUS, leave, 0);
  char* area = mmap(NULL, 16 * kPage, PROT_READ | PROT_WRITE, kAnon, -1, 0);
  char* none = area + 4 * kPage;
  char* readable = area + 6 * kPage;
  char* hole = area + 8 * kPage;
  CHECK(mprotect(none, kPage, PROT_NONE) == 0 && mprotect(readable, kPage, PROT_READ) == 0);
  CHECK(munmap(hole, kPage) == 0);
  for (int touched = 0; touched < 2; ++touched) {
    probe("read null", read_at, NULL, NULL);
    probe("write 0x123", write_at, (char*)0x123, (char*)0x123);
    probe("execute null", run_at, NULL, NULL);
    probe("read hole", read_at, hole + 77, hole + 77);
    probe("write hole", write_at, hole + 78, hole + 78);
    probe("execute hole", run_at, hole + 79, hole + 79);
    probe("read PROT_NONE", read_at, none + 1, none + 1);
    probe("write PROT_NONE", write_at, none + 2, none + 2);
    probe("write read-only", write_at, readable + 4095, readable + 4095);
    probe("read read-only", read_at, readable, NULL);
    probe("execute data", run_at, area + 5, area + 5);
    probe("word across into hole", read_word, hole - 3, hole);
    probe("word across into NONE", read_word, none - 3, none);
    probe("write own code", write_at, (char*)(uintptr_t)main, (char*)(uintptr_t)main);
    area[0] = 1;  // the same again with touched pages
    for (int i = 0; i < 16; ++i) {
      if (i != 4 && i != 6 && i != 8) area[i * kPage] = 1;
    }
  }
#ifdef __x86_64__
  probe("read kernel half", read_at, (char*)0xffff888000000000, NULL);
  probe("write non-canonical", write_at, (char*)0x1234567800000000, NULL);
  probe("execute non-canonical", run_at, (char*)0x8000000000000000, NULL);
  probe("read end of user half", read_at, (char*)0x7ffffffff000, (char*)0x7ffffffff000);
#else
  probe("read last page", read_at, (char*)0xfffff000U, (char*)0xfffff000U);
#endif
  return guest_end();
}
