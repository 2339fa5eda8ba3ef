// Which locks a fork holds, so that the child finds what they guard consistent.
#pragma once

#include "vmm/deputy/task.hh"

namespace hpcvmm::deputy {

mem::Lock& stacks_lock();
mem::Lock& hidden_lock();

/// Takes, in this order: mm, process, signal table, stacks, numbers of descriptors, hidden ones, heap. Nobody
/// holds a later one while waiting for an earlier one.
void lock_before_fork(Task& t);
/// In parent and child.
void unlock_after_fork(Task& t);
/// In the child: nobody holds what libc.a guards its list of threads with.
void free_locks_of_libc();

}  // namespace hpcvmm::deputy
