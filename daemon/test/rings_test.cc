// Goal: records are lent out and given back in any order without the ring losing or reusing a byte, and
// nothing a process writes into the shared words is believed.  The other end is wire::local::Producer, as in
// a VMM process.
#include "daemon/rings.hh"

#include <gtest/gtest.h>
#include <unistd.h>

#include <random>
#include <set>
#include <vector>

namespace hpcvmm::daemon {
namespace {

namespace local = wire::local;

constexpr std::size_t kBytes = 4096;

class LendingReaderTest : public testing::Test {
 protected:
  LendingReaderTest() : memory_(local::ring_memory(kBytes) / 64) {}
  struct alignas(64) Block {
    std::byte bytes[64];
  };
  void* memory() { return memory_.data(); }
  local::RingWords* words() { return static_cast<local::RingWords*>(memory()); }
  bool put(std::uint32_t channel, std::uint32_t bytes) {
    std::byte* const at = producer_.reserve(channel, bytes);
    if (at == nullptr) return false;
    std::memset(at, static_cast<int>(channel), bytes);
    producer_.publish();
    return true;
  }
  std::vector<Block> memory_;
  local::Producer producer_{memory(), kBytes};
  LendingReader reader_{memory(), kBytes};
};

TEST_F(LendingReaderTest, SpaceComesBackWhenAllBeforeItHas) {
  ASSERT_TRUE(put(1, 1000));
  ASSERT_TRUE(put(2, 1000));
  ASSERT_TRUE(put(3, 1000));
  LendingReader::View v;
  std::vector<std::uint32_t> numbers;
  while (reader_.next(v)) {
    EXPECT_EQ(v.channel, numbers.size() + 1);
    EXPECT_EQ(reader_.next_number(), reader_.next_number());
    const std::uint32_t expected = reader_.next_number();
    numbers.push_back(reader_.take());
    EXPECT_EQ(numbers.back(), expected);
  }
  ASSERT_EQ(numbers.size(), 3U);
  EXPECT_FALSE(put(4, 1500)) << "all is lent out";
  reader_.give_back(numbers[1]);
  reader_.give_back(numbers[2]);
  EXPECT_FALSE(put(4, 1500)) << "the oldest still is";
  EXPECT_EQ(reader_.lent(), 1U);
  reader_.give_back(numbers[0]);
  EXPECT_TRUE(put(4, 1500));
  reader_.give_back(numbers[0]);
  EXPECT_EQ(reader_.lent(), 0U) << "twice is once";
}

TEST_F(LendingReaderTest, RandomOrderLosesNothing) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  std::vector<std::uint32_t> lent;
  std::uint32_t sent = 0;
  std::uint32_t got = 0;
  while (got < 20'000) {
    if (random() % 2 == 0 && put(sent, static_cast<std::uint32_t>(random() % 700))) ++sent;
    LendingReader::View v;
    if (random() % 2 == 0 && reader_.next(v)) {
      ASSERT_EQ(v.channel, got++);
      for (std::uint32_t i = 0; i < v.bytes; ++i) ASSERT_EQ(v.data[i], static_cast<std::byte>(v.channel));
      lent.push_back(reader_.take());
    }
    if (!lent.empty() && random() % 2 == 0) {
      const std::size_t i = random() % lent.size();
      reader_.give_back(lent[i]);
      lent.erase(lent.begin() + static_cast<std::ptrdiff_t>(i));
    }
    ASSERT_FALSE(reader_.broken());
    ASSERT_FALSE(producer_.broken());
  }
  EXPECT_EQ(reader_.lent(), lent.size());
}

TEST_F(LendingReaderTest, SenselessWordsBreakIt) {
  LendingReader::View v;
  for (const std::uint64_t head : {std::uint64_t{1}, std::uint64_t{kBytes + 8}, ~std::uint64_t{0}}) {
    LendingReader reader(memory(), kBytes);
    words()->head = head;
    EXPECT_FALSE(reader.next(v));
    EXPECT_TRUE(reader.broken()) << head;
  }
  // A record longer than what was written, than the ring, than any may be.
  for (const std::uint32_t bytes : {200U, 8000U, local::kMaxRecord + 1, local::kSkip - 1}) {
    LendingReader reader(memory(), kBytes);
    words()->head = 64;
    const local::Record r{bytes, 1};
    std::memcpy(static_cast<std::byte*>(memory()) + local::kRingWordsBytes, &r, sizeof r);
    EXPECT_FALSE(reader.next(v));
    EXPECT_TRUE(reader.broken()) << bytes;
  }
}

TEST_F(LendingReaderTest, HeadThatGoesBackBreaksIt) {
  ASSERT_TRUE(put(1, 100));
  LendingReader::View v;
  ASSERT_TRUE(reader_.next(v));
  reader_.take();
  words()->head = 8;
  EXPECT_FALSE(reader_.next(v));
  EXPECT_TRUE(reader_.broken());
}

TEST_F(LendingReaderTest, SleepSeesWhatCameMeanwhile) {
  EXPECT_TRUE(reader_.prepare_sleep());
  std::byte* const at = producer_.reserve(1, 8);
  ASSERT_NE(at, nullptr);
  EXPECT_TRUE(producer_.publish()) << "the reader sleeps: wake it";
  reader_.wake();
  EXPECT_FALSE(reader_.prepare_sleep()) << "a record is there";
}

TEST(Rings, MemoryCannotShrink) {
  auto rings = Rings::create();
  ASSERT_TRUE(rings);
  EXPECT_NE(::ftruncate((*rings)->descriptors()[0], 0), 0);
  EXPECT_EQ((*rings)->lent(), 0U);
}

}  // namespace
}  // namespace hpcvmm::daemon
