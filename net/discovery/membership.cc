#include "net/discovery/membership.hh"

#include <algorithm>
#include <cmath>
#include <utility>

namespace hpcvmm::net::discovery {
namespace {

constexpr std::uint64_t kSyncPatienceMs = 500;
constexpr std::size_t kMostHelped = 64;
constexpr std::size_t kMostProbes = 64;
constexpr std::uint64_t kDoubtMs = 1000;
constexpr std::uint32_t kAskers = 4;
constexpr std::uint64_t kYoungMs = 30'000;
constexpr std::uint64_t kVisitLeastMs = 1000, kVisitMostMs = 15000;
// News that wait to be told, at most: beyond, a Sync will tell them.
constexpr std::size_t kMostNews = 4096;

std::uint64_t mix(std::uint64_t z) {
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

std::uint64_t hash(const Record& r) {
  return mix(mix(r.life + 0x9e3779b97f4a7c15) ^ r.node * 0x100000001b3ULL);
}

}  // namespace

Membership::Membership(const Record& self, const MembershipKnobs& knobs, std::uint64_t seed)
    : self_(self), knobs_(knobs), random_(seed) {
  self_.state = State::Alive;
  count_in(self_, true);
  announce_wait_ms_ = knobs_.announce_first_ms;
}

// SplitMix64: the same sequence everywhere, so that a simulation's seed says everything.
std::uint64_t Membership::random() {
  random_ += 0x9e3779b97f4a7c15;
  return mix(random_);
}

const Member* Membership::find(NodeId node) const {
  const std::uint32_t at = node < index_.size() ? index_[node] : kNone;
  return at == kNone ? nullptr : &members_[at];
}

Member* Membership::get(NodeId node) {
  const std::uint32_t at = node < index_.size() ? index_[node] : kNone;
  return at == kNone ? nullptr : &members_[at];
}

void Membership::count_in(const Record& r, bool in) {
  const std::uint64_t h = hash(r);
  digest_ ^= h;
  buckets_[r.node % kBuckets] ^= static_cast<std::uint32_t>(h);
  if (r.node == self_.node) return;
  if (in)
    ++present_;
  else
    --present_;
}

Member& Membership::add(const Record& r, std::uint64_t now_ms) {
  if (r.node >= index_.size()) index_.resize(r.node + 1, kNone);
  index_[r.node] = static_cast<std::uint32_t>(members_.size());
  Member& m = members_.emplace_back();
  m.record = r;
  // Whoever says that it is suspect may be right, but it has not been asked by us.
  m.record.state = State::Alive;
  m.since_ms = now_ms;
  count_in(m.record, true);
  // At a random place of the round, so that all are probed by somebody soon.
  order_.push_back(r.node);
  if (turn_ < order_.size()) std::swap(order_.back(), order_[turn_ + below(order_.size() - turn_)]);
  changed_ms_ = now_ms;
  ++epoch_;
  news(r.node);
  tell(Event::Kind::Joined, r.node, r.address);
  return m;
}

void Membership::drop(NodeId node) {
  const std::uint32_t at = index_[node];
  index_[node] = kNone;
  if (at + 1 != members_.size()) {
    members_[at] = std::move(members_.back());
    index_[members_[at].record.node] = at;
  }
  members_.pop_back();
}

void Membership::tell(Event::Kind kind, NodeId node, const Address& address) {
  events_.push_back({kind, node, address});
}

// The one place where a state changes.
void Membership::become(Member& m, State state, std::uint64_t now_ms) {
  const State before = m.record.state;
  if (before == state) return;
  const bool was = m.present();
  m.record.state = state;
  m.since_ms = changed_ms_ = now_ms;
  if (was != m.present()) {
    count_in(m.record, m.present());
    ++epoch_;
  }
  news(m.record.node);
  switch (state) {
    case State::Alive:
      if (!was) order_.push_back(m.record.node);
      return tell(was ? Event::Kind::Recovered : Event::Kind::Joined, m.record.node, m.record.address);
    case State::Suspect:
      m.asked = false;
      m.verdict_ms = 0;
      suspects_.push_back(m.record.node);
      return tell(Event::Kind::Suspected, m.record.node, m.record.address);
    case State::Dead: died_ms_ = now_ms; return tell(Event::Kind::Failed, m.record.node, m.record.address);
    case State::Left: return tell(Event::Kind::Left, m.record.node, m.record.address);
  }
}

void Membership::news(NodeId node) {
  if (catching_up_ && node != self_.node) return;
  for (News& n : news_)
    if (n.node == node) {
      n.told = 0;
      return;
    }
  if (news_.size() < kMostNews) news_.push_front({node, 0});
}

std::uint32_t Membership::tellings() const {
  return 2 * static_cast<std::uint32_t>(std::ceil(std::log2(static_cast<double>(count()) + 1)));
}

std::uint64_t Membership::suspect_time() const {
  return static_cast<std::uint64_t>(static_cast<double>(knobs_.suspect_ms) *
                                    (1 + std::log10(static_cast<double>(count()))));
}

/// With whom a probe may be answered: by itself, through helpers, asked again.
std::uint64_t Membership::patience() const { return std::max(knobs_.period_ms, 3 * knobs_.answer_ms); }

Packet Membership::make(Type type, NodeId about, std::uint32_t token) {
  Packet p;
  p.type = type;
  p.self = self_;
  p.epoch = epoch_;
  p.digest = digest_;
  p.members = count();
  p.about = about;
  p.token = token;
  p.load = load_;
  return p;
}

// First in, first told: with each told as often as it needs, that is the least told first.
void Membership::add_news(Packet& p) {
  const std::uint32_t enough = tellings();
  std::size_t left = news_.size();
  while (left-- != 0 && p.records.size() < std::min<std::size_t>(knobs_.piggyback, kMaxRecords)) {
    News n = news_.front();
    news_.pop_front();
    const Member* const m = find(n.node);
    if (m == nullptr && n.node != self_.node) continue;
    p.records.push_back(m == nullptr ? self_ : m->record);
    if (++n.told < enough) news_.push_back(n);
  }
}

/// Members at random, for somebody who is new.
void Membership::add_some(Packet& p) {
  if (members_.empty()) return;
  const std::size_t start = below(members_.size());
  for (std::size_t i = 0; i < members_.size() && p.records.size() < kMaxRecords; ++i) {
    const Member& m = members_[(start + i) % members_.size()];
    if (m.present() && m.record.node != p.about) p.records.push_back(m.record);
  }
}

void Membership::send(const Address& to, Packet packet, Way way) {
  packet.sequence = ++sequence_;
  out_.push_back({way, to, std::move(packet)});
}

std::vector<Outgoing> Membership::take_outgoing() { return std::exchange(out_, {}); }
std::vector<Event> Membership::take_events() { return std::exchange(events_, {}); }

void Membership::add_seed(const Address& address) {
  if (address == self_.address) return;
  for (const Seed& s : seeds_)
    if (s.address == address) return;
  seeds_.push_back({address});
}

void Membership::set_draining(bool draining) {
  const std::uint8_t flags = draining ? kDraining : 0;
  if (flags == self_.flags) return;
  self_.flags = flags;
  object(self_.version);
}

void Membership::set_load(std::span<const std::byte> load) {
  load_.assign(load.begin(), load.begin() + static_cast<std::ptrdiff_t>(std::min(load.size(), kMaxLoad)));
}

void Membership::stir(std::uint64_t now_ms) {
  changed_ms_ = now_ms;
  next_probe_ms_ = std::min(next_probe_ms_, now_ms + knobs_.period_ms / 4);
}

/// Says something newer of ourselves than `version` of us.
void Membership::object(std::uint64_t version) {
  self_.version = static_cast<std::uint32_t>(version + 1);
  news(self_.node);
}

void Membership::ask(const Address& address, std::uint64_t now_ms) {
  static_cast<void>(now_ms);
  Packet p = make(Type::Join);
  p.flags = kWantsAnswer;
  send(address, std::move(p));
}

void Membership::announce_again(std::uint64_t now_ms) {
  announced_ = 0;
  announce_wait_ms_ = knobs_.announce_first_ms;
  next_announce_ms_ = now_ms;
}

void Membership::leave(std::uint64_t now_ms) {
  static_cast<void>(now_ms);
  leaving_ = true;
  self_.state = State::Left;
  Packet p = make(Type::Leave);
  NodeId last = 0;
  for (std::uint32_t i = 0; i < knobs_.helpers + 1 && present_ != 0; ++i) {
    const NodeId node = random_present(last);
    if (node == 0) break;
    send(find(node)->record.address, p);
    last = node;
  }
}

void Membership::doubt(NodeId node, std::uint64_t now_ms) {
  Member* const m = get(node);
  if (m == nullptr || m->record.state != State::Alive) return;
  become(*m, State::Suspect, now_ms);
  deadlines_.emplace_back(node, now_ms + kDoubtMs);
  probe_now(*m, now_ms);
}

void Membership::said_goodbye(NodeId node, std::uint64_t now_ms) {
  if (Member* const m = get(node); m != nullptr && m->present()) become(*m, State::Left, now_ms);
}

bool Membership::knows_address(const Address& a) const {
  return std::any_of(members_.begin(), members_.end(),
                     [&](const Member& m) { return m.present() && m.record.address == a; });
}

void Membership::announce(std::uint64_t now_ms) {
  if (!knobs_.multicast || now_ms < next_announce_ms_) return;
  const bool quick = announced_ < knobs_.quick_announcements;
  Packet p = make(Type::Announce);
  if (quick || present_ == 0) p.flags = kWantsAnswer;
  send({}, std::move(p), Way::Multicast);
  ++announced_;
  announce_wait_ms_ = quick ? announce_wait_ms_ * 2 : std::max<std::uint64_t>(announce_wait_ms_ * 2, 10'000);
  announce_wait_ms_ = std::min(announce_wait_ms_, knobs_.announce_last_ms);
  next_announce_ms_ = now_ms + announce_wait_ms_ + below(announce_wait_ms_ / 4 + 1);
}

void Membership::call_seeds(std::uint64_t now_ms) {
  for (Seed& s : seeds_) {
    if (now_ms < s.next_ms) continue;
    s.next_ms = now_ms + s.wait_ms + below(s.wait_ms / 4 + 1);
    s.wait_ms = std::min(s.wait_ms * 2, knobs_.seed_again_ms);
    if (!knows_address(s.address)) ask(s.address, now_ms);
  }
}

NodeId Membership::random_present(NodeId but) {
  if (present_ == 0) return 0;
  for (int tries = 0; tries < 32; ++tries) {
    const Member& m = members_[below(members_.size())];
    if (m.present() && m.record.node != but) return m.record.node;
  }
  for (const Member& m : members_)
    if (m.present() && m.record.node != but) return m.record.node;
  return 0;
}

void Membership::probe_now(Member& m, std::uint64_t now_ms) {
  if (probes_.size() >= kMostProbes) return;
  const std::uint32_t token = next_token_++;
  probes_.push_back({m.record.node, token, now_ms});
  ++counters_.probes;
  Packet p = make(Type::Ping, m.record.node, token);
  // A suspect is told that it is one, so that it can object.
  if (m.record.state != State::Alive) p.records.push_back(m.record);
  add_news(p);
  send(m.record.address, std::move(p));
}

void Membership::probe(std::uint64_t now_ms) {
  if (now_ms < next_probe_ms_) return;
  const bool idle = now_ms - changed_ms_ > knobs_.quiet_after_ms && news_.empty();
  const std::uint64_t period = idle ? knobs_.idle_period_ms : knobs_.period_ms;
  next_probe_ms_ = now_ms + period - period / 16 + below(period / 8 + 1);
  for (std::size_t tries = order_.size() + 1; tries != 0; --tries) {
    if (turn_ >= order_.size()) {
      turn_ = 0;
      std::erase_if(order_, [this](NodeId n) { return find(n) == nullptr || !find(n)->present(); });
      std::sort(order_.begin(), order_.end());
      order_.erase(std::unique(order_.begin(), order_.end()), order_.end());
      for (std::size_t i = order_.size(); i > 1; --i) std::swap(order_[i - 1], order_[below(i)]);
      if (order_.empty()) return;
    }
    Member* const m = get(order_[turn_++]);
    if (m == nullptr || !m->present()) continue;
    probe_now(*m, now_ms);
    return;
  }
}

void Membership::probe_timeouts(std::uint64_t now_ms) {
  for (std::size_t i = 0; i < probes_.size();) {
    Probe& p = probes_[i];
    Member* const m = get(p.node);
    if (m == nullptr || !m->present()) {
      probes_[i] = probes_.back();
      probes_.pop_back();
      continue;
    }
    if (!p.helped && now_ms - p.sent_ms >= knobs_.answer_ms) {
      p.helped = true;
      NodeId last = p.node;
      for (std::uint32_t h = 0; h < std::min(knobs_.helpers, present_ - 1); ++h) {
        const NodeId helper = random_present(p.node);
        if (helper == 0 || helper == last) continue;
        last = helper;
        Packet ask_for = make(Type::PingRequest, p.node, p.token);
        ask_for.records.push_back(m->record);
        send(find(helper)->record.address, std::move(ask_for));
      }
      // And once more directly: the packet alone may have been lost.
      send(m->record.address, make(Type::Ping, p.node, p.token));
    }
    if (now_ms - p.sent_ms < patience()) {
      ++i;
      continue;
    }
    ++counters_.unanswered;
    if (m->record.state == State::Alive) become(*m, State::Suspect, now_ms);
    probes_[i] = probes_.back();
    probes_.pop_back();
  }
}

void Membership::judge_suspects(std::uint64_t now_ms) {
  const std::uint64_t usual = suspect_time();
  const bool ask_again = now_ms >= next_question_ms_;
  if (ask_again) next_question_ms_ = now_ms + knobs_.period_ms;
  std::erase_if(suspects_, [&](NodeId node) {
    Member* const m = get(node);
    if (m == nullptr || m->record.state != State::Suspect) return true;
    std::uint64_t deadline = m->since_ms + usual;
    bool doubted = false;
    for (const auto& [other, until] : deadlines_)
      if (other == node) {
        deadline = std::min(deadline, until);
        doubted = true;
      }
    // Its objection may not have come this way.  Whoever doubts it has asked it by himself.
    if (now_ms >= deadline && !m->asked && !doubted) {
      m->asked = true;
      m->verdict_ms = now_ms + patience();
      probe_now(*m, now_ms);
    }
    if (now_ms < std::max(deadline, m->verdict_ms)) {
      // It is asked again meanwhile, by some of all who suspect it.
      if (ask_again && !m->asked && below(count()) < kAskers) probe_now(*m, now_ms);
      return false;
    }
    become(*m, State::Dead, now_ms);
    return true;
  });
  std::erase_if(deadlines_, [&](const auto& d) {
    const Member* const m = find(d.first);
    return m == nullptr || m->record.state != State::Suspect;
  });
}

// A partition heals when somebody asks those it has lost.  The longer ago, the rarer.
void Membership::visit_the_dead(std::uint64_t now_ms) {
  if (now_ms < next_visit_ms_) return;
  next_visit_ms_ = now_ms + std::clamp((now_ms - died_ms_) / 4, kVisitLeastMs, kVisitMostMs);
  if (members_.size() == present_) return;
  const std::size_t start = below(members_.size());
  for (std::size_t i = 0; i < members_.size(); ++i) {
    const Member& m = members_[(start + i) % members_.size()];
    if (m.record.state != State::Dead) continue;
    Packet p = make(Type::Ping, m.record.node, next_token_++);
    p.records.push_back(m.record);
    send(m.record.address, std::move(p));
    break;
  }
  if (now_ms < next_forget_ms_) return;
  next_forget_ms_ = now_ms + 10'000;
  std::vector<NodeId> old;
  for (const Member& m : members_) {
    const std::uint64_t keep = m.record.state == State::Left ? knobs_.forget_left_ms : knobs_.forget_ms;
    if (!m.present() && now_ms - m.since_ms > keep) old.push_back(m.record.node);
  }
  for (const NodeId node : old) drop(node);
}

void Membership::send_sync(NodeId with, NodeId from_node, std::uint64_t now_ms) {
  const Member* const m = find(with);
  if (m == nullptr) return;
  sync_with_ = with;
  sync_until_ms_ = now_ms + kSyncPatienceMs;
  Packet p = make(Type::Sync, from_node, next_token_++);
  p.buckets.assign(buckets_.begin(), buckets_.end());
  send(m->record.address, std::move(p));
}

/// Tables that differ although nothing is on its way any more are made alike.
void Membership::maybe_sync(NodeId with, const Packet& seen, std::uint64_t now_ms) {
  if (sync_with_ != 0 && now_ms < sync_until_ms_) return;
  sync_with_ = 0;
  if (seen.digest == digest_) return;
  // Somebody who knows more when we are new, or many more.  Otherwise news may still be on their way.
  const bool young = now_ms - started_ms_ < kYoungMs;
  const bool behind = seen.members > count() + (young ? 0 : count() / 8 + 1);
  if (!behind && (now_ms < next_sync_ms_ || now_ms - changed_ms_ < 2 * knobs_.period_ms)) return;
  if (!behind) next_sync_ms_ = now_ms + knobs_.sync_again_ms + below(knobs_.sync_again_ms / 4 + 1);
  ++counters_.syncs;
  send_sync(with, 0, now_ms);
}

std::uint64_t Membership::tick(std::uint64_t now_ms) {
  if (!started_) {
    started_ = true;
    started_ms_ = now_ms;
    changed_ms_ = died_ms_ = now_ms;
    next_announce_ms_ = now_ms;
    next_probe_ms_ = now_ms + below(knobs_.period_ms);
    next_visit_ms_ = next_forget_ms_ = now_ms + kVisitLeastMs;
  }
  if (leaving_) return now_ms + knobs_.period_ms;
  announce(now_ms);
  call_seeds(now_ms);
  probe_timeouts(now_ms);
  judge_suspects(now_ms);
  probe(now_ms);
  visit_the_dead(now_ms);
  if (sync_with_ != 0 && now_ms >= sync_until_ms_) sync_with_ = 0;
  std::erase_if(helped_, [now_ms](const Helped& h) { return now_ms >= h.until_ms; });
  std::uint64_t next = next_probe_ms_;
  if (!probes_.empty() || !suspects_.empty()) next = std::min(next, now_ms + 100);
  if (knobs_.multicast) next = std::min(next, next_announce_ms_);
  for (const Seed& s : seeds_) next = std::min(next, s.next_ms);
  return std::max(next, now_ms + 1);
}

}  // namespace hpcvmm::net::discovery
