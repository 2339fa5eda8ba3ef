// Neighbours: which station of the wire has which IPv4 address (ARP's table).  Pure: it sends nothing, it
// says what is to be asked.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <unordered_map>
#include <vector>

#include "net/driver/clock.hh"
#include "net/driver/dpdk/frame.hh"

namespace hpcvmm::net::dpdk {

/// Between two questions for one address, while there is no answer.
inline constexpr Nanos kAskAgain = 100 * kMillisecond;
/// An answer older than this is asked for again, while it goes on being used...
inline constexpr Nanos kFresh = 30 * kSecond;
/// ...and one older than this is forgotten.
inline constexpr Nanos kForget = 60 * kSecond;
/// More are not remembered: an address costs a stranger one datagram.
inline constexpr std::size_t kMaxNeighbours = 4096;

class Neighbours {
 public:
  struct Answer {
    std::optional<Mac> mac{};
    bool ask = false;  ///< send a question now; it is remembered as asked
  };
  /// What is known of `ip`, an address of this wire that is about to be sent to.
  Answer find(std::uint32_t ip, Nanos now);
  /// An ARP message says so.  `of_interest`: it was addressed to us; otherwise only what is known already is
  /// renewed. True: that is news, what was sent to the old address must be sent to the new one.
  bool learn(std::uint32_t ip, const Mac& mac, bool of_interest, Nanos now);
  /// Forgets what is old.
  void expire(Nanos now);
  [[nodiscard]] std::size_t size() const { return entries_.size(); }

 private:
  struct Entry {
    std::optional<Mac> mac{};
    Nanos heard = 0;
    Nanos asked = 0;
    bool was_asked = false;
  };
  std::unordered_map<std::uint32_t, Entry> entries_;
};

}  // namespace hpcvmm::net::dpdk
