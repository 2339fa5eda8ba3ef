#include "net/transport/transport.hh"

#include <sodium.h>

#include <algorithm>

#include "net/transport/impl.hh"

namespace hpcvmm::net {
namespace {

// Larger datagrams than jumbo frames only exist on loopback, where they gain little and cost large
// allocations.
constexpr std::uint32_t kUsualMax = 8972;
constexpr std::uint32_t kLeastPayload = 576;

Status settle(Config& config, const Driver& driver) {
  Tuning& t = config.tuning;
  if (config.node == 0) return Error::of(EINVAL, "transport: node number 0; nodes are numbered from 1");
  if (std::all_of(config.key.begin(), config.key.end(), [](std::uint8_t b) { return b == 0; })) {
    return Error::of(EINVAL, "transport: the cluster key is all zero");
  }
  const std::uint32_t driver_max = driver.max_payload();
  if (t.max_payload == 0) t.max_payload = std::min(driver_max, kUsualMax);
  t.base_payload = std::min(t.base_payload, t.max_payload);
  if (t.base_payload < kLeastPayload || t.max_payload > driver_max || t.max_payload > 65507) {
    return Error::of(EINVAL,
                     "transport: base_payload or max_payload is below 576 or above what the driver takes");
  }
  for (std::size_t p = 0; p < kPriorities; ++p) {
    if (t.queue_bytes[p] < 2 * kMaxMessage || t.window_bytes[p] < 2 * kMaxMessage) {
      return Error::of(EINVAL,
                       "transport: queue_bytes and window_bytes must hold two messages of the longest kind");
    }
  }
  if (t.min_window < 16384 || t.max_window < t.min_window || t.silence == 0 || t.keepalive == 0 ||
      t.idle_keepalive == 0 || t.connect_first == 0 || t.connect_last < t.connect_first) {
    return Error::of(EINVAL, "transport: a window or a time in the tuning makes no sense");
  }
  return Unit{};
}

}  // namespace

std::string_view drop_name(Drop d) {
  static constexpr std::array<std::string_view, kDrops> kNames{
      "truncated", "version",   "no_session",   "forged",        "replayed",      "old_key",
      "malformed", "wrong_key", "unknown_node", "handshake_old", "handshake_rate"};
  return kNames[static_cast<std::size_t>(d)];
}

std::string_view down_reason_name(DownReason r) {
  switch (r) {
    case DownReason::Silent: return "silent";
    case DownReason::Restarted: return "restarted";
    case DownReason::Reconnected: return "reconnected";
    case DownReason::Left: return "left";
    case DownReason::Removed: return "removed";
    case DownReason::Closed: return "closed";
  }
  return "?";
}

Result<std::unique_ptr<Transport>> Transport::create(const Config& config, Driver& driver, const Clock& clock,
                                                     Handler& handler) {
  if (!crypto_start()) return Error::of(ENOSYS, "sodium_init");
  Config settled = config;
  HPCVMM_CHECK_OK(settle(settled, driver));
  while (settled.incarnation == 0) ::randombytes_buf(&settled.incarnation, sizeof settled.incarnation);
  return std::unique_ptr<Transport>(new Transport(std::make_unique<Impl>(settled, driver, clock, handler)));
}

Transport::Transport(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Transport::~Transport() = default;

Status Transport::add_peer(NodeId node, const Address& address, Reach reach) {
  return impl_->add_peer(node, address, reach);
}
Status Transport::connect(NodeId node) { return impl_->connect(node, true); }
Status Transport::disconnect(NodeId node) { return impl_->connect(node, false); }
Status Transport::send_loose(const Address& to, Part bytes) { return impl_->send_loose(to, bytes); }
Status Transport::remove_peer(NodeId node) { return impl_->remove_peer(node); }
bool Transport::up(NodeId node) const {
  const Peer* const peer = impl_->find(node);
  return peer != nullptr && peer->session != nullptr;
}
void Transport::set_interest(NodeId node, bool interested) { impl_->set_interest(node, interested); }

Status Transport::send(NodeId node, std::uint32_t channel, Priority priority, std::span<const Part> parts) {
  return impl_->send(node, channel, priority, parts, false, 0);
}

Status Transport::send(NodeId node, std::uint32_t channel, Priority priority, Part bytes) {
  return impl_->send(node, channel, priority, {&bytes, 1}, false, 0);
}

Status Transport::send_borrowed(NodeId node, std::uint32_t channel, Priority priority,
                                std::span<const Part> parts, std::uint64_t token) {
  if (parts.size() > kMaxParts)
    return Error::of(EINVAL, "Transport::send_borrowed: more than kMaxParts parts");
  return impl_->send(node, channel, priority, parts, true, token);
}

std::uint64_t Transport::room(NodeId node, Priority priority) const {
  Peer* const peer = impl_->find(node);
  return peer != nullptr && peer->session ? peer->session->outgoing().room(priority) : 0;
}

void Transport::resume(NodeId node, Priority priority) { impl_->resume(node, priority); }
Nanos Transport::poll() { return impl_->poll(); }
bool Transport::worked() const { return impl_->core().worked; }
void Transport::flush() { impl_->flush(); }
const Stats& Transport::stats() const { return impl_->core().stats; }

std::optional<PeerStats> Transport::peer_stats(NodeId node) const {
  const Peer* const peer = impl_->find(node);
  if (peer == nullptr) return std::nullopt;
  PeerStats out = peer->past;
  out.up = peer->session != nullptr;
  if (peer->session) {
    PeerStats now;
    peer->session->fill(now);
    add_up(out, now);
    out.up = true;
  }
  return out;
}

}  // namespace hpcvmm::net
