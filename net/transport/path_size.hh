// PathSize: how long a datagram the path to a peer takes, found with padded probes (as in RFC 8899).
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

#include "net/driver/clock.hh"

namespace hpcvmm::net {

class PathSize {
 public:
  PathSize(std::uint32_t base, std::uint32_t most, Nanos now)
      : base_(base), most_(most), size_(base), next_(now) {
    candidate_ = most > base ? most : 0;
  }

  /// What may be sent.
  [[nodiscard]] std::uint32_t size() const { return size_; }
  /// When a probe is due; kNever: none.
  [[nodiscard]] Nanos due() const { return candidate_ == 0 && size_ == most_ ? kNever : next_; }
  /// The length of the probe to be sent now; its fate is known after `patience`.  0: none.
  std::uint32_t probe(Nanos now, Nanos patience) {
    if (candidate_ == 0) {
      // Once in a while the whole ladder again: paths change.
      candidate_ = most_ > size_ ? most_ : 0;
      tries_ = 0;
    } else if (tries_ == kTries) {
      candidate_ = below(candidate_);
      tries_ = 0;
    }
    if (candidate_ == 0) {
      next_ = now + kAgain;
      return 0;
    }
    ++tries_;
    next_ = now + std::max(patience, 2 * kMillisecond);
    return candidate_;
  }
  void arrived(std::uint32_t bytes, Nanos now) {
    if (bytes <= size_) return;
    size_ = bytes;
    candidate_ = 0;
    next_ = now + kAgain;
  }
  /// Nothing gets through any more: perhaps it is the length.
  void suspect(Nanos now) {
    if (size_ == base_) return;
    size_ = base_;
    candidate_ = 0;
    next_ = now + kSecond;
  }

 private:
  static constexpr unsigned kTries = 3;
  static constexpr Nanos kAgain = 300 * kSecond;
  // Payloads of common links over IPv4 (20 + 8 bytes of headers) and IPv6 (40 + 8): jumbo, the most AF_XDP
  // takes, Ethernet, tunnels over Ethernet.
  static constexpr std::array<std::uint32_t, 9> kLadder{16000, 8972, 8952, 8900, 3470,
                                                        1472,  1452, 1420, 1360};

  [[nodiscard]] std::uint32_t below(std::uint32_t size) const {
    for (const std::uint32_t s : kLadder) {
      if (s < size && s > size_) return s;
    }
    return 0;
  }

  std::uint32_t base_;
  std::uint32_t most_;
  std::uint32_t size_;
  std::uint32_t candidate_ = 0;
  unsigned tries_ = 0;
  Nanos next_;
};

}  // namespace hpcvmm::net
