#include "vmm/deputy/fork_locks.hh"

#include "vmm/deputy/numbers.hh"
#include "vmm/mem/arena.hh"

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

}  // namespace hpcvmm::deputy
