#include "daemon/relay.hh"

#include <sys/epoll.h>

#include <algorithm>
#include <cstring>

#include "daemon/local_codec.hh"

namespace hpcvmm::daemon {

namespace {
/// Records moved from one ring in one pass: enough to fill a burst, few enough for the others to get their
/// turn.
constexpr int kRecordsPerPass = 64;
/// Smaller ones are copied: remembering a loan costs more.
constexpr std::uint32_t kBorrowFrom = 512;
/// Passes without work after which a process's rings are left to its eventfd.
constexpr unsigned kIdlePasses = 4000;
/// What may wait here for a process that does not empty its ring, per circuit.
constexpr std::uint64_t kMaxLate = wire::local::kRingBytes;

constexpr std::size_t index(Lane lane) { return static_cast<std::size_t>(lane); }
constexpr net::Priority priority_of(Lane lane) {
  return lane == Lane::Urgent ? net::Priority::Fault : net::Priority::Bulk;
}
constexpr Lane lane_of(net::Priority p) { return p == net::Priority::Fault ? Lane::Urgent : Lane::Bulk; }
constexpr std::uint64_t peer_key(Node node, CircuitId circuit) {
  return static_cast<std::uint64_t>(node) << 32 | circuit;
}
constexpr std::uint64_t token_of(PortId port, Lane lane, std::uint32_t number) {
  return static_cast<std::uint64_t>(port) << 33 | static_cast<std::uint64_t>(lane) << 32 | number;
}
constexpr std::array kBothLanes{Lane::Urgent, Lane::Bulk};
}  // namespace

Relay::~Relay() {
  for (const auto& [id, p] : ports_) poller_.remove(p->watch);
}

Relay::Port* Relay::port(PortId id) {
  const auto found = ports_.find(id);
  return found == ports_.end() ? nullptr : found->second.get();
}

Circuit* Relay::circuit(CircuitId id) {
  const auto found = circuits_.find(id);
  return found == circuits_.end() ? nullptr : &found->second;
}

const Circuit* Relay::find(CircuitId id) const {
  const auto found = circuits_.find(id);
  return found == circuits_.end() ? nullptr : &found->second;
}

CircuitId Relay::find(PortId port_id, std::uint32_t channel) const {
  const auto p = ports_.find(port_id);
  if (p == ports_.end()) return 0;
  const auto found = p->second->channels.find(channel);
  return found == p->second->channels.end() ? 0 : found->second;
}

CircuitId Relay::find_from(Node node, CircuitId peer_circuit) const {
  const auto found = by_peer_.find(peer_key(node, peer_circuit));
  return found == by_peer_.end() ? 0 : found->second;
}

Result<PortId> Relay::add_port() {
  HPCVMM_TRY(std::shared_ptr<Rings> rings, Rings::create());
  auto p = std::make_unique<Port>();
  p->id = next_port_++;
  p->rings = std::move(rings);
  const PortId id = p->id;
  HPCVMM_TRY(p->watch, poller_.add(p->rings->wake_fd(), EPOLLIN, [this, id](std::uint32_t) {
    if (Port* const woken = port(id); woken != nullptr) {
      woken->rings->drain_wake();
      heat(*woken);
    }
  }));
  Port& added = *ports_.emplace(id, std::move(p)).first->second;
  heat(added);
  return id;
}

std::uint64_t Relay::bytes_of(PortId id) const {
  const auto found = ports_.find(id);
  return found == ports_.end() ? 0 : found->second->bytes;
}

Rings& Relay::rings(PortId id) { return *ports_.at(id)->rings; }

void Relay::heat(Port& p) {
  p.idle = 0;
  if (p.hot) return;
  p.hot = true;
  for (const Lane lane : kBothLanes) p.rings->from(lane).wake();
  hot_.push_back(p.id);
}

void Relay::remove_port(PortId id, const std::string& why) {
  Port* const p = port(id);
  if (p == nullptr) return;
  p->gone = true;
  for (auto& queue : p->late) {
    overflow_records_ -= queue.size();
    queue.clear();
  }
  // Rings that make no sense are not read to their end.
  const bool broken = p->rings->from(Lane::Urgent).broken() || p->rings->from(Lane::Bulk).broken();
  std::vector<CircuitId> dead;
  for (const auto& [channel, c] : p->channels)
    if (broken || !circuits_.at(c).closing) dead.push_back(c);
  for (const CircuitId c : dead) abort(c, why);
  bury_if_done(id);
}

void Relay::bury_if_done(PortId id) {
  Port* const p = port(id);
  if (p == nullptr || !p->gone || p->closing != 0 || !p->channels.empty() || p->rings->lent() != 0) return;
  poller_.remove(p->watch);
  std::erase(hot_, id);
  std::erase(dirty_, id);
  for (auto& waiting : waiting_)
    for (auto& [node, ports] : waiting) std::erase(ports, id);
  ports_.erase(id);
}

CircuitId Relay::add(PortId port_id, std::uint32_t channel, Node node) {
  Circuit c;
  c.id = next_circuit_++;
  if (next_circuit_ == 0) next_circuit_ = 1;  // four thousand million moves later
  c.port = port_id;
  c.channel = channel;
  c.peer = node;
  const CircuitId id = c.id;
  port(port_id)->channels[channel] = id;
  circuits_.emplace(id, std::move(c));
  if (interest_[node]++ == 0) transport_->set_interest(node, true);
  return id;
}

void Relay::set_peer_circuit(CircuitId id, CircuitId peer_circuit, Circuit::State state) {
  Circuit& c = *circuit(id);
  c.peer_circuit = peer_circuit;
  c.state = state;
  by_peer_[peer_key(c.peer, peer_circuit)] = id;
}

void Relay::set_open(CircuitId id) {
  Circuit* const c = circuit(id);
  if (c == nullptr || c->state == Circuit::State::Open || c->peer_circuit == 0) return;
  c->state = Circuit::State::Open;
  Port& p = *port(c->port);
  p.blocked = {};
  heat(p);
}

void Relay::close(CircuitId id, const std::string& why) {
  Circuit* const c = circuit(id);
  if (c == nullptr || c->closing) return;
  if (c->state == Circuit::State::Opening) return abort(id, why);
  Port& p = *port(c->port);
  c->closing = true;
  c->why = why;
  for (const Lane lane : kBothLanes) c->close_at[index(lane)] = p.rings->from(lane).written();
  ++p.closing;
  heat(p);
}

void Relay::abort(CircuitId id, const std::string& why) {
  const Circuit* const c = circuit(id);
  if (c == nullptr) return;
  peer::Abort m;
  m.from_circuit = id;
  set_text(m.why, why);
  outbox_.send(c->peer, m);
  erase(id);
}

void Relay::drop(CircuitId id) { erase(id); }

void Relay::erase(CircuitId id) {
  const auto found = circuits_.find(id);
  if (found == circuits_.end()) return;
  const Circuit& c = found->second;
  Port& p = *port(c.port);
  if (const auto in = p.channels.find(c.channel); in != p.channels.end() && in->second == id)
    p.channels.erase(in);
  if (c.closing) --p.closing;
  if (c.peer_circuit != 0) by_peer_.erase(peer_key(c.peer, c.peer_circuit));
  if (--interest_[c.peer] == 0) transport_->set_interest(c.peer, false);
  // A record of it that waited for room must not hold up the others any longer.
  p.blocked = {};
  heat(p);
  const PortId port_id = c.port;
  circuits_.erase(found);
  bury_if_done(port_id);
}

bool Relay::pump() {
  bool worked = false;
  // By index: what a port does may heat another one.
  for (std::size_t i = 0; i < hot_.size(); ++i) {
    Port* const p = port(hot_[i]);
    if (p != nullptr) worked |= pump_port(*p);
  }
  std::erase_if(hot_, [this](PortId id) {
    Port* const p = port(id);
    return p == nullptr || !p->hot;
  });
  return worked;
}

bool Relay::pump_port(Port& p) {
  const PortId id = p.id;
  bool worked = overflow_records_ != 0 && flush_late(p);
  if (port(id) == nullptr) return true;
  for (const Lane lane : kBothLanes) {
    worked |= pump_lane(p, lane);
    if (p.rings->from(lane).broken() || p.rings->to(lane).broken()) {
      // No circuit of it is to be pumped again, whatever the events do.
      p.hot = false;
      if (p.gone)
        remove_port(id, "the process has ended");
      else
        events_.on_port_broken(id, "the words of its rings make no sense");
      return true;
    }
    if (p.closing != 0) worked |= send_marks(p, lane);
    if (port(id) == nullptr) return true;
  }
  if (worked) {
    p.idle = 0;
    return true;
  }
  if (++p.idle < kIdlePasses) return false;
  for (const Lane lane : kBothLanes)
    if (!p.blocked[index(lane)] && !p.rings->from(lane).prepare_sleep()) return true;
  p.hot = false;
  return false;
}

bool Relay::pump_lane(Port& p, Lane lane) {
  if (p.blocked[index(lane)]) return false;
  LendingReader& reader = p.rings->from(lane);
  bool worked = false;
  LendingReader::View v;
  for (int i = 0; i < kRecordsPerPass && reader.next(v); ++i) {
    if (pump_record(p, lane, v) == Pumped::Stuck) break;
    worked = true;
  }
  return worked;
}

Relay::Pumped Relay::pump_record(Port& p, Lane lane, const LendingReader::View& v) {
  LendingReader& reader = p.rings->from(lane);
  const auto found = p.channels.find(v.channel);
  Circuit* const c = found == p.channels.end() ? nullptr : circuit(found->second);
  if (c == nullptr) {
    ++counters_.dropped;
    reader.give_back(reader.take());
    return Pumped::Some;
  }
  if (c->state != Circuit::State::Open) {
    p.blocked[index(lane)] = true;
    return Pumped::Stuck;
  }
  const net::Part part(v.data, v.bytes);
  const bool borrow = v.bytes >= kBorrowFrom;
  const Status sent =
      borrow ? transport_->send_borrowed(c->peer, c->peer_circuit, priority_of(lane), std::span(&part, 1),
                                         token_of(p.id, lane, reader.next_number()))
             : transport_->send(c->peer, c->peer_circuit, priority_of(lane), part);
  if (!sent && sent.error().code == EAGAIN) {
    block(p, lane, c->peer);
    return Pumped::Stuck;
  }
  const std::uint32_t number = reader.take();
  if (!sent || !borrow) reader.give_back(number);
  if (!sent) {
    // Down, and on_peer_down is on its way here.
    ++counters_.dropped;
    return Pumped::Some;
  }
  c->bytes_out += v.bytes;
  p.bytes += v.bytes;
  ++counters_.records_out;
  counters_.bytes_out += v.bytes;
  return Pumped::Some;
}

void Relay::block(Port& p, Lane lane, Node node) {
  p.blocked[index(lane)] = true;
  ++counters_.stalls;
  waiting_[index(lane)][node].push_back(p.id);
}

bool Relay::send_marks(Port& p, Lane lane) {
  bool worked = false;
  std::vector<CircuitId> done;
  for (const auto& [channel, id] : p.channels) {
    Circuit& c = circuits_.at(id);
    if (!c.closing || c.state != Circuit::State::Open) continue;
    bool& sent = c.mark_sent[index(lane)];
    if (!sent && p.rings->from(lane).taken() >= c.close_at[index(lane)]) {
      peer::Mark m;
      m.to_circuit = c.peer_circuit;
      set_text(m.why, c.why);
      const Status status = transport_->send(c.peer, peer::kChannel, priority_of(lane), peer::bytes_of(m));
      if (!status && status.error().code == EAGAIN) continue;
      sent = true;
      worked = true;
    }
    if (c.mark_sent[0] && c.mark_sent[1]) done.push_back(id);
  }
  for (const CircuitId id : done) erase(id);
  return worked;
}

bool Relay::prepare_sleep() {
  for (const PortId id : hot_) {
    Port* const p = port(id);
    if (p == nullptr || !p->hot) continue;
    for (const Lane lane : kBothLanes)
      if (!p->blocked[index(lane)] && !p->rings->from(lane).prepare_sleep()) return false;
  }
  for (const PortId id : hot_)
    if (Port* const p = port(id); p != nullptr) p->hot = false;
  hot_.clear();
  return true;
}

void Relay::wake_processes() {
  for (const PortId id : dirty_) {
    Port* const p = port(id);
    if (p == nullptr) continue;
    p->dirty = false;
    p->rings->wake_vmm();
  }
  dirty_.clear();
}

bool Relay::put(Port& p, Lane lane, std::uint32_t channel, std::span<const std::byte> bytes) {
  if (p.filling[index(lane)]) return false;
  wire::local::Producer& ring = p.rings->to(lane);
  std::byte* const at = ring.reserve(channel, static_cast<std::uint32_t>(bytes.size()));
  if (at == nullptr) return false;
  std::memcpy(at, bytes.data(), bytes.size());
  show(p, lane);
  return true;
}

/// The record that has been reserved is complete.
void Relay::show(Port& p, Lane lane) {
  if (!p.rings->to(lane).publish()) return;
  if (lane == Lane::Urgent) {
    p.rings->wake_vmm();  // a thread waits for it
  } else if (!p.dirty) {
    p.dirty = true;
    dirty_.push_back(p.id);
  }
}

std::byte* Relay::on_incoming(Node from, CircuitId id, net::Priority priority, std::uint32_t bytes) {
  const Circuit* const c = circuit(id);
  Port* const p = c == nullptr || c->peer != from ? nullptr : port(c->port);
  if (p == nullptr || p->gone || bytes > wire::local::kMaxRecord) return nullptr;
  if (priority == net::Priority::Control) return nullptr;
  const Lane lane = lane_of(priority);
  if (!p->late[index(lane)].empty() || p->filling[index(lane)]) return nullptr;
  std::byte* const at = p->rings->to(lane).reserve(c->channel, bytes);
  if (at == nullptr) return nullptr;
  p->filling[index(lane)] = true;
  places_[index(lane)][from] = {p->id, p->rings, at};
  return at;
}

/// The transport does not write to the place it was given any more.  Returns that; nullptr: none was given,
/// or its process has gone.
std::byte* Relay::end_filling(Node from, Lane lane) {
  auto& places = places_[index(lane)];
  const auto found = places.find(from);
  if (found == places.end()) return nullptr;
  const Place place = std::move(found->second);
  places.erase(found);
  Port* const p = port(place.port);
  if (p == nullptr) return nullptr;
  p->filling[index(lane)] = false;
  if (!p->late[index(lane)].empty()) heat(*p);
  return place.at;
}

void Relay::on_abandoned(Node from, net::Priority priority) {
  if (priority != net::Priority::Control) end_filling(from, lane_of(priority));
}

void Relay::on_data(const net::Message& m) {
  const bool in_a_lane = m.priority != net::Priority::Control;  // as on_incoming() is asked for
  const std::byte* const filled = in_a_lane ? end_filling(m.from, lane_of(m.priority)) : nullptr;
  Circuit* const c = circuit(m.channel);
  Port* const p = c == nullptr || c->peer != m.from ? nullptr : port(c->port);
  if (p == nullptr || p->gone || m.bytes.size() > wire::local::kMaxRecord) {
    ++counters_.dropped;
    return;
  }
  set_open(c->id);  // whoever sends knows that it is open
  ++counters_.records_in;
  counters_.bytes_in += m.bytes.size();
  c->bytes_in += m.bytes.size();
  p->bytes += m.bytes.size();
  const Lane lane = lane_of(m.priority);
  auto& late = p->late[index(lane)];
  if (filled != nullptr && filled == m.bytes.data()) return show(*p, lane);
  if (late.empty() && put(*p, lane, c->channel, m.bytes)) return;
  if (p->rings->to(lane).broken()) {
    heat(*p);  // pump() reports it
    return;
  }
  if (c->late_bytes + m.bytes.size() > kMaxLate) {
    // It, or the process at the other end, does not keep to the window.
    const Circuit copy = *c;
    const std::string why =
        "the receiver of channel " + std::to_string(c->channel) + " was sent more than the window";
    abort(copy.id, why);
    events_.on_circuit_closed(copy, why, true);
    return;
  }
  c->late_bytes += m.bytes.size();
  late.push_back({c->id, c->channel, {m.bytes.begin(), m.bytes.end()}});
  ++overflow_records_;
  ++counters_.overflow;
  heat(*p);
}

bool Relay::flush_late(Port& p) {
  bool worked = false;
  const PortId id = p.id;
  std::vector<CircuitId> done;
  for (const Lane lane : kBothLanes) {
    auto& late = p.late[index(lane)];
    while (!late.empty() && put(p, lane, late.front().channel, late.front().bytes)) {
      if (Circuit* const c = circuit(late.front().circuit); c != nullptr) {
        c->late_bytes -= late.front().bytes.size();
        if (c->late_bytes == 0 && c->mark_got[0] && c->mark_got[1]) done.push_back(c->id);
      }
      late.pop_front();
      --overflow_records_;
      worked = true;
    }
  }
  for (const CircuitId c : done) {
    const Circuit copy = *circuit(c);
    erase(c);
    events_.on_circuit_closed(copy, copy.why, false);
    if (port(id) == nullptr) break;
  }
  return worked;
}

void Relay::on_mark(Node from, const peer::Mark& m, net::Priority priority) {
  Circuit* const c = circuit(m.to_circuit);
  if (c == nullptr || c->peer != from) return;
  c->mark_got[index(lane_of(priority))] = true;
  if (!c->closing) c->why = get_text(m.why);
  if (!c->mark_got[0] || !c->mark_got[1] || c->late_bytes != 0) return;
  const Circuit copy = *c;
  erase(c->id);
  if (!copy.closing) events_.on_circuit_closed(copy, copy.why, false);
}

void Relay::on_abort(Node from, const peer::Abort& m) {
  const CircuitId id = find_from(from, m.from_circuit);
  if (id == 0) return;
  const Circuit copy = *circuit(id);
  erase(id);
  events_.on_circuit_closed(copy, get_text(m.why), true);
}

void Relay::on_peer_down(Node node, const std::string& why) {
  std::vector<CircuitId> lost;
  for (const auto& [id, c] : circuits_)
    if (c.peer == node) lost.push_back(id);
  for (const CircuitId id : lost) {
    if (circuit(id) == nullptr) continue;
    const Circuit copy = *circuit(id);
    erase(id);
    events_.on_circuit_closed(copy, why, true);
  }
  for (const net::Priority p : {net::Priority::Fault, net::Priority::Bulk}) on_writable(node, p);
}

void Relay::on_writable(Node node, net::Priority priority) {
  auto& waiting = waiting_[index(lane_of(priority))];
  const auto found = waiting.find(node);
  if (found == waiting.end()) return;
  for (const PortId id : std::exchange(found->second, {})) {
    Port* const p = port(id);
    if (p == nullptr) continue;
    p->blocked[index(lane_of(priority))] = false;
    heat(*p);
  }
}

void Relay::on_released(std::uint64_t token) {
  const auto id = static_cast<PortId>(token >> 33);
  Port* const p = port(id);
  if (p == nullptr) return;
  const Lane lane = (token >> 32 & 1) != 0 ? Lane::Bulk : Lane::Urgent;
  p->rings->from(lane).give_back(static_cast<std::uint32_t>(token));
  bury_if_done(id);
}

}  // namespace hpcvmm::daemon
