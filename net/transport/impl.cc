#include "net/transport/impl.hh"

#include <sodium.h>

#include <algorithm>

namespace hpcvmm::net {
namespace {

// Receive bursts of one pass.
constexpr int kBursts = 4;
// Later than this after the time it was promised, a pass takes it that this node itself did not run.
constexpr Nanos kLate = 20 * kMillisecond;

}  // namespace

Transport::Impl::Impl(const Config& config, Driver& driver, const Clock& clock, Handler& handler)
    : core_(config, driver, clock, handler), secret_(config.key, config.protection) {}

Transport::Impl::~Impl() {
  const Nanos now = core_.clock.now();
  for (auto& [node, peer] : peers_) {
    if (peer->session && !peer->session->dead()) peer->session->send_bye(now);
    peer->session.reset();
  }
  core_.driver.free(std::span(core_.spare).first(core_.spares));
  ::sodium_memzero(core_.config.key.data(), core_.config.key.size());
}

Peer* Transport::Impl::find(NodeId node) const {
  const auto it = peers_.find(node);
  return it == peers_.end() ? nullptr : it->second.get();
}

Status Transport::Impl::add_peer(NodeId node, const Address& address, Reach reach) {
  if (node == 0) return Error::of(EINVAL, "Transport::add_peer: 0 is no node");
  if (node == core_.config.node) return Error::of(EINVAL, "Transport::add_peer: a node is not its own peer");
  if (Peer* const known = find(node)) {
    known->address = address;
    known->on_demand = reach == Reach::OnDemand;
    if (known->session) known->session->set_address(address);
    known->next_try = std::min(known->next_try, core_.clock.now());
    touch(*known);
    return Unit{};
  }
  auto peer = std::make_unique<Peer>();
  peer->node = node;
  peer->address = address;
  peer->on_demand = reach == Reach::OnDemand;
  peer->handshake_credit = 20;
  peer->next_try = peer->credit_time = core_.clock.now();
  // The lower number goes first, so that the two seldom meet half-way.
  if (node < core_.config.node) peer->next_try += core_.config.tuning.connect_first / 2;
  touch(*peer);
  peers_.emplace(node, std::move(peer));
  return Unit{};
}

Status Transport::Impl::connect(NodeId node, bool wanted) {
  Peer* const peer = find(node);
  if (peer == nullptr) return Error::of(ENOENT, "Transport::connect: no such peer");
  if (wanted && !peer->wanted && !peer->session) {
    peer->backoff = 0;
    peer->next_try = core_.clock.now();
  }
  peer->wanted = wanted;
  peer->closing = !wanted && peer->on_demand && peer->session != nullptr;
  if (!peer->to_be_reached()) forget_attempt(*peer);
  touch(*peer);
  return Unit{};
}

Status Transport::Impl::send_loose(const Address& to, Part bytes) {
  if (bytes.size() + kLooseHeaderBytes > core_.config.tuning.base_payload)
    return Error::of(EMSGSIZE, "Transport::send_loose: too long for every path");
  TxPacket tx;
  if (!core_.take_packet(tx)) return Error::of(EAGAIN, "Transport::send_loose: the driver has no buffer");
  std::fill_n(tx.data, kLooseHeaderBytes, std::byte{0});
  put_kind(tx.data, Kind::Loose);
  std::copy(bytes.begin(), bytes.end(), tx.data + kLooseHeaderBytes);
  tx.bytes = static_cast<std::uint32_t>(bytes.size()) + kLooseHeaderBytes;
  ++core_.stats.tx_packets;
  core_.worked = true;
  if (core_.driver.send(to, {&tx, 1}) != 0) return Unit{};
  core_.driver.free({&tx, 1});
  return Error::of(EAGAIN, "Transport::send_loose: the driver is busy");
}

Status Transport::Impl::remove_peer(NodeId node) {
  const auto it = peers_.find(node);
  if (it == peers_.end()) return Error::of(ENOENT, "Transport::remove_peer: no such peer");
  Peer& peer = *it->second;
  peer.removed = true;
  if (peer.session) {
    peer.session->send_bye(core_.clock.now());
    peer.session->kill();
    ids_.erase(peer.session->begin().local_id);
  }
  forget_attempt(peer);
  while (!peer.half.empty()) forget_half(peer, 0);
  heap_.remove(peer);
  graveyard_.push_back(std::move(it->second));
  peers_.erase(it);
  if (!polling_) bury();
  return Unit{};
}

void Transport::Impl::bury() {
  // Handlers may remove more peers while these are being told of.
  while (!graveyard_.empty()) {
    const std::unique_ptr<Peer> peer = std::move(graveyard_.back());
    graveyard_.pop_back();
    std::erase(touched_, peer.get());
    const bool was_up = peer->session != nullptr;
    peer->session.reset();
    if (was_up) core_.handler.on_peer_down(peer->node, DownReason::Removed);
  }
}

void Transport::Impl::set_interest(NodeId node, bool interested) {
  Peer* const peer = find(node);
  if (peer == nullptr || peer->interested == interested) return;
  peer->interested = interested;
  if (peer->session) peer->session->set_interest(interested);
  touch(*peer);
}

Status Transport::Impl::send(NodeId node, std::uint32_t channel, Priority priority,
                             std::span<const Part> parts, bool borrowed, std::uint64_t token) {
  Peer* const peer = find(node);
  if (peer == nullptr) return Error::of(ENOENT, "Transport::send: no such peer");
  if (!peer->session) return Error::of(ENOTCONN, "Transport::send: the peer is not up");
  std::size_t total = 0;
  for (const Part& part : parts) total += part.size();
  if (total > kMaxMessage) return Error::of(EMSGSIZE, "Transport::send: longer than kMaxMessage");
  HPCVMM_CHECK_OK(peer->session->outgoing().push(priority, channel, parts, borrowed, token));
  touch(*peer);
  return Unit{};
}

void Transport::Impl::resume(NodeId node, Priority priority) {
  Peer* const peer = find(node);
  if (peer == nullptr || !peer->session) return;
  peer->session->want_resume(priority);
  touch(*peer);
}

void Transport::Impl::touch(Peer& peer) {
  if (peer.touched) return;
  peer.touched = true;
  touched_.push_back(&peer);
}

void Transport::Impl::excuse(Nanos now) {
  if (promised_ == kNever || now < promised_ + kLate) return;
  for (auto& [node, peer] : peers_) {
    if (peer->session) peer->session->excuse(now - promised_);
  }
}

Nanos Transport::Impl::poll() {
  polling_ = true;
  core_.worked = false;
  Nanos now = core_.clock.now();
  excuse(now);
  for (int i = 0; i < kBursts; ++i) {
    if (!receive_burst(now)) break;
    now = core_.clock.now();
  }
  while (Peer* const due = heap_.top()) {
    if (due->deadline > now) break;
    heap_.set(*due, kNever);
    touch(*due);
  }
  serving_.swap(touched_);
  touched_.clear();
  for (Peer* const peer : serving_) {
    peer->touched = false;
    if (!peer->removed && serve(*peer, now)) touch(*peer);
  }
  serving_.clear();
  polling_ = false;
  bury();
  const Peer* const top = heap_.top();
  promised_ = !touched_.empty() ? now : top == nullptr ? kNever : top->deadline;
  return promised_;
}

void Transport::Impl::flush() {
  if (polling_) return;
  const Nanos now = core_.clock.now();
  for (Peer* const peer : touched_) {
    if (peer->session && !peer->session->dead()) peer->session->transmit(now);
  }
}

bool Transport::Impl::serve(Peer& peer, Nanos now) {
  expire_half(peer, now);
  if (peer.session) {
    Session& session = *peer.session;
    session.run_resumes();
    if (!session.dead()) session.on_time(now);
    if (!session.dead()) session.tell_writable();
    if (session.dead()) return false;
    if (peer.closing) {
      session.send_bye(now);
      end_session(peer, DownReason::Closed, now);
    } else if (session.left()) {
      end_session(peer, DownReason::Left, now);
    } else if (session.silent(now)) {
      end_session(peer, DownReason::Silent, now);
    }
    if (peer.removed) return false;
  }
  if (!peer.session) {
    if (peer.to_be_reached()) try_to_reach(peer, now);
    // Who is not to be reached waits for nothing but its half-open sessions to expire.
    heap_.set(peer, peer.to_be_reached() ? peer.next_try : peer.half.empty() ? kNever : now + kSecond);
    return false;
  }
  const bool more = peer.session->transmit(now);
  heap_.set(peer, peer.session->deadline(now));
  return more;
}

bool Transport::Impl::receive_burst(Nanos now) {
  const std::size_t n = core_.driver.receive(rx_);
  if (n == 0) return false;
  core_.worked = true;
  core_.stats.rx_packets += n;
  for (std::size_t i = 0; i < n; ++i) take(rx_[i], now);
  core_.driver.release(std::span(rx_).first(n));
  return n == rx_.size();
}

void Transport::Impl::take(RxPacket& packet, Nanos now) {
  const std::span<std::byte> bytes(packet.data, packet.bytes);
  if (bytes.size() < kHeaderBytes) return core_.drop(Drop::Truncated);
  const auto kind = get_kind(bytes);
  if (!kind) return core_.drop(Drop::Version);
  if (*kind == Kind::Data) return take_data(bytes, now);
  if (*kind == Kind::Loose && bytes.size() < kLooseHeaderBytes) return core_.drop(Drop::Truncated);
  if (*kind == Kind::Loose) return core_.handler.on_loose(bytes.subspan(kLooseHeaderBytes), packet.from);
  if (bytes.size() < kHandshakeBytes) return core_.drop(Drop::Truncated);
  if (bytes.size() > kHandshakeBytes) return core_.drop(Drop::Malformed);
  if (*kind == Kind::Init) return take_init(bytes, packet.from, now);
  take_answer(bytes, now);
}

void Transport::Impl::take_data(std::span<std::byte> packet, Nanos now) {
  const Header header = get_header(packet.data());
  const auto id = ids_.find(header.session);
  if (id == ids_.end() || id->second.what == Id::What::Attempt) return core_.drop(Drop::NoSession);
  Peer& peer = *id->second.peer;
  if (id->second.what == Id::What::Half) {
    promote(peer, packet, header, now);
    return;
  }
  Drop why{};
  const auto frames = peer.session->keys().open(packet, header, now, why);
  if (!frames) return core_.drop(why);
  peer.session->receive(*frames, header.number, now);
  touch(peer);
}

void Transport::Impl::end_session(Peer& peer, DownReason reason, Nanos now) {
  std::unique_ptr<Session> session = std::move(peer.session);
  ids_.erase(session->begin().local_id);
  PeerStats counted;
  session->fill(counted);
  add_up(peer.past, counted);
  const Tuning& t = core_.config.tuning;
  peer.backoff = reason == DownReason::Left ? t.connect_last : t.connect_first;
  peer.next_try = now + peer.backoff;
  peer.wanted = peer.closing = false;
  // Everything is released before the handler is told that it is over.
  session.reset();
  core_.handler.on_peer_down(peer.node, reason);
}

}  // namespace hpcvmm::net
