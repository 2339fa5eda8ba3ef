// How peers come up: attempts, answers, and which of two sessions wins.
//
// Two nodes that try to reach each other at the same moment would make two sessions; the attempt of the lower
// number wins: the lower one leaves the other's Init unanswered while its own, or the session it led to, is
// young, and drops what it has answered when its own attempt succeeds; the higher one gives its attempt up
// when it answers.
#include <sodium.h>

#include <algorithm>

#include "net/transport/impl.hh"

namespace hpcvmm::net {
namespace {

constexpr std::size_t kHalfOpen = 4;
constexpr Nanos kHalfOpenLives = 3 * kSecond;
// After this time an attempt is made anew, with new keys.
constexpr Nanos kAttemptLives = 2 * kSecond;
// How long the lower number insists on its own attempt.
constexpr Nanos kInsist = 500 * kMillisecond;
// Handshakes of one peer that are answered: so many at once, so many a second.
constexpr double kHandshakeCredit = 20;
constexpr double kHandshakesPerSecond = 10;

}  // namespace

std::uint32_t Transport::Impl::new_id(Peer& peer, Id::What what) {
  std::uint32_t id = 0;
  while (id == 0 || ids_.contains(id)) id = ::randombytes_random();
  ids_[id] = {what, &peer};
  return id;
}

void Transport::Impl::send_handshake(const Peer& peer, const HandshakePacket& packet) {
  TxPacket tx;
  if (!core_.take_packet(tx)) return;
  std::copy(packet.begin(), packet.end(), tx.data);
  tx.bytes = kHandshakeBytes;
  ++core_.stats.tx_packets;
  core_.worked = true;
  if (core_.driver.send(peer.address, {&tx, 1}) == 0) core_.driver.free({&tx, 1});
}

void Transport::Impl::try_to_reach(Peer& peer, Nanos now) {
  if (now < peer.next_try) return;
  const Tuning& t = core_.config.tuning;
  if (peer.initiation && now - peer.initiated > kAttemptLives) forget_attempt(peer);
  if (!peer.initiation) {
    Hello hello;
    hello.from = core_.config.node;
    hello.to = peer.node;
    hello.incarnation = core_.config.incarnation;
    hello.session = new_id(peer, Id::What::Attempt);
    peer.initiation.emplace(secret_, hello);
    peer.initiated = now;
  }
  ++core_.stats.handshakes_sent;
  send_handshake(peer, peer.initiation->packet());
  peer.backoff = peer.backoff == 0 ? t.connect_first : std::min(peer.backoff * 2, t.connect_last);
  // A little different for every pair, lest all nodes of a cluster try in step.
  const Nanos jitter = peer.backoff / 16 * ((core_.config.node * 7 + peer.node * 13) % 8) / 8;
  peer.next_try = now + peer.backoff + jitter;
}

void Transport::Impl::forget_attempt(Peer& peer) {
  if (!peer.initiation) return;
  ids_.erase(peer.initiation->session());
  peer.initiation.reset();
}

void Transport::Impl::forget_half(Peer& peer, std::size_t i) {
  ids_.erase(peer.half[i].local_id);
  peer.half.erase(peer.half.begin() + static_cast<std::ptrdiff_t>(i));
}

void Transport::Impl::expire_half(Peer& peer, Nanos now) {
  while (!peer.half.empty() && now - peer.half.front().since > kHalfOpenLives) forget_half(peer, 0);
}

void Transport::Impl::unknown(NodeId node, const Address& from, Nanos now) {
  core_.drop(Drop::UnknownNode);
  if (node == 0 || node == core_.config.node) return;
  if (unknown_told_ != 0 && now - unknown_told_ < kSecond) return;
  unknown_told_ = now;
  core_.handler.on_unknown_peer(node, from);
}

bool Transport::Impl::afford_handshake(Peer& peer, Nanos now) {
  const double seconds = static_cast<double>(now - peer.credit_time) / static_cast<double>(kSecond);
  peer.credit_time = now;
  peer.handshake_credit = std::min(kHandshakeCredit, peer.handshake_credit + seconds * kHandshakesPerSecond);
  if (peer.handshake_credit < 1) return false;
  peer.handshake_credit -= 1;
  return true;
}

bool Transport::Impl::answer_again(Peer& peer, const InitSeen& init) {
  for (const HalfOpen& half : peer.half) {
    if (half.fingerprint != init.fingerprint) continue;
    ++core_.stats.handshakes_answered;
    send_handshake(peer, half.answer);
    return true;
  }
  return false;
}

// Whether the other side, who is to give way, may not know yet that our attempt goes on or has succeeded.
bool Transport::Impl::insists(const Peer& peer, const Hello& other, Nanos now) {
  if (!peer.session) return peer.initiation && now - peer.initiated < kInsist;
  const SessionBegin& begin = peer.session->begin();
  return peer.session->keys().initiator() && begin.incarnation == other.incarnation &&
         now - begin.since < 2 * kInsist;
}

void Transport::Impl::take_init(std::span<const std::byte> packet, const Address& from, Nanos now) {
  const auto init = read_init(secret_, packet);
  if (!init) return core_.drop(Drop::WrongKey);
  Peer* const peer = find(init->hello.from);
  if (peer == nullptr || init->hello.to != core_.config.node) return unknown(init->hello.from, from, now);
  expire_half(*peer, now);
  const bool repeated = peer->seen_before(init->fingerprint);
  if (!afford_handshake(*peer, now)) return core_.drop(Drop::HandshakeRate);
  if (answer_again(*peer, *init)) return;
  if (repeated) return core_.drop(Drop::HandshakeOld);
  if (core_.config.node < peer->node && insists(*peer, init->hello, now))
    return core_.drop(Drop::HandshakeOld);
  answer(*peer, *init, now);
}

void Transport::Impl::answer(Peer& peer, const InitSeen& init, Nanos now) {
  HalfOpen half;
  Hello own;
  own.from = core_.config.node;
  own.to = peer.node;
  own.incarnation = core_.config.incarnation;
  own.session = new_id(peer, Id::What::Half);
  SessionSecrets secrets;
  if (!make_answer(secret_, init, own, half.answer, secrets)) {
    ids_.erase(own.session);
    return core_.drop(Drop::Malformed);
  }
  peer.remember(init.fingerprint);
  if (peer.half.size() == kHalfOpen) forget_half(peer, 0);
  half.keys = std::make_unique<SessionKeys>(secrets, false, now);
  half.hello = init.hello;
  half.local_id = own.session;
  half.fingerprint = init.fingerprint;
  half.since = now;
  if (!peer.session) {
    // The other side is about to come up; an attempt of ours now would only replace its session.
    forget_attempt(peer);
    peer.next_try = std::max(peer.next_try, now + core_.config.tuning.connect_first * 4);
    touch(peer);
  }
  ++core_.stats.handshakes_answered;
  send_handshake(peer, half.answer);
  peer.half.push_back(std::move(half));
}

void Transport::Impl::take_answer(std::span<const std::byte> packet, Nanos now) {
  const auto id = ids_.find(answer_session(packet));
  if (id == ids_.end() || id->second.what != Id::What::Attempt) return core_.drop(Drop::HandshakeOld);
  Peer& peer = *id->second.peer;
  SessionSecrets secrets;
  const auto hello = peer.initiation->finish(packet, secrets);
  if (!hello || hello->from != peer.node || hello->to != core_.config.node) return core_.drop(Drop::WrongKey);
  const std::uint32_t local_id = peer.initiation->session();
  peer.initiation.reset();
  if (core_.config.node < peer.node) {
    while (!peer.half.empty()) forget_half(peer, 0);
  }
  establish(peer, *hello, local_id, std::make_unique<SessionKeys>(secrets, true, now), now);
}

bool Transport::Impl::promote(Peer& peer, std::span<std::byte> packet, const Header& header, Nanos now) {
  for (std::size_t i = 0; i < peer.half.size(); ++i) {
    HalfOpen& half = peer.half[i];
    if (half.local_id != header.session) continue;
    Drop why{};
    const auto frames = half.keys->open(packet, header, now, why);
    if (!frames) {
      core_.drop(why);
      return false;
    }
    HalfOpen taken = std::move(half);
    peer.half.erase(peer.half.begin() + static_cast<std::ptrdiff_t>(i));
    forget_attempt(peer);
    establish(peer, taken.hello, taken.local_id, std::move(taken.keys), now);
    if (!peer.removed) peer.session->receive(*frames, header.number, now);
    return true;
  }
  return false;
}

void Transport::Impl::establish(Peer& peer, const Hello& hello, std::uint32_t local_id,
                                std::unique_ptr<SessionKeys> keys, Nanos now) {
  if (peer.session) {
    const bool same = peer.session->begin().incarnation == hello.incarnation;
    end_session(peer, same ? DownReason::Reconnected : DownReason::Restarted, now);
    if (peer.removed) return;
  }
  SessionBegin begin;
  begin.node = peer.node;
  begin.address = peer.address;
  begin.incarnation = hello.incarnation;
  begin.local_id = local_id;
  begin.remote_id = hello.session;
  begin.since = now;
  ids_[local_id] = {Id::What::Live, &peer};
  peer.session = std::make_unique<Session>(core_, begin, std::move(keys), now);
  peer.session->set_interest(peer.interested);
  peer.backoff = 0;
  ++peer.past.sessions;
  touch(peer);
  core_.handler.on_peer_up(peer.node, hello.incarnation, ++sessions_);
}

}  // namespace hpcvmm::net
