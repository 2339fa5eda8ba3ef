// What Hpcd does about nodes that come, go, and are connected to.
#include "daemon/hpcd.hh"
#include "daemon/log.hh"

namespace hpcvmm::daemon {

using net::discovery::Event;

namespace {
/// A connection that nobody has used for so long is closed.
constexpr std::uint64_t kUnusedMs = 30'000;
/// Nodes that are told each second how this one does, of those connected to anyway.
constexpr std::size_t kToldEachSecond = 3;
constexpr int kNumberTaken = 3;
}  // namespace

void Hpcd::start_presence(const ClusterKey& key) {
  Presence::Calls calls;
  calls.send = [this](const net::Address& to, std::span<const std::byte> bytes) {
    // Lost if there is no room: all of it is said again.
    static_cast<void>(static_cast<bool>(transport_->send_loose(to, bytes)));
  };
  calls.on_event = [this](const Event& e) { on_member_event(e); };
  calls.now_ms = [this] { return clock_.now() / net::kMillisecond; };
  presence_ = std::make_unique<Presence>(config_, identity_, key, poller_, std::move(calls));
}

void Hpcd::on_loose(net::Part bytes, const net::Address& from) { presence_->on_loose(bytes, from); }

void Hpcd::on_member_event(const Event& e) {
  switch (e.kind) {
    case Event::Kind::Joined: return welcome_node(e, "node is up");
    case Event::Kind::Restarted: {
      const auto live = lives_.find(e.node);
      const net::discovery::Member* const m = presence_->membership().find(e.node);
      // The transport may have seen its new life first, and lost what the old one had.
      const bool seen = m != nullptr && live != lives_.end() && live->second == m->record.life;
      if (!seen) lose_node(e.node, "it has restarted");
      return welcome_node(e, "node has restarted");
    }
    case Event::Kind::Moved: return welcome_node(e, "node has another address");
    case Event::Kind::Suspected: return members_.on_suspect(e.node, true);
    case Event::Kind::Recovered:
      if (const Member* const m = members_.find(e.node); m != nullptr && m->state == peer::NodeState::Down)
        return welcome_node(e, "node is up");
      return members_.on_suspect(e.node, false);
    case Event::Kind::Failed: return lose_node(e.node, "it does not answer, neither to us nor to others");
    case Event::Kind::Left: return lose_node(e.node, "it has ended in order");
    case Event::Kind::Heard: return hear(e.node);
    case Event::Kind::ForeignClaim:
      return log::error(
          "another machine claims the number of this node and may not have it; remedy: give it "
          "another `node` in its configuration",
          {{"number", e.node}, {"address", e.address.text()}});
    case Event::Kind::NumberTaken:
      log::error(
          "the number of this node belongs to another one, which was there first, so this node does not "
          "join; remedy: give it another `node` in its configuration",
          {{"number", e.node}, {"address", e.address.text()}});
      if (found_number_) forget_number(config_, identity_);
      exit_status_ = kNumberTaken;
      return begin_shutdown("its number is taken");
  }
}

void Hpcd::welcome_node(const Event& e, const char* what) {
  log::info(what, {{"peer", e.node}, {"address", e.address.text()}});
  members_.add(e.node, e.address.text());
  members_.on_up(e.node, now_ms_);
  static_cast<void>(static_cast<bool>(transport_->add_peer(e.node, e.address, net::Reach::OnDemand)));
  hear(e.node);
  balance_.on_joined(e.node);
  view_.on_up(e.node);
}

/// What a node tells of itself, as others pass it on.
void Hpcd::hear(Node node) {
  const net::discovery::Member* const m = presence_->membership().find(node);
  if (m == nullptr || m->load.empty()) return;
  const peer::Message message = peer::parse(std::as_bytes(std::span(m->load)));
  if (const auto* const gossip = std::get_if<peer::Gossip>(&message))
    members_.on_gossip(node, *gossip, now_ms_);
}

void Hpcd::on_unknown_peer(net::NodeId node, const net::Address& from) {
  log::debug("a node that is not known wants to talk; it is asked who it is",
             {{"peer", node}, {"address", from.text()}});
  presence_->change([&from](net::discovery::Membership& m, std::uint64_t now_ms) { m.ask(from, now_ms); });
}

void Hpcd::on_peer_up(net::NodeId node, std::uint64_t incarnation, std::uint64_t session) {
  log::debug("connected", {{"peer", node}, {"incarnation", incarnation}, {"session", session}});
  lives_[node] = incarnation;
  const net::discovery::Member* const known = presence_->membership().find(node);
  const Member* const m = members_.find(node);
  if (known != nullptr && known->present() && m != nullptr && m->state == peer::NodeState::Down)
    members_.on_up(node, now_ms_);
  outbox_.touch(node);
  outbox_.send(node, own_);
  outbox_.on_writable(node);
  balance_.on_peer_up(node);
}

void Hpcd::on_peer_down(net::NodeId node, net::DownReason reason) {
  lives_.erase(node);
  const std::string why(net::down_reason_name(reason));
  if (reason == net::DownReason::Closed || reason == net::DownReason::Left) {
    // It is there all the same; what used the connection is lost.
    log::debug("connection closed", {{"peer", node}, {"why", why}});
    return drop_connection(node, "the connection to node " + std::to_string(node) + " was closed");
  }
  lose_node(node, why);
  presence_->change([node](net::discovery::Membership& m, std::uint64_t now_ms) { m.doubt(node, now_ms); });
}

void Hpcd::drop_connection(Node node, const std::string& text) {
  outbox_.on_peer_down(node);
  relay_.on_peer_down(node, text);
  remotes_.on_peer_down(node);
  rpc_.on_peer_down(node, text);
  forget_names_of(node);
}

void Hpcd::lose_node(Node node, const std::string& why) {
  const Member* const m = members_.find(node);
  if (m == nullptr || m->state == peer::NodeState::Down) return;
  log::warning("node is lost", {{"peer", node}, {"why", why}});
  members_.on_down(node, why);
  static_cast<void>(static_cast<bool>(transport_->disconnect(node)));
  drop_connection(node, "node " + std::to_string(node) + " is lost: " + why);
  balance_.on_peer_down(node);
  view_.on_down(node);
}

/// Connections are made when something is to be said, and end when nothing has been for a while.
void Hpcd::close_unused() {
  for (const Node node : outbox_.unused(kUnusedMs)) {
    if (relay_.busy_with(node) || rpc_.waits_for(node)) {
      outbox_.touch(node);
      continue;
    }
    outbox_.on_peer_down(node);
    forget_names_of(node);
    static_cast<void>(static_cast<bool>(transport_->disconnect(node)));
  }
}

/// Tells how this node does: all who are probed or probe, and some of those connected to anyway.
void Hpcd::tell_load(const peer::Gossip& g, bool changed) {
  presence_->change([&](net::discovery::Membership& m, std::uint64_t now_ms) {
    m.set_load(peer::bytes_of(g));
    m.set_draining(g.state == peer::NodeState::Draining);
    if (changed) m.stir(now_ms);
  });
  std::vector<Node> connected;
  for (const auto& [node, life] : lives_) connected.push_back(node);
  const std::size_t most = changed ? connected.size() : kToldEachSecond;
  for (std::size_t i = 0; i < std::min(most, connected.size()); ++i) {
    const Node node = connected[(told_ + i) % connected.size()];
    static_cast<void>(
        static_cast<bool>(transport_->send(node, peer::kChannel, net::Priority::Control, peer::bytes_of(g))));
  }
  told_ += most;
}

}  // namespace hpcvmm::daemon
