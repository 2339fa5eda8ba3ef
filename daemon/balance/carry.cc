// Decisions, and what is done about them.
#include <algorithm>
#include <cerrno>
#include <cmath>

#include "balancer/cost.hh"
#include "balancer/record/record.hh"
#include "balancer/rules.hh"
#include "daemon/balance/balance.hh"
#include "daemon/balance/codec.hh"
#include "daemon/facts.hh"
#include "daemon/log.hh"

namespace hpcvmm::daemon {

namespace local = wire::local;
using balancer::Decision;
using balancer::Process;
using balancer::Reason;
using nlohmann::json;

namespace {

constexpr std::uint64_t kMoveSilenceMs = 60'000;
/// A process whose move has failed is left alone so long.
constexpr double kFailedS = 5;
/// ... and one that the destination had no room for.
constexpr double kRefusedS = 1;
/// CPU time and waiting that a start on another node costs: a remote, and the program's first pages.
constexpr double kStartElsewhereS = 0.020;
/// Of a program that has never ended here; most are short.
constexpr double kUnknownS = 0.1;

bool must_leave(Reason r) { return r != Reason::LowerCost && r != Reason::Placed && r != Reason::Stay; }

}  // namespace

// --- deciding

void Balance::decide() {
  again_ = false;
  if (stopped_) return;
  const OwnedView v = make_view();
  if (v.processes.empty()) return;
  const std::vector<Decision> moves = balancer::decide(v.view, settings_.policy, settings_.knobs);
  if (!settings_.record.empty()) {
    if (record_ == nullptr || recorded_to_ != settings_.record) {
      if (record_ != nullptr) std::fclose(record_);
      record_ = std::fopen(settings_.record.c_str(), "ae");
      recorded_to_ = settings_.record;
      if (record_ == nullptr) {
        log::warning("decisions are not recorded", {{"file", settings_.record}});
        settings_.record.clear();
      }
    }
    if (record_ != nullptr) {
      const std::string line = balancer::record::line(v.view, settings_.policy, settings_.knobs, moves);
      std::fputs((line + "\n").c_str(), record_);
      std::fflush(record_);
    }
  }
  full_ = in_flight_ + moves.size() >= settings_.knobs.max_out;
  for (const Decision& d : moves) {
    ++counters_.decisions;
    carry(d);
  }
}

void Balance::carry(const Decision& d) {
  log::debug("decision", {{"what", balancer::describe(d)}});
  for (auto& [pid, p] : own_)
    if (process_id(config_.node, pid) == d.process) return carry_own(p, d);
  for (auto& [id, g] : guests_)
    if (process_id(g.home, g.home_pid) == d.process) return carry_guest(id, g, d);
}

void Balance::place_one(OwnProcess& p, Node to) {
  Process copy;
  const Session* const s = parts_.sessions.find(p.session);
  if (s == nullptr) return;
  copy = describe_own(p, *s);
  copy.mask = {};
  placed_.push_back({to, copy, now_s_});
}

void Balance::start_move(Session& s, OwnProcess& p, Node to, double stay_cost, const std::string& why,
                         const Answer& answer) {
  const pid_t pid = p.pid;
  p.moving = true;
  p.goes_to = to;
  ++p.ordered;
  p.stay_cost = stay_cost;
  p.why = why;
  if (to != config_.node) place_one(p, to);
  ++counters_.moves;
  Request r;
  r.op = Request::Op::Migrate;
  r.pid = pid;
  r.to = to == config_.node ? 0 : to;
  parts_.moves.start(s, r, 0, now_ms_, [this, pid, answer](const json& j, bool final) {
    if (final) {
      if (const auto found = own_.find(pid); found != own_.end()) {
        OwnProcess& moved = found->second;
        moved.moving = false;
        moved.goes_to = 0;
        moved.track.arrive(now_s_);
        if (!j.value("ok", false)) {
          ++counters_.refused;
          moved.not_before_s = now_s_ + (j.value("code", "") == "EBUSY" ? kRefusedS : kFailedS);
          moved.why += "; not moved: " + j.value("error", std::string());
        }
      }
    }
    answer(j, final);
  });
}

void Balance::carry_own(OwnProcess& p, const Decision& d) {
  Session* const s = parts_.sessions.find(p.session);
  if (s == nullptr || p.moving) return;
  ++in_flight_;
  const std::string why = std::string(balancer::name(d.reason));
  const double cost = must_leave(d.reason) ? INFINITY : d.stay_cost;
  start_move(*s, p, d.to, cost, why, [this](const json&, bool final) {
    if (!final) return;
    --in_flight_;
    again_ = full_;
  });
}

void Balance::carry_guest(SessionId id, GuestProcess& g, const Decision& d) {
  ++in_flight_;
  g.moving = true;
  if (d.to != g.home) {
    Process copy = describe_guest(g);
    copy.mask = {};
    placed_.push_back({d.to, copy, now_s_});
  }
  Request r;
  r.op = Request::Op::Move;
  r.pid = g.home_pid;
  r.to = d.to == g.home ? 0 : d.to;
  r.set = json{{"why", std::string(balancer::name(d.reason))},
               {"must", must_leave(d.reason)},
               {"stay_cost", std::isfinite(d.stay_cost) ? d.stay_cost : 1e9}}
              .dump();
  ++counters_.moves;
  parts_.rpc.ask(g.home, request_text(r), kMoveSilenceMs,
                 [this, id](Rpc::Kind kind, const std::string& text) {
                   if (kind == Rpc::Kind::Progress) return;
                   --in_flight_;
                   again_ = full_;
                   const auto found = guests_.find(id);
                   if (found == guests_.end()) return;
                   found->second.moving = false;
                   const json j = json::parse(text, nullptr, false);
                   if (!j.is_object() || !j.value("ok", false))
                     found->second.not_before_s = now_s_ + kFailedS;
                 });
}

void Balance::handle_move(const Request& r, Session& s, const Answer& answer) {
  const auto found = own_.find(s.pid);
  if (found == own_.end()) return answer(refusal(ESRCH, "no such process"), true);
  OwnProcess& p = found->second;
  const json how = json::parse(r.set, nullptr, false);
  const bool must = how.is_object() && how.value("must", false);
  if (s.state.where != r.asker) return answer(refusal(ESTALE, "the process does not run there"), true);
  if (p.orders.locked && !must) return answer(refusal(EPERM, "the process is locked"), true);
  if (p.moving) return answer(refusal(EBUSY, "the process is being moved"), true);
  // The node that asks goes by orders that may have changed since; whoever moves on passes through here, too.
  const bool brought = how.is_object() && how.value("why", "") == balancer::name(Reason::Brought);
  if (brought && (settings_.orders & balancer::kBring) == 0)
    return answer(refusal(EBUSY, "nobody is being brought home any more"), true);
  if (draining() && !must) return answer(refusal(EBUSY, "its home is being drained"), true);
  const double cost = must ? INFINITY : how.value("stay_cost", 0.0);
  if (r.to == 0 && !must) {
    // Home takes its own back whatever it costs, but not for a gain that is none any more: others have come
    // first.
    Process back = describe_own(p, s);
    back.cpu_use = use_elsewhere(p);
    if (balancer::cost_of_adding(own_load(), back, settings_.knobs) +
            balancer::move_cost(back, settings_.knobs) >=
        cost)
      return answer(refusal(EBUSY, "its home is not cheaper any more"), true);
  }
  start_move(s, p, r.to == 0 ? config_.node : r.to, cost, how.value("why", std::string("asked")), answer);
}

Node Balance::choose(const Session& s) {
  const auto found = own_.find(s.pid);
  const Node at = s.state.where != 0 ? s.state.where : config_.node;
  if (found == own_.end()) return at;
  const OwnedView v = make_view();
  Process p = describe_own(found->second, s);
  if (at != config_.node) p.cpu_use = use_elsewhere(found->second);
  p.cpu_use = std::max(p.cpu_use, 0.1F);
  Node best = at;
  double best_cost = INFINITY;
  const auto try_node = [&](const balancer::NodeLoad& n) {
    if (n.node != at && balancer::may_enter(n, p, now_s_, settings_.knobs) != balancer::Forbidden::Nothing)
      return;
    const double cost = (n.node == at ? balancer::cost_of_keeping(n, p, settings_.knobs)
                                      : balancer::cost_of_adding(n, p, settings_.knobs) +
                                            balancer::move_cost(p, settings_.knobs)) +
                        balancer::distance_cost(n, p, settings_.knobs, &v.view.own);
    if (cost >= best_cost) return;
    best = n.node;
    best_cost = cost;
  };
  try_node(v.view.own);
  for (const balancer::NodeLoad& n : v.others) try_node(n);
  return best;
}

// --- beginning and ending

Node Balance::on_register(const Session& s, const local::Register& m, bool same_process) {
  if (s.role != local::Role::Deputy) return 0;
  // An exec may close the old connection before the new one is there.
  same_process = same_process || m.keeps != 0;
  OwnProcess p;
  if (const auto before = parting_.find(s.pid); same_process && before != parting_.end()) {
    p = std::move(before->second);
    parting_.erase(before);
    p.forked = false;
  } else {
    p.forked = m.forked != 0;
    const auto parent = own_.find(m.parent);
    const auto late = parting_.find(m.parent);
    if (const OwnProcess* const from = parent != own_.end()     ? &parent->second
                                       : late != parting_.end() ? &late->second
                                                                : nullptr) {
      p.attributes = from->attributes;
      p.bound = from->bound;
    }
  }
  if (m.settings.given != 0) p.attributes = attributes_of(m.settings);
  p.session = s.id;
  p.pid = s.pid;
  p.exe = s.exe;
  p.rss_mib = 0;  // of what it was before
  p.cpu_base_us = same_process ? process_facts(s.pid).cpu_us + s.state.remote_cpu_us : 0;
  p.remote_base_us = s.state.remote_cpu_us;
  p.calls = p.away = p.kib = p.transfers = CallRate();
  p.way = CallTime();
  p.stated = false;
  const Profile* const known = profiles_.find(p.exe, p.forked);
  p.track = Track(now_s_, known != nullptr ? known->assumed_use() : 1);
  p.home_share = known != nullptr ? known->home_share() : 1;
  p.report = {};
  p.told = 0;
  p.moving = false;
  p.goes_to = 0;
  p.ended_s = 0;
  p.orders = narrowed(p.attributes, p.bound, config_.node);
  const Node start_on = place(p, s, m);
  if (start_on != 0 && start_on != config_.node) p.goes_to = start_on;
  const pid_t pid = s.pid;
  own_[pid] = std::move(p);
  if (start_on != 0 && start_on != config_.node) place_one(own_[pid], start_on);
  return start_on;
}

Node Balance::place(OwnProcess& p, const Session& s, const local::Register& m) {
  if (m.fixed != 0) {
    p.why = "a person named node " + std::to_string(m.wants);
    return 0;
  }
  const bool ordered = p.orders.run_on != 0 || p.orders.home_only;
  // Where balance is off, a process stays with its parent and where it was.
  if (settings_.policy == balancer::Policy::Static && !ordered) return 0;
  // Bound to CPUs of other nodes, or locked where it was.
  const auto has = [&p](Node n) { return std::find(p.bound.begin(), p.bound.end(), n) != p.bound.end(); };
  const Node bound_to = p.bound.empty() || has(config_.node) ? balancer::kNoNode
                        : has(m.wants)                       ? m.wants
                                                             : p.bound.front();
  if (const Node to = bound_to != balancer::kNoNode ? bound_to
                      : p.orders.locked             ? m.wants
                                                    : balancer::kNoNode;
      to != balancer::kNoNode) {
    p.stay_cost = INFINITY;
    p.why = bound_to != balancer::kNoNode ? "bound to CPUs of this node" : "locked";
    return to;
  }
  Process q;
  q.id = process_id(config_.node, s.pid);
  q.home = config_.node;
  put_attributes(p.orders, q);
  double expected_s = kUnknownS;
  const Profile* const known = profiles_.find(p.exe, p.forked);
  if (known != nullptr) {
    expected_s = known->cpu_s;
    q.home_calls_ps = static_cast<float>(known->went_home_ps());
    q.round_trip_s = way_.seconds();
  }
  const bool mosix = settings_.policy == balancer::Policy::Mosix;
  if (mosix && !ordered && known != nullptr && expected_s < Profiles::kShortS) {
    p.why = "starts here: a short program";
    return config_.node;
  }
  if (mosix && !ordered && p.forked && known == nullptr) {
    p.why = "starts here: a child of fork, its memory is here";
    return config_.node;
  }
  const OwnedView v = make_view();
  const Decision d = balancer::place(v.view, q, settings_.policy, settings_.knobs, random_, turn_);
  p.stay_cost = ordered || !mosix ? INFINITY : d.stay_cost;
  if (!d.moves()) {
    p.why = "starts here: nowhere is cheaper";
    return config_.node;
  }
  const double weight = balancer::urgency(0, settings_.knobs) * q.cpu_use;
  if (mosix && !ordered && std::isfinite(d.stay_cost) &&
      d.stay_cost - d.best_cost < weight * kStartElsewhereS / std::max(expected_s, 1e-3)) {
    p.why = "starts here: too short for what a start elsewhere costs";
    return config_.node;
  }
  ++counters_.placements;
  p.why = "placed on node " + std::to_string(d.to) + ": " +
          std::string(d.reason == Reason::Placed ? "lower cost" : balancer::name(d.reason));
  return d.to;
}

void Balance::bind(const Session& s, std::vector<Node> nodes) {
  const auto found = own_.find(s.pid);
  if (found == own_.end() || found->second.bound == nodes) return;
  OwnProcess& p = found->second;
  p.bound = std::move(nodes);
  p.orders = narrowed(p.attributes, p.bound, config_.node);
  if (p.told != 0) parts_.outbox.send(p.told, guest_message(p, s));
}

void Balance::on_state(const Session& s) {
  const auto found = own_.find(s.pid);
  if (found == own_.end() || s.role != local::Role::Deputy) return;
  OwnProcess& p = found->second;
  const Node where = s.state.where != 0 ? s.state.where : config_.node;
  if (s.state.cantmove[0] != 0 && p.goes_to != 0) p.cannot_move_s = now_s_;
  // A placement has ended in it or without it; a move says so by MoveDone.
  if (!p.moving && p.goes_to != 0) {
    if (where == config_.node && p.goes_to != config_.node) p.why += "; refused there";
    p.goes_to = 0;
    p.track.arrive(now_s_);
  }
  if (where == config_.node) {
    p.remote_base_us = s.state.remote_cpu_us;
    if (p.report.cpu_use_milli != 0) p.track.come_back(now_s_, use_elsewhere(p));
    p.report = {};
    p.told = 0;
  }
  p.stated = true;
  learn_calls(p, s);
}

void Balance::on_gone(const Session& s) {
  if (s.role != local::Role::Deputy) {
    const auto guest = guests_.find(s.id);
    const Node home = guest != guests_.end() ? guest->second.home : 0;
    guests_.erase(s.id);
    if (home != 0) tell_home(home);
    again_ = again_ || full_;
    return;
  }
  const auto found = own_.find(s.pid);
  if (found == own_.end() || found->second.session != s.id) return;
  OwnProcess p = std::move(found->second);
  own_.erase(found);
  learn_program(p, s);
  std::erase_if(placed_, [&](const Placed& q) { return q.process.id == process_id(config_.node, s.pid); });
  p.ended_s = now_s_;
  parting_[s.pid] = std::move(p);
}

// --- between nodes

peer::Guest Balance::guest_message(const OwnProcess& p, const Session& s) const {
  peer::Guest m;
  const Process d = describe_own(p, s);
  m.pid = p.pid;
  m.cpu_used_ms = static_cast<std::uint64_t>(d.cpu_used_s * 1e3);
  m.moves = d.moves;
  m.cpu_use_milli = static_cast<std::uint32_t>(d.cpu_use * 1e3F);
  m.working_set_mib = static_cast<std::uint32_t>(d.working_set_mib);
  put_habits(d, m);
  put_attributes(p.orders, m);
  return m;
}

void Balance::before_open(const Session& s, Node to) {
  const auto found = own_.find(s.pid);
  if (found == own_.end()) return;
  OwnProcess& p = found->second;
  peer::Guest m = guest_message(p, s);
  m.automatic = p.goes_to == to ? 1 : 0;
  if (m.automatic != 0 && std::isfinite(p.stay_cost))
    m.stay_cost_nano = static_cast<std::uint64_t>(std::clamp(p.stay_cost, 0.0, 1e9) * 1e9);
  p.report = {};
  p.remote_base_us = s.state.remote_cpu_us;
  p.told = to;
  p.told_calls = calls_ps(p, s);
  p.told_way = p.way.seconds();
  parts_.outbox.send(to, m);
}

/// Where it runs, its rate of calls home and what they cost count in the next decision.
void Balance::tell_runner(OwnProcess& p, const Session& s) {
  if (p.told == 0 || p.told != s.state.where) return;
  const float rate = calls_ps(p, s);
  const float way = p.way.seconds();
  if (std::abs(rate - p.told_calls) < std::max(50.0F, 0.25F * p.told_calls) &&
      std::abs(way - p.told_way) < std::max(20e-6F, 0.25F * p.told_way))
    return;
  p.told_calls = rate;
  p.told_way = way;
  parts_.outbox.send(p.told, guest_message(p, s));
}

void Balance::on_guest(Node from, const peer::Guest& m) {
  constexpr std::size_t kMostPending = 4096;
  for (auto& [id, g] : guests_) {
    if (g.home != from || g.home_pid != m.pid) continue;
    g.attributes = attributes_of(m);
    learn_habits(g, m);
  }
  if (pending_.size() < kMostPending) pending_[{from, m.pid}] = {m, now_s_};
}

std::string Balance::admit(Node from, const peer::OpenRequest& m) {
  const auto found = pending_.find({from, m.pid});
  Process p;
  p.id = process_id(from, m.pid);
  p.home = from;
  double stay_cost = INFINITY;
  bool automatic = false;
  Attributes attributes;
  if (found != pending_.end()) {
    const peer::Guest& g = found->second.guest;
    attributes = attributes_of(g);
    p.cpu_use = static_cast<float>(g.cpu_use_milli / 1e3);
    p.cpu_used_s = static_cast<float>(static_cast<double>(g.cpu_used_ms) / 1e3);
    p.working_set_mib = static_cast<float>(g.working_set_mib);
    GuestProcess habits;
    habits.home = from;
    learn_habits(habits, g);
    put_habits(habits, p);
    p.partners = {};
    p.kind = attributes.kind;
    automatic = g.automatic != 0;
    if (g.stay_cost_nano != peer::kMustLeave) stay_cost = static_cast<double>(g.stay_cost_nano) / 1e9;
  }
  const balancer::NodeLoad own = own_load();
  balancer::Forbidden why = balancer::Forbidden::Nothing;
  if (automatic) {
    why = reservations_.ask(own, p, stay_cost, now_s_, settings_.knobs);
  } else if ((own.orders & (balancer::kDrain | balancer::kExpel | balancer::kBlock)) != 0) {
    why = balancer::Forbidden::Blocked;  // a person's order opens every other door
  }
  if (why == balancer::Forbidden::Nothing) return {};
  ++counters_.refused;
  send_load(from, false);
  return "the node refuses: " + std::string(balancer::name(why));
}

void Balance::on_admitted() { sync_guests(); }

}  // namespace hpcvmm::daemon
