#include "vmm/deputy/fork_locks.hh"

#include <pthread.h>

#include "vmm/deputy/numbers.hh"
#include "vmm/mem/arena.hh"

// libc.a's own.  Its fork() frees them in the child; ours is the kernel's.  Source: glibc,
// sysdeps/nptl/fork.h, reclaim_stacks().
extern "C" int _dl_stack_cache_lock;           // NOLINT: its name
extern "C" pthread_mutex_t _dl_load_tls_lock;  // NOLINT: its name

namespace hpcvmm::deputy {

void lock_before_fork(Task& t) {
  t.process->mm->lock().lock();
  t.process->lock.lock();
  t.process->signals->lock.lock();
  stacks_lock().lock();
  numbers_lock().lock();
  hidden_lock().lock();
  mem::heap_lock();
}

void unlock_after_fork(Task& t) {
  mem::heap_unlock();
  hidden_lock().unlock();
  numbers_lock().unlock();
  stacks_lock().unlock();
  t.process->signals->lock.unlock();
  t.process->lock.unlock();
  t.process->mm->lock().unlock();
}

// A thread of the parent's that began or ended at that moment held them, and is not here: the child's next
// pthread_create() would wait for ever.  The list itself is read by nobody who does not change it, and each
// step of a change leaves a list that can be added to.
void free_locks_of_libc() {
  constexpr pthread_mutex_t kFree = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;
  _dl_stack_cache_lock = 0;
  _dl_load_tls_lock = kFree;
}

}  // namespace hpcvmm::deputy
