// VMM stacks of guest threads.
#pragma once

#include <cstddef>

namespace hpcvmm::deputy {

struct Stack {
  void* base = nullptr;
  std::size_t bytes = 0;
};

/// A stack for a host thread, from those given back or new.  base nullptr: no memory.
Stack take_stack();
/// Gives a stack back; it is used again once no thread `tid` of this process lives any more (0: at once).
void give_stack(void* base, int tid);

}  // namespace hpcvmm::deputy
