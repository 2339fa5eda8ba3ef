// Presence: this node among the others.  Membership with its keys, its multicast sockets and its clock.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "daemon/config.hh"
#include "daemon/identity.hh"
#include "daemon/poller.hh"
#include "net/discovery/membership.hh"
#include "net/discovery/multicast.hh"
#include "net/discovery/seal.hh"

namespace hpcvmm::daemon {

/// Calendar time, milliseconds.
std::uint64_t wall_ms();
net::discovery::MulticastConfig multicast_config(const Config& config);

/// Threads: one.
class Presence {
 public:
  struct Calls {
    /// Sends a datagram through the driver.
    std::function<void(const net::Address&, std::span<const std::byte>)> send;
    std::function<void(const net::discovery::Event&)> on_event;
    std::function<std::uint64_t()> now_ms;
  };

  /// Where multicast cannot be had, says so in the log and goes on with the seeds.
  Presence(const Config& config, const Identity& identity, const ClusterKey& key, Poller& poller,
           Calls calls);
  Presence(const Presence&) = delete;
  Presence& operator=(const Presence&) = delete;
  ~Presence();

  /// A datagram that came through the driver.
  void on_loose(std::span<const std::byte> bytes, const net::Address& from);
  void tick(std::uint64_t now_ms);
  /// Runs `change` on the membership, then sends and tells what follows from it.
  void change(const std::function<void(net::discovery::Membership&, std::uint64_t now_ms)>& change);

  [[nodiscard]] const net::discovery::Membership& membership() const { return membership_; }
  [[nodiscard]] const net::discovery::SealCounters& dropped() const { return sealer_.counters(); }
  [[nodiscard]] std::uint64_t sent_bytes() const { return sent_bytes_; }
  [[nodiscard]] std::uint64_t sent_packets() const { return sent_packets_; }

 private:
  void listen(const Config& config, Poller& poller);
  void receive();
  void take(std::span<const std::byte> bytes, const net::Address& from,
            const net::discovery::Multicast::Origin* origin);
  void settle(const net::discovery::Multicast::Origin* origin);
  void complain_of_drops(const net::Address& from);

  Poller& poller_;
  Calls calls_;
  net::discovery::Sealer sealer_;
  net::discovery::Membership membership_;
  std::optional<net::discovery::Multicast> multicast_;
  std::vector<Poller::Id> watches_;
  std::uint64_t next_ms_ = 0, complained_ms_ = 0;
  net::discovery::SealCounters complained_;
  std::uint64_t sent_bytes_ = 0, sent_packets_ = 0;
  bool settling_ = false;
};

}  // namespace hpcvmm::daemon
