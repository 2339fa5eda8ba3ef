// Test support: transports in one simulated network, with a handler that checks what it is promised.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "net/driver/sim/sim.hh"
#include "net/transport/transport.hh"

namespace hpcvmm::net {

inline ClusterKey test_key(std::uint8_t fill = 0x5a) {
  ClusterKey key{};
  key.fill(fill);
  return key;
}

/// What every test message begins with; bytes behind it follow from it.
struct Stamp {
  std::uint64_t number = 0;  ///< counts messages of a stream in a session, from 0
  Nanos sent = 0;            ///< network time
  NodeId from = 0;
  std::uint32_t bytes = 0;
};

inline std::byte pattern(const Stamp& s, std::size_t i) {
  return static_cast<std::byte>((s.number * 131 + i * 7 + s.from) & 0xff);
}

/// A message of `bytes` bytes (at least a Stamp, or empty).
inline std::vector<std::byte> stamped(const Stamp& s) {
  std::vector<std::byte> m(s.bytes);
  for (std::size_t i = sizeof s; i < m.size(); ++i) m[i] = pattern(s, i);
  if (m.size() >= sizeof s) std::memcpy(m.data(), &s, sizeof s);
  return m;
}

class SimNode final : public Handler {
 public:
  SimNode(SimNetwork& net, NodeId id, const Config& config, SimSkew skew = {},
          std::uint32_t max_payload = 8972)
      : net_(&net), id_(id), driver_(net.attach(address_of(id), max_payload, skew)) {
    start(config);
  }
  SimNode(const SimNode&) = delete;
  SimNode& operator=(const SimNode&) = delete;
  ~SimNode() override { transport_.reset(); }

  static Address address_of(NodeId id) { return Address::from_v4(0x0a000000U + id, 7000); }

  /// Another run of the node: nothing of the old one is left, and nobody is told.
  void restart(Config config) {
    crash();
    start(std::move(config));
  }
  /// As a killed process: no goodbye leaves it.
  void crash() {
    driver_->set_send_limit(0);
    transport_.reset();
    driver_->set_send_limit(kMaxBurst);
    streams_.clear();
    next_.clear();
    up_.clear();
    promised_ = kNever;
  }

  [[nodiscard]] bool alive() const { return transport_ != nullptr; }
  Transport& transport() { return *transport_; }
  SimDriver& driver() { return *driver_; }
  [[nodiscard]] NodeId id() const { return id_; }
  [[nodiscard]] bool up(NodeId peer) const { return up_.contains(peer) && up_.at(peer); }

  /// Sends the next message of the stream; false: EAGAIN or not up.
  bool send(NodeId to, Priority p, std::uint32_t bytes) {
    std::uint64_t& next = next_[{to, p}];
    const auto m = stamped({next, net_->now(), id_, std::max<std::uint32_t>(bytes, sizeof(Stamp))});
    const Status sent = transport_->send(to, 17, p, Part(m));
    if (!sent) return false;
    ++next;
    return true;
  }
  [[nodiscard]] std::uint64_t sent(NodeId to, Priority p) { return next_[{to, p}]; }
  [[nodiscard]] std::uint64_t received(NodeId from, Priority p) { return streams_[{from, p}]; }

  // What the handler does and has seen.
  std::function<Take(const Message&)> take;  ///< instead of Done
  std::function<void(const Message&)> raw;   ///< instead of checking the message
  std::function<void(Priority, Nanos)> on_latency;
  std::function<void(NodeId)> when_up;
  std::map<NodeId, std::vector<DownReason>> downs;
  std::map<NodeId, int> ups;
  std::vector<Nanos> down_times;
  std::vector<NodeId> unknown;
  std::vector<std::uint64_t> released;
  int writable = 0;
  int abandoned = 0;
  bool lend = false;  ///< gives memory for long messages

  std::byte* on_incoming(NodeId node, std::uint32_t, Priority p, std::uint32_t bytes) override {
    if (!lend) return nullptr;
    auto& place = lent_[{node, p}];
    EXPECT_TRUE(place.empty()) << "a second place for one stream";
    place.resize(bytes);
    return place.data();
  }
  void on_abandoned(NodeId node, Priority p) override {
    ++abandoned;
    lent_.erase({node, p});
  }
  Take on_message(const Message& m) override {
    if (take) {
      const Take t = take(m);
      if (t == Take::Later) return t;
    }
    raw ? raw(m) : check(m);
    lent_.erase({m.from, m.priority});
    return Take::Done;
  }
  void on_writable(NodeId, Priority) override { ++writable; }
  void on_peer_up(NodeId node, std::uint64_t, std::uint64_t) override {
    EXPECT_FALSE(up(node)) << "up twice";
    up_[node] = true;
    ++ups[node];
    forget(node);
    if (when_up) when_up(node);
  }
  void on_peer_down(NodeId node, DownReason reason) override {
    EXPECT_TRUE(up(node)) << "down twice";
    up_[node] = false;
    downs[node].push_back(reason);
    down_times.push_back(net_->now());
    forget(node);
  }
  void on_unknown_peer(NodeId node, const Address&) override { unknown.push_back(node); }
  void on_released(std::uint64_t token) override { released.push_back(token); }

