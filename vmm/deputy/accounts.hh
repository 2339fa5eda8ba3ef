// What this process and its children have used of other nodes' CPUs, beside what the host kernel knows.
#pragma once

#include <cstdint>

#include "vmm/deputy/time_table.hh"

namespace hpcvmm::deputy {

struct Task;

/// Makes the table of a new tree; `fd` is one that the image before an exec had made, -1: there is none.
/// Once, at start, one of the two.
void make_accounts();
void set_accounts(int fd);
/// The descriptor, for the next image; -1: none.
int accounts_fd();

/// False while nobody of the tree has ever been away: the kernel knows it all.  Any thread.
bool accounts_count();

/// By the child, before its guest runs: it has used nothing.  Of a child that shares its parent's memory:
/// what belongs to the parent stays.
void accounts_of_fork_child();
void accounts_of_sharing_child(std::int32_t pid);
/// A hook of vmm/migrate: this process has used so much since its last exec.  The pager's.
void note_used_away(const CpuTime& all);

/// CPU time used away by the calling thread; by its process; by the children that have been reaped, and
/// theirs.  Any guest thread.
CpuTime thread_used_away(const Task& t);
CpuTime process_used_away(const Task& t);
CpuTime children_used_away(const Task& t);
/// Of another process of the tree, and its reaped children; false: nothing is known.
bool others_used_away(std::int32_t pid, CpuTime& own, CpuTime& children);

/// The caller has waited for its child `pid`: what that and its reaped children used away, which counts as
/// the caller's children's from now on if `reaped`.
CpuTime child_used_away(const Task& t, std::int32_t pid, bool reaped);

}  // namespace hpcvmm::deputy
