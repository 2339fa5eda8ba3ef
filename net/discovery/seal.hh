// Sealed packets: only who has the cluster key can make or read one.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "net/discovery/packet.hh"

namespace hpcvmm::net::discovery {

/// What seal() adds: a number of the form (4), a nonce (24), a tag (16).
inline constexpr std::size_t kSealBytes = 44;

/// What has been dropped, and why; never more than a line's worth of work each.
struct SealCounters {
  std::uint64_t wrong_key = 0;  ///< another cluster's, or changed on the way
  std::uint64_t malformed = 0;
  std::uint64_t old = 0;  ///< sent more than kClockSlack ago, or from that far ahead
};

/// XChaCha20-Poly1305 under a key derived from the cluster key for this purpose alone; random nonces.
class Sealer {
 public:
  /// Calendar clocks of nodes that join may differ by this much; older packets are taken for replays.
  static constexpr std::uint64_t kClockSlackMs = 120'000;

  explicit Sealer(const std::array<std::uint8_t, 32>& cluster_key);
  Sealer(const Sealer&) = delete;
  Sealer& operator=(const Sealer&) = delete;
  ~Sealer();

  [[nodiscard]] std::vector<std::byte> seal(const Packet& packet) const;
  /// Nothing: dropped and counted.  `wall_ms`: calendar time now.
  std::optional<Packet> open(std::span<const std::byte> datagram, std::uint64_t wall_ms);
  [[nodiscard]] const SealCounters& counters() const { return counters_; }
  /// How far the last packet that was too old or too new was away, ms; for a message that names the remedy.
  [[nodiscard]] std::int64_t last_clock_difference_ms() const { return difference_ms_; }

 private:
  std::array<std::uint8_t, 32> key_{};
  SealCounters counters_;
  std::int64_t difference_ms_ = 0;
};

}  // namespace hpcvmm::net::discovery
