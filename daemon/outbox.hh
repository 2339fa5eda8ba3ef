// Messages of hpcd itself to other nodes: Control priority, kept here while the transport has no room.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <span>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "daemon/peer_message.hh"
#include "net/transport/transport.hh"

namespace hpcvmm::daemon {

/// Threads: one.
class Outbox {
 public:
  /// It outlives the outbox.
  void set_transport(net::Transport& transport) { transport_ = &transport; }

  /// Connects to the node if it is not connected to; what waits for that is lost if it fails.
  /// False: there is no such node, or it is so far behind that it is to be given up (64 MiB wait for it).
  bool send_bytes(wire::local::Node to, std::span<const std::byte> message);
  template <class T> bool send(wire::local::Node to, const T& message) {
    return send_bytes(to, peer::bytes_of(message));
  }
  /// A text of any length, in as many messages as it takes.
  bool send_rpc(wire::local::Node to, peer::Rpc head, std::string_view text);

  /// Whether the node is connected to: for what is not worth a connection.
  [[nodiscard]] bool connected(wire::local::Node node) const {
    return transport_ != nullptr && transport_->up(node);
  }
  void tick(std::uint64_t now_ms) { now_ms_ = now_ms; }
  /// The connection to that node is in use.
  void touch(wire::local::Node node) { used_ms_[node] = now_ms_; }
  /// Connections nobody has used for `ms`.
  [[nodiscard]] std::vector<wire::local::Node> unused(std::uint64_t ms) const;
  void on_writable(wire::local::Node node);
  void on_peer_down(wire::local::Node node);

 private:
  struct Queue {
    std::deque<std::vector<std::byte>> messages;
    std::size_t bytes = 0;
  };
  net::Transport* transport_ = nullptr;
  std::unordered_map<wire::local::Node, Queue> queues_;
  std::unordered_map<wire::local::Node, std::uint64_t> used_ms_;
  std::uint64_t now_ms_ = 0;
};

}  // namespace hpcvmm::daemon