  /// One pass; when this node wants the next, in network time.
  Nanos poll() {
    const Nanos local = transport_->poll();
    promised_ = driver_->clock().network_time(local);
    return promised_;
  }

 private:
  using Stream = std::pair<NodeId, Priority>;
  void start(Config config) {
    config.node = id_;
    auto made = Transport::create(config, *driver_, driver_->clock(), *this);
    ASSERT_TRUE(made) << made.error().op;
    transport_ = *std::move(made);
  }
  void forget(NodeId node) {
    for (const Priority p : {Priority::Control, Priority::Fault, Priority::Bulk}) {
      streams_[{node, p}] = 0;
      next_[{node, p}] = 0;
    }
  }
  void check(const Message& m) {
    Stamp s;
    ASSERT_GE(m.bytes.size(), sizeof s);
    std::memcpy(&s, m.bytes.data(), sizeof s);
    std::uint64_t& next = streams_[{m.from, m.priority}];
    ASSERT_EQ(s.number, next) << "lost, repeated or out of order; node " << id_ << " from " << m.from;
    ASSERT_EQ(s.from, m.from);
    ASSERT_EQ(s.bytes, m.bytes.size());
    ASSERT_EQ(m.channel, 17U);
    for (std::size_t i = sizeof s; i < m.bytes.size(); i += i < 64 ? 1 : 61)
      ASSERT_EQ(m.bytes[i], pattern(s, i));
    ++next;
    if (on_latency) on_latency(m.priority, net_->now() - s.sent);
  }

  SimNetwork* net_;
  NodeId id_;
  std::unique_ptr<SimDriver> driver_;
  std::map<Stream, std::uint64_t> streams_;
  std::map<Stream, std::uint64_t> next_;
  std::map<Stream, std::vector<std::byte>> lent_;
  std::map<NodeId, bool> up_;
  Nanos promised_ = 0;
  std::unique_ptr<Transport> transport_;  // last: its end calls this handler
};

class SimCluster {
 public:
  explicit SimCluster(std::uint64_t seed) : net(seed) {}

  SimNode& add(NodeId id, Config config = {}, SimSkew skew = {}, std::uint32_t max_payload = 8972) {
    if (config.key == ClusterKey{}) config.key = test_key();
    nodes_.push_back(std::make_unique<SimNode>(net, id, config, skew, max_payload));
    return *nodes_.back();
  }
  void connect_all() {
    for (auto& a : nodes_) {
      for (auto& b : nodes_) {
        if (a->id() == b->id()) continue;
        ASSERT_TRUE(a->transport().add_peer(b->id(), SimNode::address_of(b->id())));
      }
    }
  }
  /// Runs until `done` or for `time`; says which.
  bool run(Nanos time, const std::function<bool()>& done = {}, const std::function<void()>& each = {}) {
    const Nanos end = net.now() + time;
    for (;;) {
      Nanos next = end;
      for (int pass = 0; pass < 64; ++pass) {
        bool worked = false;
        next = end;
        for (auto& n : nodes_) {
          if (!n->alive()) continue;
          next = std::min(next, n->poll());
          worked = worked || n->transport().worked();
        }
        if (::testing::Test::HasFatalFailure()) return false;
        if (each) each();
        if (!worked) break;
      }
      if (done && done()) return true;
      if (net.now() >= end) return !done;
      // At least a little, so that a node that is always in a hurry does not stop the clock.
      net.advance(std::clamp(std::min(next, net.next_arrival()), net.now() + 500, end));
    }
  }
  bool all_up() {
    for (auto& a : nodes_) {
      for (auto& b : nodes_) {
        if (a != b && a->alive() && b->alive() && !a->up(b->id())) return false;
      }
    }
    return true;
  }
  bool run_until_up(Nanos time = 2 * kSecond) {
    return run(time, [this] { return all_up(); });
  }
  std::vector<std::unique_ptr<SimNode>>& nodes() { return nodes_; }

  SimNetwork net;

 private:
  std::vector<std::unique_ptr<SimNode>> nodes_;
};

/// With nothing under way, nothing may be in use.
inline void expect_no_leak(SimNode& n) {
  const Stats& s = n.transport().stats();
  EXPECT_EQ(s.messages_live, 0U);
  EXPECT_EQ(s.assemblies_live, 0U);
}

}  // namespace hpcvmm::net
