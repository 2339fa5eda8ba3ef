// What people ask of the balancer: orders, settings, and why.
#include <algorithm>
#include <array>
#include <cerrno>
#include <cmath>
#include <cstdio>

#include "balancer/cost.hh"
#include "balancer/rules.hh"
#include "daemon/balance/balance.hh"
#include "daemon/balance/codec.hh"
#include "daemon/facts.hh"
#include "daemon/log.hh"

namespace hpcvmm::daemon {

namespace local = wire::local;
using balancer::Decision;
using balancer::Forbidden;
using balancer::NodeLoad;
using balancer::Process;
using nlohmann::json;

void Balance::save() {
  if (const std::string wrong = write_settings(state_file_, settings_); !wrong.empty())
    log::warning("settings are not remembered", {{"why", wrong}});
  base_.orders = settings_.orders;
  if (settings_.owner_active) base_.owner_active = *settings_.owner_active;
  if (record_ != nullptr && recorded_to_ != settings_.record) {
    std::fclose(record_);
    record_ = nullptr;
  }
  gossip(true);
  again_ = true;
}

void Balance::handle_ctl(const Request& r, const Answer& answer) {
  const auto reply = [this, answer] {
    answer({{"ok", true}, {"node", config_.node}, {"settings", settings_json(settings_)}}, true);
  };
  if (r.set.empty()) return reply();
  const std::uint8_t before = settings_.orders;
  const json set = json::parse(r.set, nullptr, false);
  if (const std::string wrong = take_settings(set, settings_); !wrong.empty())
    return answer(refusal(EINVAL, wrong), true);
  log::info("settings changed", {{"set", r.set}});
  save();
  const auto begun = static_cast<std::uint8_t>(settings_.orders & ~before);
  for (const std::uint8_t order : {balancer::kExpel, balancer::kBring}) {
    unsigned cannot = 0;
    if ((begun & order) == 0 || !r.wait || left(order, cannot) == 0) continue;
    waiters_.push_back({order, answer});
    return;
  }
  reply();
}

void Balance::handle_drain(const Request& r, const Answer& answer) {
  const bool drain = r.op == Request::Op::Drain;
  log::info(drain ? "draining" : "takes processes again");
  settings_.orders = static_cast<std::uint8_t>(drain ? settings_.orders | balancer::kDrain
                                                     : settings_.orders & ~balancer::kDrain);
  save();
  unsigned cannot = 0;
  if (!drain || !r.wait || left(balancer::kDrain, cannot) == 0)
    return answer({{"ok", true}, {"node", config_.node}, {"cannot_move", cannot}}, true);
  waiters_.push_back({balancer::kDrain, answer});
}

unsigned Balance::left(std::uint8_t order, unsigned& cannot) const {
  unsigned here = 0;
  unsigned away = 0;
  cannot = 0;
  for (const auto& [pid, p] : own_) {
    const Session* const s = parts_.sessions.find(p.session);
    if (s == nullptr) continue;
    if (s->state.where != 0 && s->state.where != config_.node) {
      ++away;
    } else if (describe_own(p, *s).cannot_move) {
      ++cannot;
    } else {
      ++here;
    }
  }
  const auto guests = static_cast<unsigned>(parts_.remotes.all().size());
  if (order != balancer::kDrain) cannot = 0;
  return order == balancer::kBring ? away : order == balancer::kExpel ? guests : guests + here;
}

void Balance::answer_waiters() {
  std::vector<std::pair<Answer, json>> finals;
  std::vector<std::pair<Answer, json>> progress;
  std::erase_if(waiters_, [&](const Waiter& w) {
    unsigned cannot = 0;
    const unsigned n = left(w.order, cannot);
    const bool revoked = (settings_.orders & w.order) == 0;
    if (n != 0 && !revoked) {
      progress.emplace_back(w.answer, json{{"progress", {{"left", n}, {"cannot_move", cannot}}}});
      return false;
    }
    json done = revoked ? refusal(ECANCELED, "the order was taken back; " + std::to_string(n) + " are left")
                        : json{{"ok", true}, {"node", config_.node}, {"cannot_move", cannot}};
    if (!revoked && w.order != balancer::kDrain) done["settings"] = settings_json(settings_);
    finals.emplace_back(w.answer, std::move(done));
    return true;
  });
  for (const auto& [answer, j] : progress) answer(j, false);
  for (const auto& [answer, j] : finals) answer(j, true);
}

std::string Balance::set_process(const Request& r, const Session& s) {
  const auto found = own_.find(s.pid);
  if (found == own_.end()) return "no such process";
  OwnProcess& p = found->second;
  if (!r.set.empty()) {
    const json set = json::parse(r.set, nullptr, false);
    if (std::string wrong = take_attributes(set, p.attributes); !wrong.empty()) return wrong;
    p.orders = narrowed(p.attributes, p.bound, config_.node);
    if (p.told != 0) parts_.outbox.send(p.told, guest_message(p, s));
    p.not_before_s = 0;
    again_ = true;
  }
  if (r.clear) {
    p.track.forget(now_s_);
    p.calls = p.away = p.kib = p.transfers = CallRate();
  }
  return {};
}

// --- what nodes and ps show

void Balance::add_to_node(json& node, Node id) const {
  NodeLoad load;
  bool known = id == config_.node;
  if (known) load = own_load();
  for (const NodeLoad& n : gossip_.known()) {
    if (n.node != id || n.epoch == 0) continue;
    load = n;
    known = true;
  }
  const Member* const m = parts_.members.find(id);
  const auto policy = static_cast<balancer::Policy>(std::min<std::uint8_t>(
      m != nullptr ? m->info.policy : 0, static_cast<std::uint8_t>(balancer::Policy::Random)));
  node["policy"] = std::string(balancer::name(id == config_.node ? settings_.policy : policy));
  node["orders"] = orders_json(known ? load.orders : 0);
  node["owner_active"] = known && load.owner_active;
  const double cpus = m != nullptr ? m->info.cpus_milli / 1000.0 : load.cpus;
  // Shown is one CPU's speed, not that of the share of it that a limit leaves.
  const double share = cpus > 0 && load.cpus > 0 ? cpus / load.cpus : 1;
  node["speed"] = known ? std::round(load.speed / share * 1000) / 1000 : 0.0;
  node["run_queue"] = known ? std::round(load.run_queue * 100) / 100 : 0.0;
  node["utilisation"] = known ? std::round(load.utilisation * 1000) / 1000 : 0.0;
  node["paging"] = known ? std::round(load.paging * 1000) / 1000 : 0.0;
  node["io_bytes_ps"] = known ? std::round(load.io_bytes_ps) : 0.0;
  node["network_bytes_ps"] = known ? std::round(load.network_bytes_ps) : 0.0;
  if (known) node["load_age_s"] = std::max(0.0, std::round((now_s_ - load.measured_s) * 10) / 10);
}

void Balance::add_to_process(json& process, const Session& s) const {
  const auto found = own_.find(s.pid);
  if (found == own_.end()) return;
  const OwnProcess& p = found->second;
  put_attributes(p.attributes, process);
  const bool away = s.state.where != 0 && s.state.where != config_.node;
  const ProcessFacts facts = process_facts(s.pid);
  const std::uint64_t resident = away ? std::uint64_t{p.report.rss_kib} * 1024 : facts.resident;
  process["cpu_use"] = std::round((away ? p.report.cpu_use_milli : 1000.0 * p.track.cpu_use()) / 10.0) / 100;
  process["working_set"] = resident;
  process["home_calls_ps"] = std::round(calls_ps(p, s));
  process["home_call_us"] = std::round(p.way.seconds() * 1e6F);
  process["io_bytes_ps"] = std::round(p.kib.per_s() * 1024);
  process["partners"] = json::array();
  for (const Joined& j : p.partners) process["partners"].push_back({{"pid", j.b}, {"ends", j.count}});
  process["partner_messages_ps"] = std::round(p.traffic.node != 0 ? p.traffic.messages_ps : 0);
  process["why"] = p.why;
  process["memory"] = facts.resident + (away ? resident : 0);
  const std::uint64_t unseen = facts.cpu_us > p.track.cpu_us() ? facts.cpu_us - p.track.cpu_us() : 0;
  process["cpu_ms"] = (used_us(p, s) + p.cpu_base_us + unseen) / 1000;
  const std::string stat = read_small("/proc/" + std::to_string(s.pid) + "/stat");
  process["parent"] = stat_parent(stat);
}

// --- why

json Balance::why_json(const Process& p) {
  const OwnedView v = make_view();
  const Decision d = balancer::explain(v.view, p, settings_.policy, settings_.knobs);
  const auto cost = [](double c) {
    return std::isfinite(c) ? json(std::round(c * 1e5) / 1e5) : json(nullptr);
  };
  NodeLoad elsewhere;  // any node that is not its home: what being away costs
  json nodes = json::array();
  nodes.push_back({{"id", config_.node}, {"cost", cost(d.stay_cost)}, {"why_not", "runs here"}});
  const NodeLoad* const home = balancer::home_of(v.view, p);
  for (const NodeLoad& n : v.others) {
    const Forbidden closed = balancer::may_enter(n, p, now_s_, settings_.knobs);
    const double age = std::max(0.0, now_s_ - n.measured_s);
    const double c =
        balancer::cost_of_adding(n, p, settings_.knobs) * (1 + settings_.knobs.staleness_per_s * age) +
        balancer::distance_cost(n, p, settings_.knobs, home) + d.move_cost;
    std::string why = closed == Forbidden::Nothing ? "" : std::string(balancer::name(closed));
    if (why.empty() && n.free_mib - p.working_set_mib < settings_.knobs.reserve_mib)
      why = balancer::name(Forbidden::NoMemory);
    if (why.empty() && !d.moves())
      why = c >= d.stay_cost ? "not cheaper" : std::string(balancer::name(d.forbidden));
    nodes.push_back(
        {{"id", n.node}, {"cost", cost(c)}, {"why_not", why}, {"age_s", std::round(age * 10) / 10}});
  }
  return {{"reason", std::string(balancer::name(d.reason))},
          {"forbidden", std::string(balancer::name(d.forbidden))},
          {"stay_cost", cost(d.stay_cost)},
          {"best", d.best},
          {"best_cost", cost(d.best_cost)},
          {"next_best", d.next_best},
          {"next_best_cost", cost(d.next_best_cost)},
          {"move_cost", cost(d.move_cost)},
          {"nodes", nodes},
          {"cpu_use", std::round(p.cpu_use * 100) / 100},
          {"cpu_used_s", std::round(p.cpu_used_s * 100) / 100},
          {"working_set_mib", std::round(p.working_set_mib)},
          {"home_calls_ps", std::round(p.home_calls_ps)},
          {"home_call_us",
           std::round((p.round_trip_s > 0 ? p.round_trip_s : settings_.knobs.round_trip_s) * 1e6)},
          {"home_mib_ps", std::round(p.home_mib_ps * 10) / 10},
          {"partner_messages_ps", std::round(p.partners.empty() ? 0 : p.partners.front().messages_ps)},
          {"distance_cost", cost(balancer::distance_cost(elsewhere, p, settings_.knobs, home))},
          {"moves", p.moves},
          {"resident_s", std::round(p.resident_s * 10) / 10},
          {"text", balancer::describe(d)}};
}

void Balance::handle_why(const Request& r, const Session* s, const Answer& answer) {
  // Asked by the home: a guest.
  if (s == nullptr) {
    for (const auto& [id, g] : guests_)
      if (g.home == r.home && g.home_pid == r.pid) {
        json why = why_json(describe_guest(g));
        why["where"] = config_.node;
        return answer({{"ok", true}, {"why", why}}, true);
      }
    return answer(refusal(ESRCH, "the process does not run there"), true);
  }
  const auto found = own_.find(s->pid);
  if (found == own_.end()) return answer(refusal(ESRCH, "no such process"), true);
  const Node where = s->state.where != 0 ? s->state.where : config_.node;
  json mine = {{"pid", s->pid},
               {"home", config_.node},
               {"where", where},
               {"last", found->second.why},
               {"cantmove", std::string(get_text(s->state.cantmove))},
               {"comm", s->comm}};
  if (const Profile* const known = profiles_.find(found->second.exe, found->second.forked))
    mine["program"] = {{"runs", known->runs},
                       {"cpu_s", std::round(known->cpu_s * 1e3) / 1e3},
                       {"home_calls_ps", std::round(known->went_home_ps())}};
  if (where == config_.node) {
    mine.update(why_json(describe_own(found->second, *s)));
    return answer({{"ok", true}, {"why", mine}}, true);
  }
  Request ask;
  ask.op = Request::Op::Why;
  ask.pid = r.pid;
  ask.home = config_.node;
  parts_.rpc.ask(where, request_text(ask), 2000, [answer, mine](Rpc::Kind kind, const std::string& text) {
    if (kind == Rpc::Kind::Progress) return;
    json j = kind == Rpc::Kind::Final ? json::parse(text, nullptr, false) : json();
    if (!j.is_object() || !j.value("ok", false) || !j["why"].is_object())
      return answer(refusal(EHOSTDOWN, "the node where it runs does not answer"), true);
    json all = mine;
    all.update(j["why"]);
    answer({{"ok", true}, {"why", all}}, true);
  });
}

}  // namespace hpcvmm::daemon
