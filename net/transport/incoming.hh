// Incoming: puts the messages of one session together and delivers them in order.
#pragma once

#include <array>
#include <cstdint>

#include "net/transport/core.hh"
#include "net/transport/wire.hh"

namespace hpcvmm::net {

class Incoming {
 public:
  /// `dead`: becomes true when a handler takes the peer away while it is being called.
  Incoming(Core& core, NodeId from, const bool& dead) : core_(&core), from_(from), dead_(&dead) {}
  Incoming(const Incoming&) = delete;
  Incoming& operator=(const Incoming&) = delete;
  /// Needs clear() before.
  ~Incoming() = default;

  /// May deliver this message and others behind it.  False: the peer breaks the rules (more than its window,
  /// two messages under one number).
  bool data(const DataFrame& frame);
  /// Offers again what the handler said Later to.
  void resume(Priority p);
  /// Charges of all messages the peer may have sent on this stream so far.
  [[nodiscard]] std::uint64_t limit(Priority p) const;
  /// Whether the limits have moved so far that the peer should know.
  [[nodiscard]] bool news() const;
  /// The limits are in a packet.
  void told();
  /// Gives everything up.
  void clear();

  [[nodiscard]] std::uint64_t duplicate_bytes() const { return duplicate_bytes_; }
  [[nodiscard]] std::uint64_t messages(Priority p) const { return at(p).messages; }
  [[nodiscard]] std::uint64_t bytes(Priority p) const { return at(p).bytes; }

 private:
  struct Stream {
    std::uint64_t next = 0;        ///< the message to be delivered next
    RingQueue<Assembly*> waiting;  ///< from `next` on; null: nothing of it is there
    std::uint64_t delivered = 0;   ///< charges
    std::uint64_t held = 0;        ///< charges of what waits
    std::uint64_t told = 0;
    bool blocked = false;  ///< the handler said Later
    std::uint64_t messages = 0;
    std::uint64_t bytes = 0;
  };
  Stream& at(Priority p) { return streams_[static_cast<std::size_t>(p)]; }
  [[nodiscard]] const Stream& at(Priority p) const { return streams_[static_cast<std::size_t>(p)]; }
  [[nodiscard]] std::uint64_t window(Priority p) const {
    return core_->config.tuning.window_bytes[static_cast<std::size_t>(p)];
  }
  Assembly* assembly(Stream& stream, const DataFrame& frame, std::size_t ahead);
  void store(Assembly& a, const DataFrame& frame);
  bool deliver(Stream& stream, Priority p, std::uint32_t channel, Part bytes);
  void drain(Stream& stream, Priority p);
  void free(Assembly* a);

  Core* core_;
  NodeId from_;
  const bool* dead_;
  std::array<Stream, kPriorities> streams_;
  std::uint64_t duplicate_bytes_ = 0;
};

}  // namespace hpcvmm::net
