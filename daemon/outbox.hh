// Messages of hpcd itself to other nodes: Control priority, kept here while the transport has no room.
#pragma once

#include <cstddef>
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

  /// False: the node is not up, or so far behind that it is to be given up (64 MiB wait for it).
  bool send_bytes(wire::local::Node to, std::span<const std::byte> message);
  template <class T> bool send(wire::local::Node to, const T& message) {
    return send_bytes(to, peer::bytes_of(message));
  }
  /// A text of any length, in as many messages as it takes.
  bool send_rpc(wire::local::Node to, peer::Rpc head, std::string_view text);

  void on_writable(wire::local::Node node);
  void on_peer_down(wire::local::Node node);

 private:
  struct Queue {
    std::deque<std::vector<std::byte>> messages;
    std::size_t bytes = 0;
  };
  net::Transport* transport_ = nullptr;
  std::unordered_map<wire::local::Node, Queue> queues_;
};

}  // namespace hpcvmm::daemon
