// What a Transport counts.  All since it was made (Stats) or since the peer was added (PeerStats).
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "net/transport/config.hh"

namespace hpcvmm::net {

/// Why a received packet was dropped.
enum class Drop : std::uint8_t {
  Truncated,     ///< shorter than its kind can be
  Version,       ///< not our protocol, or another version of it
  NoSession,     ///< for a session that is not (any more)
  Forged,        ///< authentication failed: wrong key or changed on the way
  Replayed,      ///< seen before, or older than the window
  OldKey,        ///< sealed with keys that are no more
  Malformed,     ///< authentic, but what is inside makes no sense
  WrongKey,      ///< handshake made with another cluster key, or changed on the way
  UnknownNode,   ///< authentic handshake of a node that is not a peer
  HandshakeOld,  ///< handshake seen before, or answered by a better one
  HandshakeRate  ///< more handshakes than a peer has reason for
};
inline constexpr std::size_t kDrops = 11;
std::string_view drop_name(Drop d);

struct Stats {
  std::array<std::uint64_t, kDrops> drops{};
  std::uint64_t rx_packets = 0;
  std::uint64_t tx_packets = 0;
  std::uint64_t handshakes_sent = 0;
  std::uint64_t handshakes_answered = 0;
  // Buffers in use now; with no peer and no message all are 0.
  std::uint64_t messages_live = 0;    ///< outgoing
  std::uint64_t assemblies_live = 0;  ///< incoming, in parts
  std::uint64_t packets_live = 0;     ///< sent, not acknowledged
};

struct StreamStats {
  std::uint64_t tx_messages = 0;
  std::uint64_t tx_bytes = 0;  ///< of messages, once
  std::uint64_t rx_messages = 0;
  std::uint64_t rx_bytes = 0;
  std::uint64_t queued_bytes = 0;  ///< now: accepted and not acknowledged
};

struct PeerStats {
  bool up = false;
  std::uint64_t incarnation = 0;
  std::uint64_t sessions = 0;  ///< times it came up
  std::array<StreamStats, kPriorities> streams{};
  std::uint64_t tx_packets = 0;
  std::uint64_t rx_packets = 0;
  std::uint64_t lost_packets = 0;     ///< declared lost
  std::uint64_t spurious_losses = 0;  ///< declared lost, acknowledged afterwards
  std::uint64_t resent_bytes = 0;     ///< of messages
  std::uint64_t duplicate_bytes = 0;  ///< received again
  std::uint64_t probe_timeouts = 0;
  std::uint64_t rekeys = 0;
  std::uint64_t window_stalls = 0;  ///< times the peer's receive window was full
  Nanos srtt = 0;
  Nanos min_rtt = 0;
  std::uint32_t payload = 0;  ///< largest datagram payload the path was seen to take
  std::uint64_t congestion_window = 0;
  std::uint64_t in_flight = 0;
  std::string_view cipher;  ///< "aes-256-gcm", "chacha20-poly1305", "plain"
};

}  // namespace hpcvmm::net
