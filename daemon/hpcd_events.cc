// What the network, the VMM processes and the relay report to Hpcd.
#include <cerrno>
#include <cstring>

#include "daemon/hpcd.hh"
#include "daemon/log.hh"

namespace hpcvmm::daemon {

namespace local = wire::local;

std::byte* Hpcd::on_incoming(net::NodeId node, std::uint32_t channel, net::Priority priority,
                             std::uint32_t bytes) {
  return channel == peer::kChannel ? nullptr : relay_.on_incoming(node, channel, priority, bytes);
}

void Hpcd::on_abandoned(net::NodeId node, net::Priority priority) { relay_.on_abandoned(node, priority); }

net::Take Hpcd::on_message(const net::Message& m) {
  if (m.channel != peer::kChannel)
    relay_.on_data(m);
  else
    on_control(m);
  return net::Take::Done;
}

void Hpcd::on_control(const net::Message& m) {
  const peer::Message message = peer::parse(m.bytes);
  if (!std::holds_alternative<peer::Gossip>(message)) outbox_.touch(m.from);
  if (const auto* bad = std::get_if<peer::Bad>(&message)) {
    log::warning("bad message of a node", {{"node", m.from}, {"why", bad->why}});
  } else if (const auto* gossip = std::get_if<peer::Gossip>(&message)) {
    members_.on_gossip(m.from, *gossip, now_ms_);
  } else if (const auto* request = std::get_if<peer::OpenRequest>(&message)) {
    on_open_request(m.from, *request);
  } else if (const auto* reply = std::get_if<peer::OpenReply>(&message)) {
    on_open_reply(m.from, *reply);
  } else if (const auto* ack = std::get_if<peer::OpenAck>(&message)) {
    const Circuit* const c = relay_.find(ack->to_circuit);
    if (c != nullptr && c->peer == m.from) relay_.set_open(c->id);
  } else if (const auto* mark = std::get_if<peer::Mark>(&message)) {
    relay_.on_mark(m.from, *mark, m.priority);
  } else if (const auto* abort = std::get_if<peer::Abort>(&message)) {
    remotes_.on_abort(m.from, abort->from_circuit);
    relay_.on_abort(m.from, *abort);
  } else if (const auto* rpc = std::get_if<peer::RpcMessage>(&message)) {
    rpc_.on_message(m.from, *rpc);
  } else if (const auto* pause = std::get_if<peer::Pause>(&message)) {
    remotes_.on_pause(m.from, pause->to_circuit, pause->stopped != 0);
  } else if (const auto* load = std::get_if<peer::LoadMessage>(&message)) {
    balance_.on_load(m.from, *load);
  } else if (const auto* guest = std::get_if<peer::Guest>(&message)) {
    balance_.on_guest(m.from, *guest);
  } else if (const auto* guests = std::get_if<peer::GuestsMessage>(&message)) {
    balance_.on_guests(m.from, *guests);
  } else if (const auto* view = std::get_if<peer::ViewMessage>(&message)) {
    view_.on_message(m.from, *view, now_ms_);
  } else if (const auto* ask = std::get_if<peer::NamesAsk>(&message)) {
    names_.want({m.from, ask->user}, ask->path);
  } else if (const auto* facts = std::get_if<peer::NamesMessage>(&message)) {
    on_names(m.from, *facts);
  } else if (const auto* reset = std::get_if<peer::NamesReset>(&message)) {
    names_.drop({m.from, reset->user});
  } else if (std::holds_alternative<peer::Bye>(message)) {
    presence_->change(
        [&m](net::discovery::Membership& all, std::uint64_t now_ms) { all.said_goodbye(m.from, now_ms); });
    lose_node(m.from, "it has ended in order");
  }
}

void Hpcd::on_open_request(Node from, const peer::OpenRequest& m) {
  // The balancer's refusal first: it says more than "draining".
  if (const std::string why = balance_.admit(from, m); !why.empty())
    return remotes_.refuse(from, m.circuit, EBUSY, why);
  remotes_.on_request(from, m, room(), now_ms_);
  for (const auto& [id, r] : remotes_.all())
    if (r.home == from && r.home_circuit == m.circuit) give_names_to_remote(r);
  balance_.on_admitted();
}

/// A deputy that job control stops (^Z, SIGSTOP) cannot say so: its remotes are stopped for it, and go on
/// with it.
void Hpcd::pass_stops_on() {
  std::erase_if(stopped_, [this](CircuitId id) { return relay_.find(id) == nullptr; });
  for (const auto& [id, s] : sessions_.all()) {
    if (s->role != local::Role::Deputy || s->port == 0) continue;
    const bool stopped = is_stopped(s->pid);
    for (const auto& [number, c] : relay_.circuits()) {
      if (c.port != s->port || c.state != Circuit::State::Open || stopped == stopped_.contains(number))
        continue;
      peer::Pause m;
      m.to_circuit = c.peer_circuit;
      m.stopped = stopped ? 1 : 0;
      if (!outbox_.send(c.peer, m)) continue;
      if (stopped)
        stopped_.insert(number);
      else
        stopped_.erase(number);
    }
  }
}

void Hpcd::on_open_reply(Node from, const peer::OpenReply& m) {
  const Circuit* const c = relay_.find(m.to_circuit);
  if (c == nullptr || c->peer != from || c->state != Circuit::State::Opening) return;  // closed meanwhile
  const Circuit copy = *c;
  Session* const s = session_of(copy.port);
  if (m.code != 0) {
    relay_.drop(copy.id);
    if (s != nullptr) refuse_open(*s, copy.channel, m.code, get_text(m.why));
    return;
  }
  relay_.set_peer_circuit(copy.id, m.circuit, Circuit::State::Opening);
  relay_.set_open(copy.id);
  peer::OpenAck ack;
  ack.to_circuit = m.circuit;
  outbox_.send(from, ack);
  if (s == nullptr) return;
  local::Opened opened;
  opened.channel = copy.channel;
  sessions_.send(*s, opened);
}

void Hpcd::on_writable(net::NodeId node, net::Priority priority) {
  if (priority == net::Priority::Control)
    outbox_.on_writable(node);
  else
    relay_.on_writable(node, priority);
}

void Hpcd::on_released(std::uint64_t token) { relay_.on_released(token); }

void Hpcd::on_register(Session& s, const local::Register& m, const Session* before) {
  if (before != nullptr) {
    s.state.migrations = before->state.migrations;
    s.state.remote_cpu_us = before->state.remote_cpu_us;
  }
  // Whoever launched it may not: only root may put a process into a group.
  if (s.role == local::Role::Deputy)
    if (const std::string why = join_groups(remotes_.kit(), s.pid); !why.empty())
      log::warning("a process is not under its node's limits", {{"pid", s.pid}, {"why", why}});
  local::Welcome welcome;
  welcome.node = config_.node;
  welcome.start_on = balance_.on_register(s, m, before != nullptr);
  // Where balance is off, a program that is executed away from home starts fresh where its process is.
  if (welcome.start_on == 0 && before != nullptr && before->state.where != 0 &&
      members_.cannot_take(before->state.where).empty())
    welcome.start_on = before->state.where;
  sessions_.send(s, welcome);
  if (s.role == local::Role::Remote) remotes_.on_register(s);
}

void Hpcd::on_state(Session& s) {
  if (s.state.where == config_.node) s.state.where = 0;
  balance_.on_state(s);
}

void Hpcd::refuse_open(Session& s, std::uint32_t channel, int code, const std::string& why) {
  log::info("channel refused", {{"pid", s.pid}, {"channel", channel}, {"why", why}});
  local::Opened m;
  m.channel = channel;
  m.code = code;
  set_text(m.why, why);
  sessions_.send(s, m);
}

void Hpcd::on_open(Session& s, const local::Open& m) {
  if (s.role == local::Role::Remote) return refuse_open(s, m.channel, EPERM, "a remote opens no channels");
  if (s.port != 0 && relay_.find(s.port, m.channel) != 0)
    return refuse_open(s, m.channel, EEXIST, "the channel is in use");
  if (m.node == config_.node) return refuse_open(s, m.channel, EINVAL, "that is the process's own home");
  if (const std::string why = members_.cannot_take(m.node); !why.empty())
    return refuse_open(s, m.channel, EHOSTDOWN, why);
  if (s.port == 0) {
    const Result<PortId> port = relay_.add_port();
    if (!port)
      return refuse_open(s, m.channel, port.error().code, std::string("no rings: ") + port.error().op);
    s.port = *port;
    const local::FileTable table;
    const int shared = files_.table_fd();
    sessions_.send(s, std::as_bytes(std::span(&table, 1)), std::span(&shared, 1));
    give_names_to_deputy(s);
    local::Attach attach;
    attach.ring_bytes = Rings::kBytes;
    sessions_.send(s, std::as_bytes(std::span(&attach, 1)), relay_.rings(*port).descriptors());
  }
  const CircuitId circuit = relay_.add(s.port, m.channel, m.node);
  peer::OpenRequest request;
  request.epoch = m.epoch;
  request.memory = m.memory;
  request.circuit = circuit;
  request.uid = s.uid;
  request.pid = s.pid;
  request.threads = m.threads;
  request.engine = m.engine;
  request.ia32 = m.ia32;
  set_text(request.comm, get_text(m.comm));
  balance_.before_open(s, m.node);
  if (outbox_.send(m.node, request)) return;
  relay_.drop(circuit);
  refuse_open(s, m.channel, EHOSTDOWN, "node " + std::to_string(m.node) + " is down");
}

void Hpcd::on_close(Session& s, const local::Close& m) {
  if (s.port == 0) return;
  if (const CircuitId circuit = relay_.find(s.port, m.channel); circuit != 0) relay_.close(circuit, {});
}

void Hpcd::on_file_seen(const local::FileSeen& m) { files_.seen(m); }

void Hpcd::on_file_ask(Session& s, const local::FileAsk& m) {
  if (!s.spawned) return;  // deputies map their own files
  const Files::Found found = files_.ask(m);
  local::FileAnswer answer;
  answer.id = m.id;
  answer.code = found.code;
  sessions_.send(s, std::as_bytes(std::span(&answer, 1)), std::span(&found.fd, found.code == 0 ? 1 : 0));
}

void Hpcd::on_move_done(Session& s, const local::MoveDone& m) { moves_.on_done(s, m); }

void Hpcd::on_gone(Session& s, const std::string& why) {
  if (!s.registered && !s.spawned) return;
  log::debug("process has left", {{"pid", s.pid}, {"why", why}});
  moves_.on_gone(s, why);
  balance_.on_gone(s);
  // First: a remote's last records are still sent, so its circuit is closed, not aborted.
  if (s.spawned) remotes_.on_gone(s, why);
  if (s.port != 0) relay_.remove_port(s.port, "the process at home has ended");
}

Session* Hpcd::session_of(PortId port) {
  for (const auto& [id, s] : sessions_.all())
    if (s->port == port) return s.get();
  return nullptr;
}

void Hpcd::on_circuit_closed(const Circuit& c, const std::string& why, bool lost) {
  Session* const s = session_of(c.port);
  if (s == nullptr) return;
  if (s->spawned) return remotes_.on_circuit_closed(c, why, lost, now_ms_);
  if (c.state == Circuit::State::Opening) return refuse_open(*s, c.channel, EHOSTDOWN, why);
  local::Closed m;
  m.channel = c.channel;
  set_text(m.why, why.empty() ? "closed by the other side" : why);
  sessions_.send(*s, m);
}

void Hpcd::on_port_broken(PortId port, const char* why) {
  if (Session* const s = session_of(port); s != nullptr) sessions_.end(s->id, why);
}

}  // namespace hpcvmm::daemon
