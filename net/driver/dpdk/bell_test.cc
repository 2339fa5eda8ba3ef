// Goal: no wake-up is lost, none is rung for nobody.  Method: both ends in one process, once in order, once
// in a race.
#include "net/driver/dpdk/bell.hh"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <thread>

namespace hpcvmm::net::dpdk {
namespace {

class BellTest : public testing::Test {
 protected:
  void SetUp() override {
    char path[] = "/tmp/hpcvmm-bell-XXXXXX";
    ASSERT_NE(::mkdtemp(path), nullptr);
    folder_ = path;
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  Bell open(unsigned side) {
    std::string why;
    auto bell = Bell::open(base(), side, 4096 + side, why);
    EXPECT_TRUE(bell) << why;
    return *std::move(bell);
  }
  [[nodiscard]] std::string base() const { return folder_ + "/port.sock"; }
  std::string folder_;
};

bool is_readable(const Bell& bell, int timeout_ms = 0) {
  pollfd poll{.fd = bell.fd(), .events = POLLIN, .revents = 0};
  return ::poll(&poll, 1, timeout_ms) == 1;
}

TEST_F(BellTest, RingsOnlyWhoWants) {
  Bell a = open(0);
  Bell b = open(1);
  a.ring(Bell::kArrival);
  EXPECT_FALSE(is_readable(b));
  b.want(Bell::kSpace);
  a.ring(Bell::kArrival);
  EXPECT_FALSE(is_readable(b)) << "it wants something else";
  a.ring(Bell::kSpace);
  EXPECT_TRUE(is_readable(b));
  b.unwant(Bell::kSpace);
  b.drain();
  EXPECT_FALSE(is_readable(b));
  a.ring(Bell::kSpace);
  EXPECT_FALSE(is_readable(b)) << "once per announcement";
  b.want(Bell::kArrival);
  b.unwant(Bell::kArrival);
  a.ring(Bell::kArrival);
  EXPECT_FALSE(is_readable(b));
}

TEST_F(BellTest, AnEndIsTakenOnce) {
  const Bell a = open(0);
  std::string why;
  const auto second = Bell::open(base(), 0, 1, why);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, EADDRINUSE);
  EXPECT_NE(why.find("another process is the server end"), std::string::npos) << why;
}

TEST_F(BellTest, ARestartFindsTheSamePage) {
  Bell a = open(0);
  {
    Bell b = open(1);
    b.want(Bell::kArrival);
    b.beat();
    EXPECT_EQ(a.others_buffer(), 4097u);
  }
  a.ring(Bell::kArrival);
  const auto beats = a.others_beat();
  Bell b = open(1);
  EXPECT_FALSE(is_readable(b)) << "what its predecessor wanted is void";
  b.beat();
  EXPECT_EQ(a.others_beat(), beats + 1);
  b.want(Bell::kArrival);
  a.ring(Bell::kArrival);
  EXPECT_TRUE(is_readable(b));
}

TEST_F(BellTest, DrainsWhatHasRungAndFindsWhatNobodyOwes) {
  Bell a = open(0);
  Bell b = open(1);
  b.want(Bell::kArrival | Bell::kSpace);
  a.ring(Bell::kArrival);
  a.ring(Bell::kSpace);
  b.unwant(Bell::kArrival | Bell::kSpace);
  b.drain();
  EXPECT_FALSE(is_readable(b));
  // Rung between two announcements.
  b.want(Bell::kSpace);
  a.ring(Bell::kSpace);
  b.want(Bell::kSpace);
  b.unwant(Bell::kSpace);
  b.drain();
  EXPECT_FALSE(is_readable(b));
  const int stray = ::open((base() + ".bell1").c_str(), O_WRONLY | O_NONBLOCK | O_CLOEXEC);
  ASSERT_GE(stray, 0);
  ASSERT_EQ(::write(stray, "x", 1), 1);
  ::close(stray);
  for (int i = 0; i < 64 && is_readable(b); ++i) b.drain();
  EXPECT_FALSE(is_readable(b)) << "hpcd would never sleep again";
}

TEST_F(BellTest, SaysWhichFolderIsMissing) {
  std::string why;
  EXPECT_FALSE(Bell::open("/nonexistent/port.sock", 0, 1, why));
  EXPECT_NE(why.find("/nonexistent/port.sock.bell"), std::string::npos) << why;
}

// One side publishes numbers and rings, the other sleeps whenever it has seen them all: a lost wake-up ends
// in the timeout.
TEST_F(BellTest, NoWakeUpIsLostInARace) {
  constexpr int kRounds = 30'000;
  Bell a = open(0);
  Bell b = open(1);
  std::atomic<int> published{0};
  std::atomic<int> seen{0};
  std::jthread sender([&] {
    for (int i = 1; i <= kRounds; ++i) {
      published.store(i, std::memory_order_release);
      a.ring(Bell::kArrival);
      // Mostly in step, so that the sleeper sleeps often; sometimes ahead.
      while (i % 8 != 0 && seen.load(std::memory_order_acquire) < i) std::this_thread::yield();
    }
  });
  while (seen.load() < kRounds) {
    b.want(Bell::kArrival);
    if (const int now = published.load(std::memory_order_acquire); now != seen.load()) {
      b.unwant(Bell::kArrival);
      seen.store(now, std::memory_order_release);
      continue;
    }
    if (!is_readable(b, 5000)) {
      ADD_FAILURE() << "slept through a message; seen " << seen.load() << " published " << published.load();
      seen.store(kRounds);
      break;
    }
    b.unwant(Bell::kArrival);
    b.drain();
  }
}

}  // namespace
}  // namespace hpcvmm::net::dpdk
