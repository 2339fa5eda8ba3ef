// Transport: reliable, encrypted messages between nodes, over any Driver.
//
// Per (peer, priority) every message arrives once and in order while the peer is up; what was under way when
// a peer went down is lost, and on_peer_down says so.  A more urgent message overtakes less urgent ones
// packet by packet.
//
// Threads: one object, one thread, no hidden ones.  No call blocks.  Handler's functions are called from
// poll() only and may call anything of Transport but poll() and the destructor.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include "hpcvmm/base/result.hh"
#include "net/driver/clock.hh"
#include "net/driver/driver.hh"
#include "net/transport/config.hh"
#include "net/transport/stats.hh"

namespace hpcvmm::net {

/// Longest message, bytes.
inline constexpr std::uint32_t kMaxMessage = 256U << 10;

using Part = std::span<const std::byte>;

enum class DownReason : std::uint8_t {
  Silent,       ///< nothing heard for Tuning::silence
  Restarted,    ///< the node runs anew: another incarnation
  Reconnected,  ///< the same incarnation, but it had given this session up
  Left,         ///< it said goodbye: the other end's remove_peer, disconnect or destructor
  Removed,      ///< remove_peer here
  Closed        ///< disconnect here
};
std::string_view down_reason_name(DownReason r);

/// When a peer is connected to.
enum class Reach : std::uint8_t { Always, OnDemand };

/// What a Handler says to a message.
enum class Take : std::uint8_t {
  Done,  ///< it is mine now
  Later  ///< no room: keep it, and call me again after Transport::resume(); holds up this (peer, priority)
};

/// One message as it is delivered.
struct Message {
  NodeId from = 0;
  std::uint32_t channel = 0;
  Priority priority = Priority::Bulk;
  /// Valid during the call only.  The memory on_incoming() gave, where it gave any.
  Part bytes;
};

class Handler {
 public:
  Handler() = default;
  Handler(const Handler&) = delete;
  Handler& operator=(const Handler&) = delete;
  virtual ~Handler() = default;

  /// A message that comes in several packets has begun, and everything before it in its stream has been
  /// delivered: a place of `bytes` bytes where its parts may be put together, so that they need not be copied
  /// again; nullptr: the transport takes memory of its own.  The place is written to until on_message() or
  /// on_abandoned() for the same (node, priority), which is the next of the two to come for it; at most one
  /// place per (node, priority) is out.
  virtual std::byte* on_incoming(NodeId node, std::uint32_t channel, Priority priority, std::uint32_t bytes) {
    static_cast<void>(node), static_cast<void>(channel), static_cast<void>(priority),
        static_cast<void>(bytes);
    return nullptr;
  }
  /// The place given for this (node, priority) will not be filled: the peer is down.  Before on_peer_down.
  virtual void on_abandoned(NodeId node, Priority priority) {
    static_cast<void>(node), static_cast<void>(priority);
  }
  virtual Take on_message(const Message& message) = 0;
  /// After send() said EAGAIN: there is room again (at least a quarter of the queue).
  virtual void on_writable(NodeId node, Priority priority) {
    static_cast<void>(node), static_cast<void>(priority);
  }
  /// `session`: grows with every coming up of any peer, at this end; the other end has its own number.
  virtual void on_peer_up(NodeId node, std::uint64_t incarnation, std::uint64_t session) = 0;
  /// Everything accepted by send() and not known to have arrived is lost; send_borrowed() memory is released
  /// first.
  virtual void on_peer_down(NodeId node, DownReason reason) = 0;
  /// Somebody with the cluster key wants to talk who is not a peer (add_peer() it, or not); at most once a
  /// second.
  virtual void on_unknown_peer(NodeId node, const Address& from) {
    static_cast<void>(node), static_cast<void>(from);
  }
  /// A datagram that somebody sent with send_loose(): not authenticated, it may be anybody's.
  virtual void on_loose(Part bytes, const Address& from) {
    static_cast<void>(bytes), static_cast<void>(from);
  }
  /// Memory of send_borrowed() is the caller's again.
  virtual void on_released(std::uint64_t token) { static_cast<void>(token); }
};

class Transport {
 public:
  /// All three references outlive the transport.  Errors: EINVAL a config that makes no sense (node 0,
  /// payloads below 576 or above the driver's, key all zero), ENOSYS the crypto library does not start.
  static Result<std::unique_ptr<Transport>> create(const Config& config, Driver& driver, const Clock& clock,
                                                   Handler& handler);
  Transport(const Transport&) = delete;
  Transport& operator=(const Transport&) = delete;
  /// Says goodbye to all peers that are up (once, unreliably).  Calls on_released for what is borrowed,
  /// nothing else.
  ~Transport();

  /// Reach::Always begins to connect, and goes on for ever; Reach::OnDemand waits for connect(), or for the
  /// other end.  Known already: takes the new address.  EINVAL: our own number, or 0.
  Status add_peer(NodeId node, const Address& address, Reach reach = Reach::Always);
  /// Connects to a peer that is reached on demand, and tries until disconnect().  ENOENT: no such peer.
  Status connect(NodeId node);
  /// Ends session and attempts of a peer that is reached on demand; on_peer_down(Closed) follows from poll()
  /// if it was up.  What is under way is lost.  ENOENT: no such peer.
  Status disconnect(NodeId node);
  /// on_peer_down(Removed) follows from within, if it was up.  ENOENT: no such peer.
  Status remove_peer(NodeId node);
  [[nodiscard]] bool up(NodeId node) const;
  /// Whether somebody depends on that node's life: decides how soon its silence is noticed (Tuning::silence).
  void set_interest(NodeId node, bool interested);

  /// Queues one message, the concatenation of `parts`, which are copied.  Goes out with the next poll() or
  /// flush(). EAGAIN: the queue of this priority is full, on_writable will come; ENOTCONN: not up; ENOENT: no
  /// such peer; EMSGSIZE: longer than kMaxMessage.  An empty message is a message.
  Status send(NodeId node, std::uint32_t channel, Priority priority, std::span<const Part> parts);
  Status send(NodeId node, std::uint32_t channel, Priority priority, Part bytes);
  /// The same without the copy: the bytes are read from `parts` when they are encrypted, and again when they
  /// are lost, so they stay until on_released(token).  At most kMaxParts parts.  They may change meanwhile,
  /// harming nobody but their reader.
  static constexpr std::size_t kMaxParts = 4;
  Status send_borrowed(NodeId node, std::uint32_t channel, Priority priority, std::span<const Part> parts,
                       std::uint64_t token);
  /// Bytes send() would still take for this priority; 0: not up, or full.
  [[nodiscard]] std::uint64_t room(NodeId node, Priority priority) const;

  /// Sends one datagram outside all sessions, unreliably and as it is.  EMSGSIZE: longer than
  /// Tuning::base_payload allows; EAGAIN: the driver has no room.
  Status send_loose(const Address& to, Part bytes);

  /// Offers again what on_message() said Later to.
  void resume(NodeId node, Priority priority);

  /// Receives, delivers, acknowledges, sends, keeps time.  Bounded: a few bursts; `worked()` tells whether to
  /// call it again at once.  Returns when it must be called next at the latest (kNever: only when something
  /// arrives).
  Nanos poll();
  /// Whether the last poll() received, delivered or sent anything.
  [[nodiscard]] bool worked() const;
  /// Sends what may be sent now, without receiving: for an urgent message in the middle of a long pass.
  void flush();

  [[nodiscard]] const Stats& stats() const;
  [[nodiscard]] std::optional<PeerStats> peer_stats(NodeId node) const;

 private:
  class Impl;
  explicit Transport(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace hpcvmm::net
