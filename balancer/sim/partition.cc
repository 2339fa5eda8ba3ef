#include "balancer/sim/partition.hh"

#include <algorithm>
#include <cmath>
#include <limits>

#include "balancer/decide.hh"
#include "balancer/rules.hh"

namespace hpcvmm::balancer::sim {

namespace {

constexpr double kInfinite = std::numeric_limits<double>::infinity();
constexpr NodeId kSeeds = 3;  // they never crash

/// Into the second level of the cache: a window's nodes are too many for the first.
template <typename T> void prefetch(const T* at, std::size_t count) {
  constexpr std::size_t kLine = 64;
  for (std::size_t i = 0; i < count * sizeof(T); i += kLine)
    __builtin_prefetch(reinterpret_cast<const char*>(at) + i, 0, 2);
}

constexpr std::size_t kInCache = 500;      // so many nodes fit
constexpr std::size_t kMostFetched = 400;  // more would push each other out

double speed_of_all(const ScaleOptions& o, const Setting& s) {
  double sum = 0;
  for (std::uint32_t i = 0; i < o.nodes; ++i) {
    const NodeLoad l = s.hardware(i);
    sum += double{l.speed} * l.cpus;
  }
  return sum;
}

}  // namespace

Setting::Setting(const ScaleOptions& options)
    : o(options), total_speed(speed_of_all(options, *this)), workload(options, total_speed) {
  for (std::uint32_t i = 0; i < o.nodes; ++i) fastest = std::max(fastest, double{hardware(i).speed});
  for (std::uint32_t i = 0; i < std::min(kSeeds, o.nodes); ++i) {
    seeds.push_back(hardware(i));
    seeds.back().epoch = 1;  // their first life
  }
}

NodeLoad Setting::hardware(std::uint32_t node) const {
  constexpr std::uint16_t kCpus[] = {1, 2, 4, 4, 8};
  constexpr float kSpeeds[] = {0.5F, 1, 1, 1.5F, 2};
  NodeLoad l;
  l.node = node + 1;
  // In turn, not by chance: clusters of all sizes are then alike and can be compared.
  l.cpus = o.heterogeneous ? kCpus[node % 5] : 4;
  l.speed = o.heterogeneous ? kSpeeds[node * 2 % 5] : 1;
  l.total_mib = l.free_mib = 2048.0F * static_cast<float>(l.cpus);
  return l;
}

void Tally::add(const Tally& t) {
  jobs += t.jobs;
  finished += t.finished;
  lost += t.lost;
  placements += t.placements;
  migrations += t.migrations;
  refused += t.refused;
  moved_bytes += t.moved_bytes;
  gossip_messages += t.gossip_messages;
  slowdown_sum += t.slowdown_sum;
  age_sum_ns += t.age_sum_ns;
  age_count += t.age_count;
  most_moves = std::max(most_moves, t.most_moves);
  last_end = std::max(last_end, t.last_end);
  slowdowns.insert(slowdowns.end(), t.slowdowns.begin(), t.slowdowns.end());
}

Partition::Partition(const Setting& setting, Post& post, std::uint32_t index)
    : s_(setting),
      post_(post),
      index_(index),
      latency_(to_ns(setting.o.latency_s)),
      interval_(to_ns(setting.o.gossip.interval_s)),
      enough_(std::min<std::size_t>(Gossip::kKnown, setting.o.nodes - 1)),
      nodes_((setting.o.nodes - index + post.partitions() - 1) / post.partitions()),
      idle_until_(nodes_.size()),
      heard_death_(setting.o.churn_per_hour > 0 ? setting.o.nodes : 0, -1) {
  Random seed(s_.o.seed * 0x9e3779b97f4a7c15 + 1);
  const std::uint64_t run = seed.next();
  for (std::uint32_t i = 0; i < nodes_.size(); ++i) {
    Node& n = nodes_[i];
    const std::uint32_t number = i * post.partitions() + index;
    n.load = s_.hardware(number);
    n.random = Random(Random(run + number * 0xd1342543de82ef95).next());
    n.boot(s_.seeds, 0);
    expect(i, s_.workload.first(number, n.random));
    if (s_.o.churn_per_hour > 0 && number >= kSeeds)
      push(to_ns(n.random.exponential(3600 / s_.o.churn_per_hour)), What::Crash, i);
  }
  ticking_ = static_cast<std::uint32_t>(nodes_.size());
  round_at_ = -interval_;
  next_tick();
}

void Partition::next_tick() {
  if (++ticking_ >= nodes_.size()) {
    ticking_ = 0;
    round_at_ += interval_;
  }
  // Each node ticks once per interval, all spread over it: no queue is needed for them.
  tick_at_ = round_at_ + interval_ * (std::int64_t{ticking_} * post_.partitions() + index_) / s_.o.nodes;
}

void Partition::expect(std::uint32_t i, const Workload::Arrival& arrival) {
  if (arrival.at == kNever) return;
  ++arriving_;
  push(arrival.at, What::Arrive, i, arrival.index);
}

Ns Partition::next() const {
  const Ns event = events_.empty() ? kNever : events_.top().at;
  return std::min({event, tick_at_, earliest_sent_});
}

void Partition::collect() {
  earliest_sent_ = kNever;
  inbox_.clear();
  for (std::uint32_t p = 0; p < post_.partitions(); ++p) {
    post_.to_fill(index_, p).clear();
    const Bag& bag = post_.to_read(p, index_);
    for (const Letter& l : bag.letters) inbox_.push_back({l, &bag});
  }
  std::sort(inbox_.begin(), inbox_.end());
}

/// A large cluster does not fit into a cache, but who has something to do in a window is known before it
/// begins: all of it is fetched at once, instead of waiting for one node after the other.
void Partition::fetch(Ns until) {
  soon_.clear();
  for (std::uint32_t p = 0; p < post_.partitions(); ++p) {
    const Bag& bag = post_.to_read(p, index_);  // lies in the cache of whoever has filled it
    prefetch(bag.gossip.data(), bag.gossip.size());
  }
  for (const Arrived& a : inbox_)
    if (a.letter.to != kNoNode && soon_.size() < kMostFetched) soon_.push_back(place_of(a.letter.to));
  const double until_s = to_s(until);
  const Ns step = interval_ * post_.partitions() / s_.o.nodes;
  std::uint32_t i = ticking_;
  for (Ns at = tick_at_; at < until && soon_.size() < kMostFetched; at += step) {
    if (idle_until_[i] <= until_s) soon_.push_back(i);
    if (++i == nodes_.size()) i = 0;
  }
  for (const std::uint32_t n : soon_) prefetch(&nodes_[n], 1);
  for (const std::uint32_t n : soon_) prefetch(nodes_[n].jobs().data(), nodes_[n].jobs().size());
}

void Partition::run(Ns until) {
  collect();
  if (nodes_.size() > kInCache) fetch(until);
  const auto set_now = [this](Ns at) {
    now_ = at;
    now_s_ = to_s(at);
  };
  std::size_t read_so_far = 0;
  for (;;) {
    const Ns letter = read_so_far < inbox_.size() ? inbox_[read_so_far].letter.at : kNever;
    const Ns event = events_.empty() ? kNever : events_.top().at;
    tick_until(std::min({letter, event, until}));
    if (letter <= event && letter < until) {
      const Arrived& a = inbox_[read_so_far++];
      set_now(letter);
      read(a.letter, *a.bag);
    } else if (event < until) {
      const Event e = events_.top();
      events_.pop();
      set_now(event);
      handle(e);
    } else {
      return;
    }
  }
}

void Partition::tick_until(Ns until) {
  for (; tick_at_ < until; next_tick()) {
    const double at_s = to_s(tick_at_);
    if (idle_until_[ticking_] > at_s) continue;
    now_ = tick_at_;
    now_s_ = at_s;
    tick(ticking_);
  }
}

void Partition::send(Bag& bag, Node& from, NodeId to, Kind kind, std::size_t content, ProcessId job) {
  const Ns at = now_ + latency_;
  earliest_sent_ = std::min(earliest_sent_, at);
  bag.letters.push_back(
      {at, from.load.node, from.letters++, to, kind, static_cast<std::uint32_t>(content), job});
}

void Partition::send_gossip(Node& from, NodeId to, Kind kind, const NodeLoad& own) {
  Bag& bag = bag_for(to);
  bag.gossip.push_back(from.gossip.message(own, now_s_, from.random));
  ++tally_.gossip_messages;
  send(bag, from, to, kind, bag.gossip.size() - 1);
}

void Partition::send_offer(Node& from, NodeId to, Kind kind, const Offer& offer) {
  Bag& bag = bag_for(to);
  bag.offers.push_back(offer);
  send(bag, from, to, kind, bag.offers.size() - 1, offer.job.id);
}

void Partition::read(const Letter& letter, const Bag& bag) {
  if (letter.kind == Kind::HomeDied) return home_died(letter.from);
  const std::uint32_t i = place_of(letter.to);
  Node& n = nodes_[i];
  if (!n.up) return undelivered(letter);
  switch (letter.kind) {
    case Kind::News:
    case Kind::Answer:
      n.gossip.merge(bag.gossip[letter.content], letter.to, now_s_);
      if (n.gossip.news()) wake(i);
      if (n.knows_all_at == kNever && n.gossip.known().size() >= enough_) n.knows_all_at = now_;
      if (letter.kind == Kind::News) send_gossip(n, letter.from, Kind::Answer, n.measured(now_s_, knobs()));
      return;
    case Kind::Ask: wake(i); return answer_ask(n, letter, bag.offers[letter.content]);
    case Kind::Granted: return granted(n, letter);
    case Kind::Refused:
      // The answer says how it is there: the next choice knows better.
      n.gossip.learn(bag.loads[letter.content]);
      return not_granted(n, letter);
    case Kind::Nobody: n.gossip.forget_node(letter.from); return not_granted(n, letter);
    case Kind::Land: return land(i, letter, bag.offers[letter.content]);
    case Kind::HomeDied: return;
  }
}

void Partition::undelivered(const Letter& letter) {
  // Whoever asks notices that nobody answers; that it takes longer than an answer is not simulated.
  if (letter.kind == Kind::Ask)
    send(bag_for(letter.from), node(letter.to), letter.from, Kind::Nobody, 0, letter.job);
  if (letter.kind == Kind::Land) lose(1);
}

void Partition::handle(const Event& e) {
  Node& n = nodes_[e.node];
  switch (e.what) {
    case What::End:
      if (n.ends == e.id) end(e.node);
      return;
    case What::Sent: {
      // Its node may have crashed meanwhile.
      const auto at = std::find_if(n.leaving.begin(), n.leaving.end(),
                                   [&](const Leaving& l) { return l.job.id == e.id; });
      if (at == n.leaving.end()) return;
      --n.in_flight;
      send_offer(n, at->to, Kind::Land, {at->job});
      n.leaving.erase(at);
      return;
    }
    case What::Arrive: arrive(e.node, {e.at, static_cast<std::uint32_t>(e.id)}); return;
    case What::Crash: crash(e.node); return;
    case What::Boot:
      n.boot(s_.seeds, now_s_);
      wake(e.node);
      return;
  }
}

void Partition::gossip(Node& n, const NodeLoad& own) {
  n.gossip.forget(now_s_, s_.o.gossip);
  if (!n.gossip.due(own, now_s_, s_.o.gossip)) return;
  const NodeId peer = n.gossip.peer(n.random);
  if (peer == kNoNode) return;
  send_gossip(n, peer, Kind::News, own);
  n.gossip.sent(own, now_s_);
}

void Partition::sample_age(Node& n) {
  const auto known = n.gossip.known();
  // The mean age from a sample: all of it would cost more than the simulation.
  if (!known.empty() && n.random.below(16) == 0) {
    const std::uint32_t any = n.random.below(static_cast<std::uint32_t>(known.size()));
    tally_.age_sum_ns += to_ns(now_s_ - known[any].measured_s);
    ++tally_.age_count;
  }
}

View Partition::view_of(const Node& n, const NodeLoad& own) {
  View v;
  v.now_s = now_s_;
  v.own = own;
  v.others = n.gossip.known();
  v.moves_in_flight = n.in_flight;
  if (s_.o.oracle) {
    everyone_.clear();
    for (Node& other : nodes_)
      if (&other != &n && other.up) everyone_.push_back(other.measured(now_s_, knobs()));
    v.others = everyone_;
  }
  return v;
}

void Partition::tick(std::uint32_t i) {
  Node& n = nodes_[i];
  if (!n.up) return;
  const NodeLoad own = n.measured(now_s_, knobs());
  if (!s_.o.oracle) {
    gossip(n, own);
    sample_age(n);
  }
  if (!n.jobs().empty() && now_s_ >= n.still_until_s) start_moves(n, own);
  // Its load stays what it is until something comes or goes, and until then nobody is sent away or told.
  const bool still = n.jobs().empty() || n.still_until_s > now_s_;
  if (n.promises.count() == 0 && n.knows_all_at != kNever && still)
    idle_until_[i] =
        std::min(n.gossip.silent_until_s(s_.o.gossip), n.jobs().empty() ? kInfinite : n.still_until_s);
}

}  // namespace hpcvmm::balancer::sim
