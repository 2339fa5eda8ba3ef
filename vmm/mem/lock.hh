// A futex lock that works between all tasks sharing this memory, threads and vfork children alike.
#pragma once

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>

namespace hpcvmm::mem {

/// Not recursive, not fair.  A pthread mutex would not do: it consults the thread id cached by libc, which is
/// stale in a raw fork child, and a vfork child is another process.  Source: Drepper, "Futexes are tricky",
/// mutex 2.
class Lock {
 public:
  void lock() {
    std::uint32_t seen = 0;
    if (word_.compare_exchange_strong(seen, 1, std::memory_order_acquire)) return;
    if (seen != 2) seen = word_.exchange(2, std::memory_order_acquire);
    while (seen != 0) {
      futex(FUTEX_WAIT_PRIVATE, 2);
      seen = word_.exchange(2, std::memory_order_acquire);
    }
  }
  bool try_lock() {
    std::uint32_t seen = 0;
    return word_.compare_exchange_strong(seen, 1, std::memory_order_acquire);
  }
  void unlock() {
    if (word_.exchange(0, std::memory_order_release) == 2) futex(FUTEX_WAKE_PRIVATE, 1);
  }

 private:
  // Inline assembly, not syscall(3): errno must not change under a caller that is about to read it.
  void futex(int op, std::uint32_t value) {
    long rc = SYS_futex;
    register long r10 asm("r10") = 0;
    asm volatile("syscall"
                 : "+a"(rc)
                 : "D"(&word_), "S"(static_cast<long>(op)), "d"(static_cast<long>(value)), "r"(r10)
                 : "rcx", "r11", "memory");
  }
  std::atomic<std::uint32_t> word_{0};
};

class LockGuard {
 public:
  explicit LockGuard(Lock& l) : lock_(l) { lock_.lock(); }
  LockGuard(const LockGuard&) = delete;
  LockGuard& operator=(const LockGuard&) = delete;
  ~LockGuard() { lock_.unlock(); }

 private:
  Lock& lock_;
};

}  // namespace hpcvmm::mem
