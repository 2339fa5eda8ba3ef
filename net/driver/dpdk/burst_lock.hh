// BurstLock: keeps DPDK's memif driver from unmapping a ring that is being used.
//
// When the other end goes away, DPDK's interrupt thread marks the port unconnected and unmaps the shared
// memory at once, while another thread may be in the middle of a burst: it then dies of SIGSEGV because its
// peer died.  The memif library is therefore linked with its munmap() redirected here (CMakeLists.txt): the
// unmapping waits until no burst is under way, and the next burst sees the mark.  Known from reading
// DPDK 22.11's drivers/net/memif; 48 kills of a busy peer without this lock did not hit the window, which is
// some microseconds wide.  Test: burst_lock_test.
#pragma once

#include <sched.h>

#include <atomic>
#include <cstddef>

namespace hpcvmm::net::dpdk {

class BurstLock {
 public:
  BurstLock();  ///< known to the redirected munmap() from now on
  BurstLock(const BurstLock&) = delete;
  BurstLock& operator=(const BurstLock&) = delete;
  ~BurstLock();

  void lock() {
    while (taken_.test_and_set(std::memory_order_acquire)) ::sched_yield();
  }
  void unlock() { taken_.clear(std::memory_order_release); }

 private:
  std::atomic_flag taken_;
};

}  // namespace hpcvmm::net::dpdk

extern "C" {
/// What the memif library calls in place of munmap().
int hpcvmm_memif_munmap(void* at, std::size_t bytes);
}
