// Goal: the same promises over real sockets and real time, over a bad link, with two threads that sleep when
// idle.
#include <gtest/gtest.h>

#include <atomic>
#include <cstring>
#include <thread>

#include "net/driver/faulty/faulty.hh"
#include "net/driver/udp/udp.hh"
#include "net/driver/waiter.hh"
#include "net/transport/transport.hh"

namespace hpcvmm::net {
namespace {

constexpr std::uint64_t kMessages = 3000;  // of each stream and direction
constexpr NodeId kBoth = 3;

/// A node with its thread; everything but `done` belongs to that thread.
class Node final : public Handler {
 public:
  Node(NodeId id, const Clock& clock) : id_(id), clock_(&clock) {
    UdpConfig config;
    config.bind = *Address::parse("127.0.0.1:0");
    config.max_payload = 8972;
    auto udp = UdpDriver::create(config);
    Faults faults;
    std::string problem;
    EXPECT_TRUE(
        Faults::parse("loss=1%,dup=1%,reorder=1%,corrupt=0.5%,seed=" + std::to_string(id), faults, problem));
    driver_ = *FaultyDriver::create(*std::move(udp), clock, faults);
    Config c;
    c.node = id;
    c.key.fill(7);
    c.tuning.rekey_packets = 2000;
    c.tuning.silence = c.tuning.idle_silence = 30 * kSecond;  // a busy machine is not what is looked for
    transport_ = *Transport::create(c, *driver_, clock, *this);
  }
  Node(const Node&) = delete;
  Node& operator=(const Node&) = delete;
  ~Node() override { transport_.reset(); }
  [[nodiscard]] Address address() const { return driver_->local(); }
  void connect(const Address& peer) { ASSERT_TRUE(transport_->add_peer(kBoth - id_, peer)); }

  /// Until both ends have all of it and know that the other has.
  void run(std::atomic<int>& finished, Nanos until) {
    auto waiter = Waiter::create(*driver_, *clock_);
    ASSERT_TRUE(waiter);
    bool told = false;
    while (clock_->now() < until && finished < 2) {
      feed();
      const Nanos deadline = transport_->poll();
      if (!told && complete()) {
        told = true;
        ++finished;
      }
      if (transport_->worked()) {
        waiter->busy();
      } else if (waiter->idle()) {
        waiter->block(std::min(deadline, clock_->now() + 20 * kMillisecond));
      }
    }
  }

  Take on_message(const Message& m) override {
    std::uint64_t number = 0;
    EXPECT_GE(m.bytes.size(), sizeof number);
    std::memcpy(&number, m.bytes.data(), sizeof number);
    std::uint64_t& next = received[static_cast<std::size_t>(m.priority)];
    EXPECT_EQ(number, next) << "lost, repeated or out of order";
    EXPECT_EQ(m.bytes.size(), size_of(number));
    EXPECT_EQ(m.bytes.back(), static_cast<std::byte>(m.bytes.size() == 8 ? number >> 56 : number & 0xff));
    ++next;
    return Take::Done;
  }
  void on_peer_up(NodeId, std::uint64_t, std::uint64_t) override { ++ups; }
  void on_peer_down(NodeId, DownReason) override { ++downs; }
  Transport& transport() { return *transport_; }

  std::array<std::uint64_t, kPriorities> received{};
  int ups = 0;
  int downs = 0;

 private:
  static std::size_t size_of(std::uint64_t number) { return number % 7 == 0 ? 8 : 8 + number * 7919 % 40000; }
  void feed() {
    for (std::size_t p = 0; p < kPriorities; ++p) {
      for (int i = 0; i < 4 && sent_[p] < kMessages; ++i) {
        const std::uint64_t number = sent_[p];
        std::vector<std::byte> m(size_of(number), static_cast<std::byte>(number & 0xff));
        std::memcpy(m.data(), &number, sizeof number);
        if (!transport_->send(kBoth - id_, 1, static_cast<Priority>(p), Part(m))) break;
        ++sent_[p];
      }
    }
  }
  [[nodiscard]] bool complete() const {
    for (std::size_t p = 0; p < kPriorities; ++p) {
      if (received[p] != kMessages || sent_[p] != kMessages) return false;
    }
    return transport_->stats().messages_live == 0;
  }

  NodeId id_;
  const Clock* clock_;
  std::array<std::uint64_t, kPriorities> sent_{};
  std::unique_ptr<FaultyDriver> driver_;
  std::unique_ptr<Transport> transport_;
};

TEST(UdpSoak, BadLinkTwoThreads) {
  const SystemClock clock;
  Node a(1, clock);
  Node b(2, clock);
  a.connect(b.address());
  b.connect(a.address());
  std::atomic<int> finished = 0;
  const Nanos until = clock.now() + 60 * kSecond;
  std::thread other([&] { b.run(finished, until); });
  a.run(finished, until);
  other.join();
  EXPECT_EQ(finished, 2) << "not everything arrived in 60 s";
  for (Node* n : {&a, &b}) {
    EXPECT_EQ(n->ups, 1);
    EXPECT_EQ(n->downs, 0);
    EXPECT_EQ(n->received, (std::array<std::uint64_t, kPriorities>{kMessages, kMessages, kMessages}));
    EXPECT_EQ(n->transport().stats().assemblies_live, 0U);
  }
  const PeerStats stats = *a.transport().peer_stats(2);
  EXPECT_GT(stats.lost_packets, 10U) << "the link was not bad";
  EXPECT_GT(stats.rekeys, 1U);
}

}  // namespace
}  // namespace hpcvmm::net
