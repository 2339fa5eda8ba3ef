#include "daemon/outbox.hh"

#include <cerrno>
#include <cstring>

namespace hpcvmm::daemon {

namespace {
constexpr std::size_t kMaxQueued = 64U << 20;
}

bool Outbox::send_bytes(wire::local::Node to, std::span<const std::byte> message) {
  if (transport_ == nullptr) return false;
  touch(to);
  Queue& q = queues_[to];
  if (q.messages.empty()) {
    const Status sent = transport_->send(to, peer::kChannel, net::Priority::Control, message);
    if (sent) return true;
    if (sent.error().code == ENOTCONN) {
      if (!transport_->connect(to)) return false;
    } else if (sent.error().code != EAGAIN) {
      return false;
    }
  }
  if (q.bytes + message.size() > kMaxQueued) return false;
  q.bytes += message.size();
  q.messages.emplace_back(message.begin(), message.end());
  return true;
}

bool Outbox::send_rpc(wire::local::Node to, peer::Rpc head, std::string_view text) {
  do {
    const std::string_view piece = text.substr(0, peer::kMaxRpcText);
    text.remove_prefix(piece.size());
    head.header.bytes = static_cast<std::uint32_t>(sizeof head + piece.size());
    head.more = text.empty() ? 0 : 1;
    std::vector<std::byte> message(head.header.bytes);
    std::memcpy(message.data(), &head, sizeof head);
    std::memcpy(message.data() + sizeof head, piece.data(), piece.size());
    if (!send_bytes(to, message)) return false;
  } while (!text.empty());
  return true;
}

void Outbox::on_writable(wire::local::Node node) {
  const auto found = queues_.find(node);
  if (found == queues_.end()) return;
  Queue& q = found->second;
  while (!q.messages.empty()) {
    const Status sent = transport_->send(node, peer::kChannel, net::Priority::Control, q.messages.front());
    if (!sent && (sent.error().code == EAGAIN || sent.error().code == ENOTCONN)) return;
    q.bytes -= q.messages.front().size();
    q.messages.pop_front();
  }
}

void Outbox::on_peer_down(wire::local::Node node) {
  queues_.erase(node);
  used_ms_.erase(node);
}

std::vector<wire::local::Node> Outbox::unused(std::uint64_t ms) const {
  std::vector<wire::local::Node> out;
  for (const auto& [node, used] : used_ms_)
    if (now_ms_ - used >= ms) out.push_back(node);
  return out;
}

}  // namespace hpcvmm::daemon
