#include "net/driver/dpdk/burst_lock.hh"

#include <sys/mman.h>

#include <algorithm>
#include <mutex>
#include <vector>

namespace hpcvmm::net::dpdk {
namespace {

struct Registry {
  std::mutex mutex;
  std::vector<BurstLock*> locks;
};
Registry& registry() {
  static auto* const r = new Registry;  // DPDK's interrupt thread may need it until the process is gone
  return *r;
}

}  // namespace

BurstLock::BurstLock() {
  Registry& r = registry();
  const std::scoped_lock guard(r.mutex);
  r.locks.push_back(this);
}

BurstLock::~BurstLock() {
  Registry& r = registry();
  const std::scoped_lock guard(r.mutex);
  std::erase(r.locks, this);
}

}  // namespace hpcvmm::net::dpdk

int hpcvmm_memif_munmap(void* at, std::size_t bytes) {
  // Which port it is cannot be told from here: all bursts are held up, for as long as unmapping takes.
  auto& r = hpcvmm::net::dpdk::registry();
  const std::scoped_lock guard(r.mutex);
  for (auto* lock : r.locks) lock->lock();
  const int result = ::munmap(at, bytes);
  for (auto* lock : r.locks) lock->unlock();
  return result;
}
