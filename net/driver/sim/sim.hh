// A simulated network: many nodes in one process, under a virtual clock, from one seed.  The same seed and
// the same calls give the same run, packet by packet; nothing here knows the real time or the system's random
// numbers.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <queue>
#include <random>
#include <set>
#include <unordered_map>
#include <vector>

#include "net/driver/clock.hh"
#include "net/driver/driver.hh"

namespace hpcvmm::net {

/// One direction between two nodes.
struct SimLink {
  double loss = 0;       ///< probability of a packet to be lost, 0 to 1
  double duplicate = 0;  ///< ... to arrive twice
  double reorder = 0;    ///< ... to be held up by `reorder_delay`, so that others overtake it
  double corrupt = 0;    ///< ... to arrive with a bit changed
  Nanos delay = 20 * kMicrosecond;
  Nanos jitter = 0;  ///< added to the delay, up to this; keeps the order
  Nanos reorder_delay = 200 * kMicrosecond;
  std::uint64_t bits_per_second = 10'000'000'000;  ///< 0: no limit
  Nanos queue = 2 * kMillisecond;                  ///< a packet that would wait longer for the line is lost
  std::uint32_t mtu = 0;                           ///< longer payloads are lost; 0: no limit
};

/// A node's clock, as far as it is wrong.
struct SimSkew {
  Nanos ahead = 0;    ///< at the start
  double rate = 1.0;  ///< seconds on it per real second
};

class SimDriver;

class SimNetwork {
 public:
  explicit SimNetwork(std::uint64_t seed) : random_(seed) {}
  SimNetwork(const SimNetwork&) = delete;
  SimNetwork& operator=(const SimNetwork&) = delete;
  /// After its drivers.
  ~SimNetwork() = default;

  /// The driver of a new node; `address` is not taken yet.
  std::unique_ptr<SimDriver> attach(const Address& address, std::uint32_t max_payload = 8972,
                                    SimSkew skew = {});
  /// What links are made of from now on, and those there are.
  void set_links(const SimLink& link);
  void set_link(const Address& from, const Address& to, const SimLink& link);
  /// Nothing gets from one to the other, in both directions, until heal().  Packets on the way arrive.
  void cut(const Address& a, const Address& b);
  void heal(const Address& a, const Address& b);
  /// Every link works again.
  void heal_all() { cut_.clear(); }

  [[nodiscard]] Nanos now() const { return now_; }
  /// When the next packet arrives; kNever: none is on its way.
  [[nodiscard]] Nanos next_arrival() const { return events_.empty() ? kNever : events_.top().when; }
  /// Moves the clock, not back, and delivers what arrives until then.
  void advance(Nanos to);

  struct Counters {
    std::uint64_t sent = 0;
    std::uint64_t delivered = 0;
    std::uint64_t lost = 0;       ///< by chance, by a cut, by a full queue, for their length
    std::uint64_t overtaken = 0;  ///< held up
    std::uint64_t duplicated = 0;
    std::uint64_t corrupted = 0;
  };
  [[nodiscard]] const Counters& counters() const { return counters_; }

 private:
  friend class SimDriver;
  using Bytes = std::vector<std::byte>;
  struct Event {
    Nanos when = 0;
    std::uint64_t order = 0;
    std::size_t slot = 0;  ///< of packets_
    bool operator>(const Event& o) const { return when != o.when ? when > o.when : order > o.order; }
  };
  struct Packet {
    Address from;
    Address to;
    Bytes bytes;
  };
  struct Line {
    SimLink link;
    Nanos busy_until = 0;
    Nanos last_arrival = 0;
  };
  using Pair = std::pair<Address, Address>;

  void transmit(const Address& from, const Address& to, std::span<const std::byte> bytes);
  void schedule(const Address& from, const Address& to, Bytes bytes, Nanos when);
  Line& line(const Address& from, const Address& to);
  bool chance(double p);
  void detach(const Address& address) { nodes_.erase(address); }

  std::mt19937_64 random_;
  Nanos now_ = kSecond;
  SimLink defaults_;
  std::map<Pair, Line> lines_;
  std::set<Pair> cut_;
  std::unordered_map<Address, SimDriver*> nodes_;
  std::priority_queue<Event, std::vector<Event>, std::greater<>> events_;
  std::vector<Packet> packets_;
  std::vector<std::size_t> free_packets_;
  std::uint64_t order_ = 0;
  Counters counters_;
};

/// The clock of one simulated node.
class SimClock final : public Clock {
 public:
  SimClock(const SimNetwork& net, SimSkew skew) : net_(&net), skew_(skew), start_(net.now()) {}
  [[nodiscard]] Nanos now() const override {
    return start_ + skew_.ahead + static_cast<Nanos>(static_cast<double>(net_->now() - start_) * skew_.rate);
  }
  /// The network's time at which this clock shows `local` at the earliest.
  [[nodiscard]] Nanos network_time(Nanos local) const;

 private:
  const SimNetwork* net_;
  SimSkew skew_;
  Nanos start_;
};

class SimDriver final : public Driver {
 public:
  SimDriver(SimNetwork& net, const Address& address, std::uint32_t max_payload, SimSkew skew);
  SimDriver(const SimDriver&) = delete;
  SimDriver& operator=(const SimDriver&) = delete;
  ~SimDriver() override;

  [[nodiscard]] const SimClock& clock() const { return clock_; }
  /// Buffers that the owner has and has not given back.
  [[nodiscard]] std::size_t buffers_out() const { return out_; }
  [[nodiscard]] bool waiting() const { return !arrived_.empty(); }
  /// send() takes at most this many packets at a time, to try back-pressure.
  void set_send_limit(std::size_t packets) { send_limit_ = packets; }

  [[nodiscard]] std::string_view name() const override { return "sim"; }
  [[nodiscard]] Address local() const override { return address_; }
  [[nodiscard]] std::uint32_t max_payload() const override { return max_payload_; }
  std::size_t alloc(std::span<TxPacket> out) override;
  std::size_t send(const Address& to, std::span<TxPacket> packets) override;
  void free(std::span<TxPacket> packets) override;
  std::size_t receive(std::span<RxPacket> out) override;
  void release(std::span<RxPacket> packets) override;
  [[nodiscard]] std::span<const int> wait_fds() const override { return {}; }
  bool prepare_sleep() override { return arrived_.empty(); }
  void finish_sleep() override {}
  [[nodiscard]] DriverCounters counters() const override { return counters_; }

 private:
  friend class SimNetwork;
  struct Buffer {
    Address from;
    std::vector<std::byte> bytes;
  };
  /// What waits for a node that does not look, at most: a socket's receive buffer.
  static constexpr std::size_t kReceiveQueue = 4096;

  Buffer* take();
  void give(void* handle);
  void arrive(const Address& from, const std::vector<std::byte>& bytes);

  SimNetwork* net_;
  Address address_;
  std::uint32_t max_payload_;
  SimClock clock_;
  std::vector<std::unique_ptr<Buffer>> all_;
  std::vector<Buffer*> free_;
  std::queue<Buffer*> arrived_;
  std::size_t out_ = 0;
  std::size_t send_limit_ = kMaxBurst;
  DriverCounters counters_;
};

}  // namespace hpcvmm::net
