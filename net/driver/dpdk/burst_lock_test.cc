// Goal: memory is not unmapped while a burst may be reading it.  Method: a burst that is held up.
#include "net/driver/dpdk/burst_lock.hh"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <atomic>
#include <chrono>
#include <thread>

namespace hpcvmm::net::dpdk {
namespace {

constexpr std::size_t kBytes = 4096;

TEST(BurstLock, UnmappingWaitsForEveryBurst) {
  void* const memory = ::mmap(nullptr, kBytes, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(memory, MAP_FAILED);
  BurstLock idle;
  BurstLock busy;
  busy.lock();
  std::atomic<bool> unmapped{false};
  std::jthread interrupt([&] {
    EXPECT_EQ(hpcvmm_memif_munmap(memory, kBytes), 0);
    unmapped = true;
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  EXPECT_FALSE(unmapped);
  EXPECT_EQ(*static_cast<volatile char*>(memory), 0) << "still there";
  busy.unlock();
  interrupt.join();
  EXPECT_TRUE(unmapped);
  idle.lock();  // given back
  idle.unlock();
}

TEST(BurstLock, OneThatIsGoneIsNotWaitedFor) {
  void* const memory = ::mmap(nullptr, kBytes, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(memory, MAP_FAILED);
  {
    BurstLock gone;
    gone.lock();
  }
  EXPECT_EQ(hpcvmm_memif_munmap(memory, kBytes), 0);
}

}  // namespace
}  // namespace hpcvmm::net::dpdk
