// What Membership does about packets.
#include <algorithm>

#include "net/discovery/membership.hh"

namespace hpcvmm::net::discovery {
namespace {

constexpr std::uint64_t kHelpMs = 1500;
constexpr std::uint64_t kClaimAgainMs = 5000;

bool present(State s) { return s == State::Alive || s == State::Suspect; }

}  // namespace

/// Another machine has our number, or is on its way to it.  Who had it first keeps it.
void Membership::on_own_number(const Packet& p, const Address& from, std::uint64_t now_ms) {
  if (p.self.machine == self_.machine) return;  // our own announcement, or an earlier life of ours
  if (p.self.state == State::Left) return;
  const bool they_were_first =
      p.self.life != self_.life ? p.self.life < self_.life : p.self.machine < self_.machine;
  // Who is only trying whether the number is free never has it.
  if (they_were_first && (p.flags & kProbation) == 0)
    return tell(Event::Kind::NumberTaken, self_.node, p.self.address);
  // At once and each time: whoever waits for its number must not wait in vain.
  send(from, make(Type::Conflict, self_.node), Way::Back);
  if (claim_told_ms_ != 0 && now_ms - claim_told_ms_ < kClaimAgainMs) return;
  claim_told_ms_ = now_ms;
  if (from != p.self.address) send(p.self.address, make(Type::Conflict, self_.node));
  tell(Event::Kind::ForeignClaim, self_.node, p.self.address);
}

bool Membership::fresh(Member& m, std::uint64_t sequence) {
  if (sequence > m.sequence) {
    const std::uint64_t step = sequence - m.sequence;
    m.seen = step >= 64 ? 0 : m.seen << step;
    m.seen |= 1;
    m.sequence = sequence;
    return true;
  }
  const std::uint64_t back = m.sequence - sequence;
  if (back >= 64 || (m.seen & (std::uint64_t{1} << back)) != 0) return false;
  m.seen |= std::uint64_t{1} << back;
  return true;
}

/// Whether the packet is news of a node that may be listened to; takes in what it says of itself.
bool Membership::accept_sender(const Packet& p, const Address& from, std::uint64_t now_ms) {
  const Record& r = p.self;
  Member* m = get(r.node);
  if (m != nullptr && m->record.machine != r.machine && m->record.address != r.address && m->present()) {
    // Two machines claim that number: each is told where the other is, and they settle it.
    Packet conflict = make(Type::Conflict, r.node);
    conflict.records.push_back(m->record);
    send(from, std::move(conflict), Way::Back);
    return false;
  }
  if ((p.flags & kProbation) != 0) return false;  // not a member yet; nobody holds the number
  if (m == nullptr) {
    if (r.state != State::Alive) return false;
    m = &add(r, now_ms);
  } else if (r.life < m->record.life) {
    ++counters_.replayed;
    return false;
  } else if (r.life > m->record.life) {
    const bool was = m->present();
    if (was) count_in(m->record, false);
    m->record = r;
    m->sequence = m->seen = 0;
    m->since_ms = changed_ms_ = now_ms;
    count_in(m->record, true);
    if (!was) order_.push_back(r.node);
    ++epoch_;
    news(r.node);
    tell(was ? Event::Kind::Restarted : Event::Kind::Joined, r.node, r.address);
  }
  if (!fresh(*m, p.sequence)) {
    ++counters_.replayed;
    return false;
  }
  m->heard_ms = now_ms;
  merge_same_life(*m, r, now_ms);
  // It answers: whatever others fear, it is there.  They hear it from itself.
  if (m->record.state == State::Suspect && r.state == State::Alive) {
    m->record.version = std::max(m->record.version, r.version);
    become(*m, State::Alive, now_ms);
  }
  epoch_ = std::max(epoch_, p.epoch);
  if (!p.load.empty()) {
    m->load.assign(reinterpret_cast<const char*>(p.load.data()), p.load.size());
    tell(Event::Kind::Heard, r.node, r.address);
  }
  return r.state == State::Alive;
}

void Membership::merge_self(const Record& r, std::uint64_t now_ms) {
  if (r.machine != self_.machine) {
    // Somebody takes another machine for us: we ask it, and whoever was later ends.
    if (present(r.state) && r.address != self_.address) {
      if (claim_told_ms_ != 0 && now_ms - claim_told_ms_ < 200) return;
      claim_told_ms_ = now_ms;
      send(r.address, make(Type::Join, self_.node));
    }
    return;
  }
  if (r.life > self_.life) {
    // Our calendar clock was ahead in an earlier life.
    count_in(self_, false);
    self_.life = r.life + 1;
    count_in(self_, true);
    return object(self_.version);
  }
  if (r.life == self_.life && r.state != State::Alive && r.version >= self_.version) object(r.version);
}

void Membership::merge_same_life(Member& m, const Record& r, std::uint64_t now_ms) {
  Record& known = m.record;
  if (known.state == State::Left) return;
  const bool newer = r.version > known.version;
  switch (r.state) {
    case State::Alive:
      if (!newer) return;
      known.version = r.version;
      if (known.flags != r.flags) {
        known.flags = r.flags;
        tell(Event::Kind::Heard, known.node, known.address);
      }
      if (known.address != r.address) {
        known.address = r.address;
        tell(Event::Kind::Moved, known.node, known.address);
      }
      news(known.node);
      return become(m, State::Alive, now_ms);
    case State::Suspect:
    case State::Dead:
      if (r.version < known.version || known.state == State::Dead) return;
      known.version = r.version;
      if (known.state == State::Alive) return become(m, State::Suspect, now_ms);
      // Who is said to be dead and is no suspect of ours has its time to object: it may be on our side of
      // what was a partition.
      if (r.state == State::Dead && now_ms - m.since_ms >= knobs_.period_ms) become(m, State::Dead, now_ms);
      return;
    case State::Left:
      if (r.version >= known.version) become(m, State::Left, now_ms);
      return;
  }
}

void Membership::merge(const Record& r, std::uint64_t now_ms) {
  if (r.node == self_.node) return merge_self(r, now_ms);
  Member* const m = get(r.node);
  if (m == nullptr) {
    if (present(r.state)) add(r, now_ms);
    return;
  }
  if (m->record.machine != r.machine && m->record.address != r.address && m->present()) return;
  if (r.life < m->record.life) return;
  if (r.life == m->record.life) return merge_same_life(*m, r, now_ms);
  if (!present(r.state)) {
    if (m->present()) become(*m, r.state, now_ms);
    return;
  }
  const bool was = m->present();
  if (was) count_in(m->record, false);
  m->record = r;
  m->record.state = State::Alive;
  m->sequence = m->seen = 0;
  m->since_ms = changed_ms_ = now_ms;
  count_in(m->record, true);
  if (!was) order_.push_back(r.node);
  ++epoch_;
  news(r.node);
  tell(was ? Event::Kind::Restarted : Event::Kind::Joined, r.node, r.address);
}

void Membership::on_announce(const Packet& p, const Address& from) {
  static_cast<void>(from);
  if ((p.flags & kWantsAnswer) == 0) return;
  // Some of those who hear it answer, however many they are.
  if (p.type == Type::Announce && count() > knobs_.answers && below(count()) >= knobs_.answers) return;
  Packet welcome = make(Type::Welcome, p.self.node, p.token);
  // If it is thought dead, it must know, to object.
  const Member* const m = find(p.self.node);
  if (m != nullptr && m->record.state != State::Alive) welcome.records.push_back(m->record);
  add_some(welcome);
  send(p.self.address, std::move(welcome));
}

void Membership::on_ping(const Packet& p, const Address& from) {
  static_cast<void>(from);
  Packet ack = make(Type::Ack, 0, p.token);
  const Member* const m = find(p.self.node);
  if (m != nullptr && m->record.state != State::Alive) ack.records.push_back(m->record);
  add_news(ack);
  send(p.self.address, std::move(ack));
}

void Membership::on_ack(const Packet& p, std::uint64_t now_ms) {
  const NodeId node = p.about != 0 ? p.about : p.self.node;
  // An answer to a question that another node asked through us.
  for (std::size_t i = 0; i < helped_.size(); ++i) {
    if (helped_[i].own_token != p.token || helped_[i].about != p.self.node || p.about != 0) continue;
    send(helped_[i].asker, make(Type::Ack, helped_[i].about, helped_[i].token));
    helped_.erase(helped_.begin() + static_cast<std::ptrdiff_t>(i));
    return;
  }
  for (std::size_t i = 0; i < probes_.size(); ++i) {
    if (probes_[i].node != node || probes_[i].token != p.token) continue;
    if (Member* const m = get(node); m != nullptr) {
      if (m->record.state == State::Suspect) become(*m, State::Alive, now_ms);
    }
    probes_[i] = probes_.back();
    probes_.pop_back();
    return;
  }
}

void Membership::on_ping_request(const Packet& p, const Address& from, std::uint64_t now_ms) {
  static_cast<void>(from);
  const Member* const m = find(p.about);
  if (m == nullptr || helped_.size() >= 64) return;
  const std::uint32_t token = next_token_++;
  helped_.push_back({p.about, p.self.address, p.token, token, now_ms + kHelpMs});
  send(m->record.address, make(Type::Ping, p.about, token));
}

void Membership::on_sync(const Packet& p, const Address& from) {
  static_cast<void>(from);
  Packet answer = make(Type::Records, 0, p.token);
  for (NodeId node = p.about; node < index_.size(); ++node) {
    const Member* const m = find(node);
    if (m == nullptr || node == p.self.node) continue;
    if (p.buckets[node % kBuckets] == buckets_[node % kBuckets]) continue;
    if (answer.records.size() == kMaxRecords) {
      answer.about = node;
      break;
    }
    answer.records.push_back(m->record);
  }
  send(p.self.address, std::move(answer));
}

void Membership::on_records(const Packet& p, const Address& from, std::uint64_t now_ms) {
  static_cast<void>(from);
  if (p.self.node != sync_with_) return;
  if (p.about != 0 && p.digest != digest_) return send_sync(p.self.node, p.about, now_ms);
  sync_with_ = 0;
}

void Membership::on_packet(const Packet& p, const Address& from, std::uint64_t now_ms) {
  if (leaving_) return;
  if (p.self.node == self_.node) return on_own_number(p, from, now_ms);
  if (p.type == Type::Leave) {
    Member* const m = get(p.self.node);
    const bool right = m != nullptr && m->record.life == p.self.life && m->record.machine == p.self.machine;
    if (right && m->present()) become(*m, State::Left, now_ms);
    return;
  }
  if (p.type == Type::Conflict) {
    // Whether it is true we hear from the holder itself.
    for (const Record& r : p.records)
      if (r.node == self_.node) merge_self(r, now_ms);
    return;
  }
  if (!accept_sender(p, from, now_ms)) return;
  const std::uint32_t version = self_.version;
  catching_up_ = p.type == Type::Welcome || p.type == Type::Records;
  for (const Record& r : p.records) merge(r, now_ms);
  catching_up_ = false;
  // What is wrong about ourselves is put right at once where it was heard.
  if (self_.version != version) send(p.self.address, make(Type::Ping, p.self.node, next_token_++));
  switch (p.type) {
    case Type::Announce:
    case Type::Join: on_announce(p, from); break;
    case Type::Ping: on_ping(p, from); break;
    case Type::Ack: on_ack(p, now_ms); break;
    case Type::PingRequest: on_ping_request(p, from, now_ms); break;
    case Type::Sync: on_sync(p, from); break;
    case Type::Records: on_records(p, from, now_ms); break;
    case Type::Welcome:
    case Type::Leave:
    case Type::Conflict: break;
  }
  maybe_sync(p.self.node, p, now_ms);
}

}  // namespace hpcvmm::net::discovery
