// Measuring, gossip, and the view that decisions are made from; carry.cc decides, requests.cc answers people.
#include "daemon/balance/balance.hh"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <ctime>
#include <unordered_set>

#include "balancer/cost.hh"
#include "daemon/balance/codec.hh"
#include "daemon/balance/speed.hh"
#include "daemon/facts.hh"
#include "daemon/log.hh"

namespace hpcvmm::daemon {

namespace local = wire::local;
using balancer::NodeLoad;
using balancer::Process;

namespace {

constexpr double kLookS = 0.25;
/// Processes whose threads are looked at each time, at most: 20 us each.
constexpr std::size_t kMostLooks = 256;
/// A placement or move counts as load of its node until that node's own word is younger than this.
constexpr double kPlacedS = 10;
constexpr double kNewsS = 0.5;
/// What a process has said of not being able to move is believed so long.
constexpr double kCannotMoveS = 30;
constexpr double kPartingS = 2;
constexpr double kPendingS = 30;
/// Urgency of work that is not ours and whose age nobody knows: of a process that has run for 8 s.
constexpr double kOtherAgeS = 8;
/// A guest with that share of its memory has arrived: of some pages nothing is ever sent.
constexpr float kMostOfIt = 0.7F;
constexpr double kMib = 1024.0 * 1024.0;
/// 2020-01-01: a restarted node's epoch is larger than its former life's, in 32 bits.
constexpr std::time_t kEpochBegin = 1'577'836'800;

}  // namespace

Balance::Balance(const Config& config, Parts parts)
    : config_(config),
      parts_(parts),
      meter_({read_groups(config.run_dir + "/groups"), config.shared_machine, config.memory}),
      random_(static_cast<std::uint64_t>(std::time(nullptr)) * 65537 + config.node) {
  settings_.policy = policy_of(config.policy).value_or(balancer::Policy::Mosix);
  settings_.record = config.record;
}

Balance::~Balance() {
  if (record_ != nullptr) std::fclose(record_);
}

void Balance::start(std::uint64_t now_ms) {
  now_ms_ = now_ms;
  now_s_ = static_cast<double>(now_ms) / 1e3;
  sampled_s_ = now_s_;
  ::mkdir(config_.state_dir.c_str(), 0755);
  state_file_ = config_.state_dir + "/settings.json";
  if (const std::string wrong = read_settings(state_file_, settings_); !wrong.empty())
    log::warning("what people had set before is not known", {{"why", wrong}});
  const std::string cache = config_.speed_file.empty() ? config_.state_dir + "/speed" : config_.speed_file;
  measured_speed_ = known_speed(cache);
  base_.node = config_.node;
  base_.epoch = static_cast<std::uint32_t>(std::max<std::time_t>(1, std::time(nullptr) - kEpochBegin));
  sample(0);
  log::info("balancer",
            {{"policy", std::string(balancer::name(settings_.policy))}, {"speed", measured_speed_}});
}

void Balance::tick(std::uint64_t now_ms, std::uint64_t network_bytes) {
  now_ms_ = now_ms;
  now_s_ = static_cast<double>(now_ms) / 1e3;
  if (now_s_ >= next_look_s_) look();
  tell_homes();
  if (now_s_ >= next_sample_s_) {
    sample(network_bytes);
    learn_members();
    gossip(false);
    report_guests();
    answer_waiters();
    decide();
  } else if (again_) {
    decide();
  }
}

// --- measuring

bool Balance::runs_here(const OwnProcess& p, const Session& s) const {
  return (s.state.where == 0 || s.state.where == config_.node) &&
         (p.goes_to == 0 || p.goes_to == config_.node);
}

std::uint64_t Balance::used_us(const OwnProcess& p, const Session& s) const {
  const std::uint64_t away = std::max(s.state.remote_cpu_us, p.remote_base_us + p.report.cpu_us);
  const std::uint64_t all = p.track.cpu_us() + away;
  return all > p.cpu_base_us ? all - p.cpu_base_us : 0;
}

double Balance::used_s(const OwnProcess& p, const Session& s) const {
  const double speed = settings_.speed > 0 ? settings_.speed : measured_speed_;
  return static_cast<double>(used_us(p, s)) / 1e6 * speed;
}

void Balance::look() {
  next_look_s_ = now_s_ + kLookS;
  std::unordered_set<pid_t> ours;
  unsigned runnable = 0;
  std::size_t looks = 0;
  const auto one = [&](pid_t pid, Track& track) {
    if (!track.active() || looks >= kMostLooks) return track.look_away();
    ++looks;
    const unsigned n = runnable_threads(pid);
    track.look(n);
    runnable += n;
  };
  for (auto& [pid, p] : own_) {
    const Session* const s = parts_.sessions.find(p.session);
    const bool here = s != nullptr && runs_here(p, *s);
    // The deputy of a process that is elsewhere is a thread like others: it works here for the calls.
    if (here || starts_elsewhere(p)) ours.insert(pid);
    if (here) one(pid, p.track);
  }
  for (auto& [id, g] : guests_) {
    ours.insert(g.pid);
    one(g.pid, g.track);
  }
  meter_.look(ours, runnable);
}

void Balance::sample(std::uint64_t network_bytes) {
  const double elapsed = std::max(now_s_ - sampled_s_, 1e-3);
  sampled_s_ = now_s_;
  next_sample_s_ = now_s_ + settings_.decay.interval_s;
  sync_guests();
  io_bytes_ = 0;
  double busy = 0;
  for (auto& [pid, p] : own_) {
    const Session* const s = parts_.sessions.find(p.session);
    if (s == nullptr) continue;
    const ProcessFacts facts = process_facts(pid);
    p.rss_mib = static_cast<float>(static_cast<double>(facts.resident) / kMib);
    p.track.sample(now_s_, facts.cpu_us, decay_of(p.attributes.decay), settings_.decay);
    busy += p.track.busy();
    io_bytes_ += new_io(p, *s);
    // What it says before it has gone where it is sent would be taken for a refusal.
    if (p.moving || p.goes_to != 0) continue;
    // The others' counters have not changed, and they are not to be woken.
    const bool away_busy = !runs_here(p, *s) && p.report.cpu_use_milli > 50;
    if ((p.track.active() && p.track.busy() > 0.01F) || away_busy)
      parts_.sessions.send(*parts_.sessions.find(p.session),
                           local::Header{local::Type::Report, local::kVersion, sizeof(local::Header)});
  }
  for (auto& [id, g] : guests_) {
    const ProcessFacts facts = process_facts(g.pid);
    g.track.sample(now_s_, facts.cpu_us, decay_of(g.attributes.decay), settings_.decay);
    g.working_set_mib = std::max(static_cast<float>(static_cast<double>(facts.resident) / kMib), 1.0F);
    busy += g.track.busy();
    if (g.announced_mib > 0 && g.working_set_mib >= kMostOfIt * g.announced_mib) {
      g.announced_mib = 0;
      reservations_.settle(process_id(g.home, g.home_pid));
    }
  }
  find_partners();
  std::erase_if(parting_, [this](const auto& p) { return now_s_ - p.second.ended_s > kPartingS; });
  std::erase_if(pending_, [this](const auto& p) { return now_s_ - p.second.at_s > kPendingS; });
  const NodeFacts facts = meter_.sample(now_s_);
  const double offered = config_.cpus > 0 ? config_.cpus : usable_cpus();
  const double whole = std::max(1.0, std::ceil(offered));
  const double speed = settings_.speed > 0 ? settings_.speed : measured_speed_;
  base_.cpus = static_cast<std::uint16_t>(std::min(whole, 65535.0));
  // Half a CPU is a CPU of half the speed: one thread gets no more of it.
  base_.speed = static_cast<float>(speed * offered / whole);
  base_.measured_s = now_s_;
  base_.total_mib = static_cast<float>(std::max(1.0, facts.total_mib));
  base_.free_mib = static_cast<float>(facts.free_mib);
  base_.paging = static_cast<float>(facts.paging);
  base_.utilisation =
      static_cast<float>(std::min(1.0, facts.machine_busy >= 0 ? facts.machine_busy : busy / offered));
  base_.network_bytes_ps = static_cast<float>(
      static_cast<double>(network_bytes - std::min(network_bytes, network_bytes_)) / elapsed);
  network_bytes_ = network_bytes;
  base_.io_bytes_ps = static_cast<float>(io_bytes_ / elapsed);
  base_.orders = settings_.orders;
  base_.owner_active = settings_.owner_active.value_or(facts.owner_there);
  // Home's hpcd carries the calls of all who are away: in a build a sixth of half a CPU.
  other_runnable_ = facts.other_runnable + facts.own_busy / offered * whole;
  constexpr double kSurely = 0.5;
  crowded_ = own_load().run_queue > whole + kSurely;
}

void Balance::sync_guests() {
  for (const auto& [id, r] : parts_.remotes.all()) {
    if (guests_.contains(id) || r.home_circuit == 0) continue;
    GuestProcess g;
    g.pid = r.pid;
    g.home = r.home;
    g.home_pid = r.home_pid;
    g.track = Track(now_s_, 1);
    if (const auto found = pending_.find({r.home, r.home_pid}); found != pending_.end()) {
      const peer::Guest& m = found->second.guest;
      g.attributes = attributes_of(m);
      g.track = Track(now_s_, static_cast<float>(m.cpu_use_milli / 1e3));
      learn_habits(g, m);
      g.cpu_before_ms = m.cpu_used_ms;
      g.moves = m.moves + 1;
      g.announced_mib = g.working_set_mib = static_cast<float>(m.working_set_mib);
    }
    reservations_.land(process_id(r.home, r.home_pid), now_s_, settings_.knobs);
    guests_.emplace(id, std::move(g));
  }
  std::erase_if(guests_, [this](const auto& g) { return !parts_.remotes.all().contains(g.first); });
}

NodeLoad Balance::own_load() const {
  NodeLoad load = base_;
  double queue = other_runnable_;
  double urgency = other_runnable_ * balancer::urgency(kOtherAgeS, settings_.knobs);
  const auto add = [&](const Process& p) {
    queue += p.cpu_use;
    urgency += p.cpu_use * balancer::urgency(p.cpu_used_s, settings_.knobs);
  };
  // Who starts elsewhere is load there already, but until it has gone its start is work to be done here; who
  // is on its way home is load as soon as that is decided.
  for (const auto& [pid, p] : own_) {
    const Session* const s = parts_.sessions.find(p.session);
    if (s == nullptr) continue;
    const bool here = runs_here(p, *s) || starts_elsewhere(p);
    if (!here && !(p.moving && p.goes_to == config_.node)) continue;
    Process q = describe_own(p, *s);
    if (!here) q.cpu_use = use_elsewhere(p);
    add(q);
  }
  for (const auto& [id, g] : guests_) add(describe_guest(g));
  load.run_queue = static_cast<float>(queue);
  load.urgency = static_cast<float>(urgency);
  load.measured_s = now_s_;
  return load;
}

Process Balance::describe_own(const OwnProcess& p, const Session& s) const {
  Process out;
  out.id = process_id(config_.node, p.pid);
  out.home = config_.node;
  out.cpu_use = p.track.cpu_use();
  out.cpu_used_s = static_cast<float>(used_s(p, s));
  out.resident_s = static_cast<float>(p.track.resident_s(now_s_));
  // A process comes home and goes back for calls that need it there (a shared mapping, a fork of sharers):
  // that is no fickleness of ours, and must not make its stays longer.
  out.moves = std::min(s.state.migrations, p.ordered + 1);
  out.working_set_mib = p.rss_mib;
  put_habits(p, s, out);
  put_attributes(p.orders, out);
  out.cannot_move = s.state.cantmove[0] != 0 && now_s_ - p.cannot_move_s < kCannotMoveS;
  out.moving = p.moving || p.not_before_s > now_s_;
  return out;
}

Process Balance::describe_guest(const GuestProcess& g) const {
  const double speed = settings_.speed > 0 ? settings_.speed : measured_speed_;
  Process out;
  out.id = process_id(g.home, g.home_pid);
  out.home = g.home;
  out.cpu_use = g.track.cpu_use();
  out.cpu_used_s = static_cast<float>(static_cast<double>(g.cpu_before_ms) / 1e3 +
                                      static_cast<double>(g.track.cpu_us()) / 1e6 * speed);
  out.resident_s = static_cast<float>(g.track.resident_s(now_s_));
  out.moves = std::max(1U, g.moves);
  out.working_set_mib = g.working_set_mib;
  put_habits(g, out);
  put_attributes(g.attributes, out);
  out.moving = g.moving || g.not_before_s > now_s_;
  return out;
}

OwnedView Balance::make_view() {
  OwnedView v;
  v.view.now_s = now_s_;
  v.view.own = reservations_.with_promises(own_load(), now_s_, settings_.knobs);
  v.view.moves_in_flight = in_flight_;
  for (const NodeLoad& n : gossip_.known()) {
    const Member* const m = parts_.members.find(n.node);
    if (m == nullptr || m->state == peer::NodeState::Down || m->state == peer::NodeState::Suspect) continue;
    if (n.epoch != 0) v.others.push_back(n);
  }
  // What has been sent there since it last spoke is load there already.
  std::erase_if(placed_, [this](const Placed& p) { return now_s_ - p.at_s > kPlacedS; });
  for (const Placed& p : placed_)
    for (NodeLoad& n : v.others)
      if (n.node == p.to && n.measured_s < p.at_s + kNewsS)
        n = balancer::with(n, p.process, 1, settings_.knobs);
  for (const auto& [pid, p] : own_)
    if (const Session* const s = parts_.sessions.find(p.session); s != nullptr && runs_here(p, *s))
      v.processes.push_back(describe_own(p, *s));
  for (const auto& [id, g] : guests_) v.processes.push_back(describe_guest(g));
  v.view.others = v.others;
  v.view.processes = v.processes;
  return v;
}

// --- telling others

void Balance::learn_members() {
  for (const Node node : parts_.members.reachable()) {
    const auto known = gossip_.known();
    if (std::any_of(known.begin(), known.end(), [node](const NodeLoad& n) { return n.node == node; }))
      continue;
    // Somebody to talk to, of whom nothing is known: epoch 0 is nobody's.
    NodeLoad n;
    n.node = node;
    n.measured_s = now_s_ - gossip_knobs_.forget_s / 2;
    gossip_.learn(n);
  }
  gossip_.forget(now_s_, gossip_knobs_);
}

void Balance::send_load(Node to, bool answer) {
  const NodeLoad own = reservations_.with_promises(own_load(), now_s_, settings_.knobs);
  balancer::Gossip::Message m = gossip_.message(own, now_s_, random_);
  // Who is known by name only is no news.
  std::uint32_t kept = 0;
  for (std::uint32_t i = 0; i < m.count; ++i)
    if (m.entries[i].epoch != 0) m.entries[kept++] = m.entries[i];
  m.count = kept;
  m.answer = answer;
  const std::vector<std::byte> bytes = peer::bytes_of(to_wire(m));
  if (!parts_.outbox.send_bytes(to, bytes)) return;
  ++counters_.gossip_messages;
  counters_.gossip_bytes += bytes.size();
}

void Balance::gossip(bool now) {
  const NodeLoad own = reservations_.with_promises(own_load(), now_s_, settings_.knobs);
  if (!now && !gossip_.due(own, now_s_, gossip_knobs_)) return;
  const Node to = gossip_.peer(random_);
  if (to == balancer::kNoNode || parts_.members.find(to) == nullptr) return;
  send_load(to, true);
  gossip_.sent(own, now_s_);
}

void Balance::tell(Node node) {
  if ((settings_.orders & balancer::kQuiet) == 0 && parts_.members.find(node) != nullptr)
    send_load(node, false);
}

/// A guest has ended: whoever's it was likely starts the next one, and would take this node for as full as it
/// was a second ago.  At once, and not more than once in a tick.
void Balance::tell_home(Node home) {
  auto& [at_s, again] = told_homes_[home];
  again = at_s == now_s_;
  if (again) return;
  at_s = now_s_;
  tell(home);
}

void Balance::tell_homes() {
  for (auto& [home, told] : told_homes_)
    if (told.again) tell_home(home);
  std::erase_if(told_homes_, [this](const auto& t) { return now_s_ - t.second.at_s > kPlacedS; });
}

void Balance::on_load(Node from, const peer::LoadMessage& m) {
  gossip_.merge(from_wire(m), config_.node, now_s_);
  if (m.head.answer != 0 && (settings_.orders & balancer::kQuiet) == 0) send_load(from, false);
}

void Balance::on_joined(Node node) {
  constexpr std::size_t kSmall = 32;
  learn_members();
  if (parts_.members.all().size() <= kSmall && (settings_.orders & balancer::kQuiet) == 0)
    send_load(node, true);
}

void Balance::on_peer_up(Node node) {
  learn_members();
  // Whoever has just come learns at once whom it may send work to, and we of it.
  if ((settings_.orders & balancer::kQuiet) == 0) send_load(node, true);
}

void Balance::on_peer_down(Node node) {
  gossip_.forget_node(node);
  std::erase_if(placed_, [node](const Placed& p) { return p.to == node; });
  std::erase_if(pending_, [node](const auto& p) { return p.first.first == node; });
}

void Balance::report_guests() {
  std::map<Node, peer::GuestsMessage> by_home;
  for (auto& [id, g] : guests_) {
    peer::GuestReport r;
    r.pid = g.home_pid;
    r.cpu_us = g.track.cpu_us();
    r.rss_kib = static_cast<std::uint32_t>(g.working_set_mib * 1024);
    r.cpu_use_milli = static_cast<std::uint32_t>(g.track.cpu_use() * 1000);
    const bool same =
        r.cpu_us == g.told.cpu_us && r.rss_kib == g.told.rss_kib &&
        std::abs(static_cast<int>(r.cpu_use_milli) - static_cast<int>(g.told.cpu_use_milli)) < 50;
    if (same) continue;
    g.told = r;
    peer::GuestsMessage& m = by_home[g.home];
    m.reports[m.head.count++] = r;
    if (m.head.count < peer::kMostReports) continue;
    parts_.outbox.send_bytes(g.home, peer::bytes_of(m));
    m.head.count = 0;
  }
  for (const auto& [home, m] : by_home)
    if (m.head.count != 0) parts_.outbox.send_bytes(home, peer::bytes_of(m));
}

void Balance::on_guests(Node from, const peer::GuestsMessage& m) {
  for (std::size_t i = 0; i < m.head.count; ++i) {
    const auto found = own_.find(m.reports[i].pid);
    if (found == own_.end()) continue;
    OwnProcess& p = found->second;
    const Session* const s = parts_.sessions.find(p.session);
    if (s == nullptr || s->state.where != from) continue;
    p.report = m.reports[i];
    tell_runner(p, *s);
  }
}

}  // namespace hpcvmm::daemon
