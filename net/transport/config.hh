// What a Transport is told when it is made.
#pragma once

#include <array>
#include <cstdint>

#include "net/driver/clock.hh"

namespace hpcvmm::net {

/// A node's number in the cluster, 1 or above.
using NodeId = std::uint32_t;

/// More urgent first.  Each is a stream of its own: in order within, no order between.
enum class Priority : std::uint8_t { Control = 0, Fault = 1, Bulk = 2 };
inline constexpr std::size_t kPriorities = 3;

/// How packets are protected.  Both ends must be configured alike: a node in plain mode and one in an
/// encrypting mode do not understand each other.
enum class Protection : std::uint8_t {
  Auto,  ///< AES-256-GCM where this CPU has instructions for it, else ChaCha20-Poly1305; agreed per session
  ChaCha20,    ///< ChaCha20-Poly1305 always
  PlainUnsafe  ///< neither encrypted nor authenticated: for measurements only
};

using ClusterKey = std::array<std::uint8_t, 32>;

struct Tuning {
  /// A peer that is silent for this long is down, where on_peer_down is of interest (Transport::set_interest)
  /// or something is on its way to it.
  Nanos silence = 1 * kSecond;
  /// While of interest: pings a peer that has been silent for this long.
  Nanos keepalive = 200 * kMillisecond;
  /// The same two where nobody is interested.
  Nanos idle_silence = 5 * kSecond;
  Nanos idle_keepalive = 1 * kSecond;
  /// Between two tries to reach a peer that is not up: from the first to the second, doubling.
  Nanos connect_first = 20 * kMillisecond;
  Nanos connect_last = 1 * kSecond;

  /// Payload of a datagram, bytes: what every path must take, and what is tried (0: the driver's
  /// max_payload()).
  std::uint32_t base_payload = 1200;
  std::uint32_t max_payload = 0;

  /// Bytes accepted by send() and not yet acknowledged, per peer and priority; beyond, EAGAIN.
  std::array<std::uint32_t, kPriorities> queue_bytes{1U << 20, 4U << 20, 8U << 20};
  /// Bytes a peer may have under way to us, per priority.
  std::array<std::uint32_t, kPriorities> window_bytes{1U << 20, 4U << 20, 8U << 20};

  /// A standing queue in the network of this length, in time, is where the congestion window stops to grow.
  Nanos delay_target = 250 * kMicrosecond;
  /// Bounds of the congestion window, bytes.
  std::uint32_t min_window = 64U << 10;
  std::uint32_t max_window = 8U << 20;
  /// Longest an acknowledgement is held back in the hope of company.
  Nanos max_ack_delay = 500 * kMicrosecond;
  /// Least time after which a tail that is not acknowledged is probed.
  Nanos min_probe_timeout = 2 * kMillisecond;

  /// New keys (a fresh X25519 exchange) after whichever of these comes first.
  std::uint64_t rekey_packets = 1ULL << 30;
  std::uint64_t rekey_bytes = 1ULL << 40;
  Nanos rekey_time = 3600 * kSecond;
};

struct Config {
  NodeId node = 0;
  /// Tells this run of the node from every other one; 0: random.
  std::uint64_t incarnation = 0;
  ClusterKey key{};
  Protection protection = Protection::Auto;
  Tuning tuning{};
};

}  // namespace hpcvmm::net
