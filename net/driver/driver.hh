// Driver: sends and receives datagrams, unreliably.  What UDP promises and no more: a datagram may be lost,
// duplicated, reordered or delayed; it is never cut and never joined to another.
//
// Who owns a buffer.  The sender alloc()s buffers, which lie in the driver's own memory (an mbuf, a slot of a
// ring), writes the payload into them - the transport encrypts straight into them - and send()s them:
// accepted ones are the driver's again.  Received payloads are views into the driver's memory, writable
// (decryption happens in place), until release().  Nothing is copied in between.
//
// Threads: one object, one thread.  No call but Waiter's blocks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string_view>

#include "net/driver/address.hh"

namespace hpcvmm::net {

/// Datagrams handed over at once, at most; a driver may rely on no span being longer.
inline constexpr std::size_t kMaxBurst = 64;

struct TxPacket {
  std::byte* data = nullptr;  ///< where the payload (behind all headers of the driver) goes
  std::uint32_t room = 0;     ///< bytes at `data`: max_payload() or more
  std::uint32_t bytes = 0;    ///< of payload, set by the sender before send(); at most max_payload()
  void* handle = nullptr;     ///< the driver's
};

struct RxPacket {
  std::byte* data = nullptr;  ///< payload, writable, until release()
  std::uint32_t bytes = 0;
  Address from;            ///< as the datagram says: not authenticated
  void* handle = nullptr;  ///< the driver's
};

/// What every driver counts, since it was made.
struct DriverCounters {
  std::uint64_t tx_packets = 0;  ///< accepted by send()
  std::uint64_t tx_bytes = 0;    ///< of payload
  std::uint64_t tx_busy = 0;     ///< send() or alloc() gave less than asked for
  std::uint64_t tx_errors = 0;   ///< accepted, but could not be sent (no route, too long for the path)
  std::uint64_t rx_packets = 0;
  std::uint64_t rx_bytes = 0;
  std::uint64_t rx_errors = 0;  ///< received and dropped: malformed, cut, not for us
};

class Driver {
 public:
  Driver() = default;
  Driver(const Driver&) = delete;
  Driver& operator=(const Driver&) = delete;
  virtual ~Driver() = default;

  /// "udp", "dpdk:net_memif"...: for people and metrics.
  [[nodiscard]] virtual std::string_view name() const = 0;
  /// The address peers reach this driver at.
  [[nodiscard]] virtual Address local() const = 0;
  /// Largest payload of a datagram that the local interface takes; the path may take less.
  [[nodiscard]] virtual std::uint32_t max_payload() const = 0;

  /// Fills `out` from the front with empty buffers; fewer than asked for: none left for now, try after a
  /// receive() or later.  Each is to be sent or freed.
  virtual std::size_t alloc(std::span<TxPacket> out) = 0;
  /// Sends the first packets of `packets`, all to one address, and returns how many: those are the driver's,
  /// the rest is still the caller's.  Fewer: the device is busy (back-pressure), not an error.  A packet that
  /// can never be sent (no such destination, longer than the path) counts as sent and in tx_errors: loss is
  /// the transport's business.
  virtual std::size_t send(const Address& to, std::span<TxPacket> packets) = 0;
  /// Gives back buffers that were not sent.
  virtual void free(std::span<TxPacket> packets) = 0;

  /// Fills `out` from the front with what has arrived; 0: nothing.  Does the driver's housekeeping too (ARP,
  /// link state), so it must be called regularly, also by whoever only sends.
  virtual std::size_t receive(std::span<RxPacket> out) = 0;
  /// Gives back received packets, in any order.  At least kMaxBurst * 4 may be held at a time.
  virtual void release(std::span<RxPacket> packets) = 0;

  // Sleeping; Waiter is who calls these.
  /// Descriptors that become readable when receive() may have something or an alloc()/send() that gave less
  /// may give more; fixed over the driver's life.  None: the driver cannot wake anybody (simulations).
  [[nodiscard]] virtual std::span<const int> wait_fds() const = 0;
  /// Arms interrupts or doorbells.  False: something has arrived meanwhile (do not sleep; finish_sleep() is
  /// not called).
  virtual bool prepare_sleep() = 0;
  /// Disarms, and empties what wait_fds() showed as readable.
  virtual void finish_sleep() = 0;

  [[nodiscard]] virtual DriverCounters counters() const = 0;
  /// The driver's own counters, such as drops by kind: calls `each(name, value)`.
  virtual void more_counters(const std::function<void(std::string_view, std::uint64_t)>& each) const {
    static_cast<void>(each);
  }
};

}  // namespace hpcvmm::net
