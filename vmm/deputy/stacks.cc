#include "vmm/deputy/stacks.hh"

#include <sys/syscall.h>

#include <vector>

#include "vmm/deputy/fork_locks.hh"
#include "vmm/deputy/gate.hh"
#include "vmm/mem/arena.hh"
#include "vmm/mem/lock.hh"

namespace hpcvmm::deputy {
namespace {

constexpr std::size_t kStackBytes = std::size_t{192} << 10;

struct Given {
  void* base;
  int tid;
};

/// Guarded by stacks_lock().
std::vector<Given>& all_given() {
  static auto* const all = new std::vector<Given>;
  return *all;
}

// The first page below each stack stays unmapped (the arena's guard of the mapping before it).
}  // namespace

mem::Lock& stacks_lock() {
  static mem::Lock lock;
  return lock;
}

Stack take_stack() {
  {
    const mem::LockGuard guard(stacks_lock());
    const auto pid = static_cast<std::uint64_t>(raw_call(SYS_getpid));
    std::vector<Given>& given = all_given();
    for (auto it = given.begin(); it != given.end(); ++it) {
      // ESRCH: the kernel has finished with the thread, nobody runs on this stack.
      if (it->tid != 0 && raw_call(SYS_tgkill, pid, static_cast<std::uint64_t>(it->tid), 0) == 0) continue;
      void* const base = it->base;
      given.erase(it);
      return {base, kStackBytes};
    }
  }
  return {mem::arena_map(kStackBytes), kStackBytes};
}

void give_stack(void* base, int tid) {
  const mem::LockGuard guard(stacks_lock());
  all_given().push_back({base, tid});
}

}  // namespace hpcvmm::deputy
