// What Hpcd does about requests: of the API socket, and of other nodes.
#include <array>
#include <cerrno>
#include <cstdio>
#include <memory>

#include "daemon/hpcd.hh"
#include "daemon/log.hh"

namespace hpcvmm::daemon {

using nlohmann::json;
namespace local = wire::local;

namespace {
constexpr std::uint64_t kAskMs = 2000;
constexpr std::uint64_t kMoveSilenceMs = 10'000;

/// As /proc/PID/maps has it.
std::string hex(std::uint64_t address) {
  std::array<char, 17> text{};
  std::snprintf(text.data(), text.size(), "%llx", static_cast<unsigned long long>(address));
  return text.data();
}

std::string line(const json& j) { return j.dump(-1, ' ', true, json::error_handler_t::replace) + "\n"; }

json parsed(const std::string& text) {
  json j = json::parse(text, nullptr, false);
  return j.is_object() ? j : refusal(EPROTO, "a node answered what is no JSON object");
}

/// Collects the answers of several nodes; calls `done` once, when the last has come.
struct Gather {
  std::size_t missing = 0;
  json items = json::array();
  json lost = json::array();
  std::function<void(Gather&)> done;
};
}  // namespace

void Hpcd::on_api(StreamServer::Id id, std::string& input) {
  std::size_t end = 0;
  while ((end = input.find('\n')) != std::string::npos) {
    const std::string text = input.substr(0, end);
    input.erase(0, end + 1);
    const auto request = parse_request(text);
    if (const auto* const refused = std::get_if<Refusal>(&request)) {
      api_.send(id, line(refusal(EINVAL, refused->text)));
      continue;
    }
    Request r = std::get<Request>(request);
    r.local = false;
    // root may ask on somebody's behalf: the file tree's server does.
    const uid_t asker = api_.uid(id) == 0 ? r.uid : api_.uid(id);
    handle(r, asker, [this, id](const json& answer, bool) { api_.send(id, line(answer)); });
  }
}

void Hpcd::on_question(Node from, const std::string& text, const Rpc::Reply& reply) {
  const auto request = parse_request(text);
  const auto answer = [reply](const json& j, bool final) {
    reply(j.dump(-1, ' ', true, json::error_handler_t::replace), final);
  };
  if (const auto* const refused = std::get_if<Refusal>(&request)) {
    log::warning("bad question of a node", {{"peer", from}, {"why", refused->text}});
    return answer(refusal(EINVAL, refused->text), true);
  }
  Request r = std::get<Request>(request);
  r.local = true;
  r.asker = from;
  // Nodes trust each other in whose request it is; what changes a node is not asked through another one.
  switch (r.op) {
    case Request::Op::Ps:
    case Request::Op::Find:
    case Request::Op::Migrate:
    case Request::Op::Evict:
    case Request::Op::Ctl:
    case Request::Op::Drain:
    case Request::Op::Resume:
    case Request::Op::Process:
    case Request::Op::Why:
    case Request::Op::Move: return handle(r, r.uid, answer);
    default: return answer(refusal(EPERM, "that is not asked from node to node"), true);
  }
}

void Hpcd::handle(const Request& r, uid_t caller, const Answer& answer) {
  const bool root = caller == 0;
  const bool needs_root = r.op == Request::Op::Drain || r.op == Request::Op::Resume ||
                          r.op == Request::Op::Shutdown || r.op == Request::Op::Faults ||
                          (r.op == Request::Op::Ctl && !r.set.empty()) ||
                          ((r.op == Request::Op::Evict || r.op == Request::Op::Move) && !r.local);
  if (needs_root && !root) return answer(refusal(EPERM, "only root may do that"), true);
  switch (r.op) {
    case Request::Op::Nodes: return answer(nodes_json(), true);
    case Request::Op::Ps: return handle_ps(r, answer);
    case Request::Op::Find: return handle_find(r, answer);
    case Request::Op::Migrate: return handle_migrate(r, caller, answer);
    case Request::Op::Evict: {
      Session* const s = sessions_.find_deputy(r.pid);
      if (s == nullptr) return answer(refusal(ESRCH, "no such process"), true);
      return moves_.start(*s, r, 0, now_ms_, answer);
    }
    case Request::Op::Drain:
    case Request::Op::Resume:
    case Request::Op::Ctl:
    case Request::Op::Process:
    case Request::Op::Why:
    case Request::Op::Move: return handle_balance(r, caller, answer);
    case Request::Op::Shutdown: begin_shutdown("request"); return answer({{"ok", true}}, true);
    case Request::Op::Faults: return handle_faults(r, answer);
    case Request::Op::Affinity: return handle_affinity(r, caller, answer);
    case Request::Op::Metrics: return answer({{"ok", true}, {"metrics", metrics()}}, true);
  }
}

void Hpcd::handle_faults(const Request& r, const Answer& answer) {
  if (const std::string wrong = link_.set_faults(r.spec); !wrong.empty())
    return answer(refusal(EINVAL, wrong), true);
  log::warning("faults are injected into the network", {{"spec", r.spec}});
  answer({{"ok", true}}, true);
}

json Hpcd::nodes_json() const {
  json nodes = json::array();
  for (const auto& [id, m] : members_.all()) {
    json n = {{"id", id},
              {"state", state_name(m.state)},
              {"address", m.address},
              {"cpus", static_cast<double>(m.info.cpus_milli) / 1000},
              {"memory_total", m.info.memory_total},
              {"memory_free", m.info.memory_free},
              {"load", static_cast<double>(m.info.load_milli) / 1000},
              {"processes", m.info.processes},
              {"guests", m.info.guests},
              {"epoch", id == config_.node ? members_.epoch() : m.info.epoch}};
    if (m.info.cpus_milli % 1000 == 0) n["cpus"] = m.info.cpus_milli / 1000;
    if (!m.why.empty()) n["why"] = m.why;
    if (const CpuRange* const range = view_.range_of(id); range != nullptr) n["first_cpu"] = range->first;
    if (const auto stats = transport_->peer_stats(id); stats && stats->up)
      n["rtt_us"] = static_cast<double>(stats->srtt) / 1000;
    balance_.add_to_node(n, id);
    nodes.push_back(std::move(n));
  }
  return {{"ok", true},
          {"nodes", nodes},
          {"epoch", members_.epoch()},
          {"self", config_.node},
          {"driver", std::string(const_cast<Hpcd*>(this)->link_.driver().name())}};
}

namespace {
/// What it shares with other processes, and whether that keeps it at home.
void add_mappings(json& process, const Session& s) {
  constexpr std::array<const char*, 6> kKinds{"anonymous", "memfd", "posix", "sysv", "file", "other"};
  json list = json::array();
  for (const local::Mapping& m : s.mappings) {
    list.push_back({{"begin", hex(m.begin)},
                    {"end", hex(m.end)},
                    {"bytes", m.end - m.begin},
                    {"kind", kKinds.at(static_cast<std::size_t>(m.kind))},
                    {"name", get_text(m.name)},
                    {"coherent", m.coherent != 0}});
    if (m.coherent == 0) list.back()["why"] = get_text(m.why);
  }
  process["shared"] = std::move(list);
  process["shared_total"] = s.mappings_total;
}
}  // namespace

json Hpcd::process_json(const Session& s) const {
  json p = {{"pid", s.pid},
            {"uid", s.uid},
            {"home", config_.node},
            {"where", s.state.where != 0 ? s.state.where : config_.node},
            {"engine", s.engine == local::EngineKind::Kvm ? "kvm" : "direct"},
            {"abi", s.ia32 ? "ia32" : "x86-64"},
            {"migrations", s.state.migrations},
            {"cantmove", get_text(s.state.cantmove)},
            {"comm", s.comm},
            {"command", s.exe.empty() ? s.comm : s.exe}};
  balance_.add_to_process(p, s);
  return p;
}

json Hpcd::processes_json(bool mappings) const {
  json out = json::array();
  for (const auto& [id, s] : sessions_.all()) {
    if (!s->registered || s->role != local::Role::Deputy) continue;
    out.push_back(process_json(*s));
    if (mappings) add_mappings(out.back(), *s);
  }
  return out;
}

/// What people set about a process.
void Hpcd::handle_process(const Request& r, uid_t caller, const Session& s, const Answer& answer) {
  if (caller != 0 && caller != s.uid)
    return answer(refusal(EPERM, "process " + std::to_string(s.pid) +
                                     " belongs to another user: only that user and root may do that"),
                  true);
  if (const std::string wrong = balance_.set_process(r, s); !wrong.empty())
    return answer(refusal(EINVAL, wrong), true);
  answer({{"ok", true}, {"process", process_json(s)}}, true);
}

void Hpcd::handle_ps(const Request& r, const Answer& answer) {
  auto gather = std::make_shared<Gather>();
  gather->items = processes_json(r.mappings);
  gather->done = [answer](Gather& g) {
    answer({{"ok", true}, {"processes", std::move(g.items)}, {"lost", std::move(g.lost)}}, true);
  };
  const std::vector<Node> others = r.local ? std::vector<Node>() : members_.reachable();
  gather->missing = others.size() + 1;
  const auto one_less = [gather] {
    if (--gather->missing == 0) gather->done(*gather);
  };
  Request ask;
  ask.op = Request::Op::Ps;
  ask.mappings = r.mappings;
  for (const Node node : others)
    rpc_.ask(node, request_text(ask), kAskMs,
             [gather, one_less, node](Rpc::Kind kind, const std::string& text) {
               if (kind == Rpc::Kind::Progress) return;
               const json j = kind == Rpc::Kind::Final ? parsed(text) : json();
               if (j.is_object() && j.contains("processes") && j["processes"].is_array())
                 for (const json& p : j["processes"]) gather->items.push_back(p);
               else
                 gather->lost.push_back(node);
               one_less();
             });
  one_less();
}

void Hpcd::handle_find(const Request& r, const Answer& answer) {
  answer({{"ok", true}, {"found", sessions_.find_deputy(r.pid) != nullptr}}, true);
}

void Hpcd::handle_migrate(const Request& r, uid_t caller, const Answer& answer) {
  if (r.to != 0 && members_.find(r.to) == nullptr)
    return answer(refusal(ENOENT, members_.cannot_take(r.to)), true);
  at_home(r, caller, answer, [this, r, caller, answer](Session& s) {
    Request chosen = r;
    if (r.balance) {
      const Node at = s.state.where != 0 ? s.state.where : config_.node;
      const Node to = balance_.choose(s);
      if (to == at) return answer({{"ok", true}, {"pid", s.pid}, {"from", at}, {"where", at}}, true);
      chosen.balance = false;
      chosen.to = to == config_.node ? 0 : to;
    }
    if (chosen.to != 0 && !view_.allows(s.affinity, chosen.to))
      return answer(
          refusal(EPERM, "process " + std::to_string(r.pid) + " is bound to CPUs that node " +
                             std::to_string(chosen.to) + " does not have; taskset -pc changes that"),
          true);
    moves_.start(s, chosen, caller, now_ms_, answer);
  });
}

void Hpcd::at_home(const Request& r, uid_t caller, const Answer& answer,
                   const std::function<void(Session&)>& here) {
  Session* const s = r.home == 0 || r.home == config_.node ? sessions_.find_deputy(r.pid) : nullptr;
  if (s != nullptr) return here(*s);
  const std::string name = "process " + std::to_string(r.pid);
  const auto nobody = [this, name, r, answer] {
    const bool exists = r.home == 0 && !read_small("/proc/" + std::to_string(r.pid) + "/stat").empty();
    if (exists)
      answer(refusal(ESRCH, name + " is not managed by hpc-vmm: it was not started with hpc-vmm launch"),
             true);
    else
      answer(refusal(ESRCH, "there is no " + name + " in the cluster; hpc-vmm ps lists those that are"),
             true);
  };
  if (r.local) return nobody();
  if (r.home != 0) {
    if (r.home == config_.node) return nobody();
    return forward(r.home, r, caller, answer);
  }
  auto gather = std::make_shared<Gather>();
  gather->done = [this, r, caller, answer, nobody, name](Gather& g) {
    if (g.items.empty()) return nobody();
    if (g.items.size() > 1)
      return answer(refusal(ENOTUNIQ, "several nodes have a " + name + ": say which as NODE:PID"), true);
    Request of_home = r;
    of_home.home = g.items[0].get<Node>();
    forward(of_home.home, of_home, caller, answer);
  };
  const std::vector<Node> others = members_.reachable();
  gather->missing = others.size() + 1;
  const auto one_less = [gather] {
    if (--gather->missing == 0) gather->done(*gather);
  };
  Request ask;
  ask.op = Request::Op::Find;
  ask.pid = r.pid;
  for (const Node node : others)
    rpc_.ask(node, request_text(ask), kAskMs,
             [gather, one_less, node](Rpc::Kind kind, const std::string& text) {
               if (kind == Rpc::Kind::Progress) return;
               if (kind == Rpc::Kind::Final && parsed(text).value("found", false))
                 gather->items.push_back(node);
               one_less();
             });
  one_less();
}

void Hpcd::forward(Node to, Request r, uid_t caller, const Answer& answer) {
  r.uid = caller;
  rpc_.ask(to, request_text(r), kMoveSilenceMs, [answer](Rpc::Kind kind, const std::string& text) {
    if (kind == Rpc::Kind::Lost) return answer(refusal(EHOSTDOWN, text), true);
    answer(parsed(text), kind == Rpc::Kind::Final);
  });
}

/// What the balancer is asked and told by people.
void Hpcd::handle_balance(const Request& r, uid_t caller, const Answer& answer) {
  switch (r.op) {
    case Request::Op::Process:
      return at_home(r, caller, answer,
                     [this, r, caller, answer](Session& s) { handle_process(r, caller, s, answer); });
    case Request::Op::Why:
      // Of a guest here its home asks.
      if (r.local && r.home != 0 && r.home != config_.node) return balance_.handle_why(r, nullptr, answer);
      return at_home(r, caller, answer,
                     [this, r, answer](Session& s) { balance_.handle_why(r, &s, answer); });
    case Request::Op::Move:
      return at_home(r, caller, answer,
                     [this, r, answer](Session& s) { balance_.handle_move(r, s, answer); });
    default: break;
  }
  if (r.node != 0 && r.node != config_.node) {
    if (members_.find(r.node) == nullptr) return answer(refusal(ENOENT, members_.cannot_take(r.node)), true);
    if (caller != 0) return answer(refusal(EPERM, "only root may ask that of another node"), true);
    return forward(r.node, r, caller, answer);
  }
  // Who asks its own node next is not to be told the opposite there.
  const Answer told = [this, answer, asker = r.asker](const json& j, bool final) {
    if (final) {
      gossip();
      balance_.tell(asker);
    }
    answer(j, final);
  };
  if (r.op == Request::Op::Ctl) return balance_.handle_ctl(r, told);
  balance_.handle_drain(r, told);
  gossip();
}

}  // namespace hpcvmm::daemon
