/* Symbols that libc.a and libstdc++.a reference weakly.  At our link address a call to an undefined weak
 * symbol does not fit 32 bits, so each gets a body.  The transactional-memory ones are never called: nothing
 * uses -fgnu-tm. */
#include <stdlib.h>

/* glibc 2.36 calls these when present; both have nothing to do in a fixed static image. */
void __pthread_initialize_minimal(void);
void __pthread_initialize_minimal(void) {}
void _dl_relocate_static_pie(void);
void _dl_relocate_static_pie(void) {}
/* Where $ORIGIN of shared objects is: there are none.  glibc asks /proc/self/exe for it at each start. */
const char* _dl_get_origin(void);
const char* _dl_get_origin(void) { return (const char*)-1; }
/* Belongs to libc's malloc, which vmm/mem/arena.cc replaces. */
void __malloc_arena_thread_freeres(void) __attribute__((weak));
void __malloc_arena_thread_freeres(void) {}
/* crtbeginS.o runs it at exit; static destructors go through exit() and __cxa_atexit instead. */
void __cxa_finalize(void* dso);
void __cxa_finalize(void* dso) { (void)dso; }

#define NEVER(name) \
  void name(void);  \
  void name(void) { abort(); }
NEVER(_ITM_RU1)
NEVER(_ITM_RU8)
NEVER(_ITM_addUserCommitAction)
NEVER(_ITM_memcpyRnWt)
NEVER(_ITM_memcpyRtWn)
NEVER(_ZGTtdlPv)
NEVER(_ZGTtnam)
