#include "vmm/deputy/exit_words.hh"

#include <linux/futex.h>
#include <sys/syscall.h>

#include "vmm/deputy/gate.hh"
#include "vmm/deputy/home.hh"
#include "vmm/mem/user_copy.hh"

namespace hpcvmm::deputy {
namespace {

constexpr std::uint64_t kSetRobustList32 = 311;

/// struct robust_list_head of both ABIs, as three words.
struct Head {
  std::uint64_t next = 0, offset = 0, pending = 0;
};

std::uint64_t word_bytes(Abi abi) { return abi == Abi::X64 ? 8 : 4; }

bool read_word(std::uint64_t& out, std::uint64_t at, Abi abi) {
  out = 0;
  return mem::copy_in(&out, at, word_bytes(abi));
}

void tell_kernel(const RobustList& list, std::uint64_t head) {
  if (list.abi == Abi::X64) {
    raw_call(SYS_set_robust_list, head, 3 * word_bytes(Abi::X64));
  } else {
    static_cast<void>(gate32(kSetRobustList32, {head, 3 * word_bytes(Abi::Ia32), 0, 0, 0, 0}));
  }
}

void wake_one(std::uint64_t at) { raw_call(SYS_futex, at, FUTEX_WAKE, 1); }

/// The owner of this futex ends: marks it and wakes a waiter.  Always wakes, because a waiter may set its bit
/// between the two accesses.
void release(const Task& t, std::uint64_t at, bool inherits) {
  std::uint32_t value = 0;
  if (!mem::get(value, at) || (value & FUTEX_TID_MASK) != static_cast<std::uint32_t>(t.tid)) return;
  if (!mem::put(at, (value & FUTEX_WAITERS) | FUTEX_OWNER_DIED)) return;
  if (!inherits) wake_one(at);
}

void walk(const Task& t) {
  const Abi abi = t.robust.abi;
  const std::uint64_t at = t.robust.head;
  const std::uint64_t bytes = word_bytes(abi);
  Head head;
  if (!read_word(head.next, at, abi) || !read_word(head.offset, at + bytes, abi) ||
      !read_word(head.pending, at + 2 * bytes, abi))
    return;
  // An entry's lowest bit says that it is a priority-inheriting futex.  The offset is signed, as wide as a
  // word.
  const std::uint64_t last = abi == Abi::X64 ? ~std::uint64_t{0} : 0xffffffff;
  const auto futex_of = [&](std::uint64_t entry) {
    return ((entry & ~std::uint64_t{1}) + head.offset) & last;
  };
  std::uint64_t entry = head.next;
  for (unsigned i = 0; i < ROBUST_LIST_LIMIT && (entry & ~std::uint64_t{1}) != at; ++i) {
    std::uint64_t next = 0;
    const bool more = read_word(next, entry & ~std::uint64_t{1}, abi);
    if (entry != head.pending) release(t, futex_of(entry), (entry & 1) != 0);
    if (!more) break;
    entry = next;
  }
  if (head.pending != 0) release(t, futex_of(head.pending), (head.pending & 1) != 0);
}

}  // namespace

void finish_exit_words(Task& t) {
  if (t.robust.head != 0) {
    walk(t);
    tell_kernel(t.robust, 0);
  }
  if (t.clear_tid == 0) return;
  raw_call(SYS_set_tid_address, 0);
  if (mem::put(t.clear_tid, std::uint32_t{0})) wake_one(t.clear_tid);
}

ExitWordsOff::ExitWordsOff(const Task& t) : task_(t), off_(!t.vfork_child && !home_of(t).all_here()) {
  if (!off_) return;
  if (t.robust.head != 0) tell_kernel(t.robust, 0);
  raw_call(SYS_set_tid_address, 0);
}

ExitWordsOff::~ExitWordsOff() {
  if (!off_) return;
  if (task_.robust.head != 0) tell_kernel(task_.robust, task_.robust.head);
  raw_call(SYS_set_tid_address, task_.clear_tid);
}

}  // namespace hpcvmm::deputy
