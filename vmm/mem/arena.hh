// The VMM's own memory: everything it maps lies in [kArenaBegin, kArenaEnd), away from the guest's window.
#pragma once

#include <cstddef>
#include <cstdint>

#include "hpcvmm/base/result.hh"

namespace hpcvmm::mem {

/// Maps `bytes` (rounded up to pages) of zeroed private memory, aligned to `align` (power of two >= 4096),
/// with an inaccessible page behind it.  Returns nullptr when the host has no memory.  Any thread.
void* arena_map(std::size_t bytes, std::size_t align = 4096);
/// Maps `bytes` of `fd` shared (kvm_run pages).  nullptr on failure with errno set.
void* arena_map_fd(int fd, std::size_t bytes);
/// Gives the pages back.  `bytes` as they were asked for.
void arena_unmap(void* at, std::size_t bytes);

/// Address space reserved for nobody yet, for a caller that maps into it itself (host vDSO).
std::uint64_t arena_reserve(std::size_t bytes, std::size_t align = 4096);

/// Holds the heap's lock across fork(2), so that the child finds the heap consistent.  The forking thread
/// calls heap_lock before and heap_unlock after, in parent and child.
void heap_lock();
void heap_unlock();

}  // namespace hpcvmm::mem
