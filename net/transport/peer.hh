// Peer: a node as this one knows it, up or not.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "net/transport/handshake.hh"
#include "net/transport/keys.hh"
#include "net/transport/session.hh"

namespace hpcvmm::net {

/// A session that we have answered for and that the other side has not used yet.
struct HalfOpen {
  std::unique_ptr<SessionKeys> keys;
  Hello hello;
  std::uint32_t local_id = 0;
  std::uint64_t fingerprint = 0;
  HandshakePacket answer{};
  Nanos since = 0;
};

struct Peer {
  NodeId node = 0;
  Address address;
  bool interested = false;
  bool removed = false;
  bool on_demand = false;  ///< not tried to be reached but when wanted
  bool wanted = false;
  bool closing = false;  ///< its session is to end

  [[nodiscard]] bool to_be_reached() const { return !on_demand || wanted; }
  std::unique_ptr<Session> session;
  PeerStats past;  ///< of sessions that have ended

  // Reaching it.
  std::optional<Initiation> initiation;
  Nanos initiated = 0;  ///< when that began
  Nanos next_try = 0;
  Nanos backoff = 0;

  // Being reached.
  std::vector<HalfOpen> half;
  std::array<std::uint64_t, 128> seen{};  ///< fingerprints of Inits
  std::size_t seen_next = 0;
  double handshake_credit = 0;
  Nanos credit_time = 0;

  // The transport's lists.
  bool touched = false;
  Nanos deadline = kNever;
  std::size_t heap_index = ~std::size_t{0};

  [[nodiscard]] bool seen_before(std::uint64_t fingerprint) const {
    return std::find(seen.begin(), seen.end(), fingerprint) != seen.end();
  }
  void remember(std::uint64_t fingerprint) { seen[seen_next++ % seen.size()] = fingerprint; }
};

/// Peers by deadline, the soonest on top.
class PeerHeap {
 public:
  [[nodiscard]] Peer* top() const { return heap_.empty() ? nullptr : heap_[0]; }
  /// Puts it in or moves it.
  void set(Peer& peer, Nanos deadline);
  void remove(Peer& peer);

 private:
  static constexpr std::size_t kNone = ~std::size_t{0};
  void place(std::size_t i, Peer* p) {
    heap_[i] = p;
    p->heap_index = i;
  }
  void sift(std::size_t i);
  std::vector<Peer*> heap_;
};

/// Adds what a session counted to what was counted before.
void add_up(PeerStats& past, const PeerStats& session);

}  // namespace hpcvmm::net
