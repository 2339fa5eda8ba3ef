#include "balancer/record/record.hh"

#include <array>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "balancer/decide.hh"

namespace hpcvmm::balancer::record {

using nlohmann::json;

namespace {

// One list per struct, walked by writer and reader alike.
template <class N, class F> void fields(N& n, NodeLoad*, F&& f) {
  f("node", n.node), f("epoch", n.epoch), f("measured_s", n.measured_s), f("speed", n.speed);
  f("run_queue", n.run_queue), f("urgency", n.urgency), f("utilisation", n.utilisation);
  f("paging", n.paging), f("network_bytes_ps", n.network_bytes_ps), f("io_bytes_ps", n.io_bytes_ps);
  f("total_mib", n.total_mib);
  f("free_mib", n.free_mib), f("cpus", n.cpus), f("orders", n.orders), f("owner_active", n.owner_active);
}
template <class P, class F> void fields(P& p, Process*, F&& f) {
  f("id", p.id), f("home", p.home), f("cpu_use", p.cpu_use), f("cpu_used_s", p.cpu_used_s);
  f("resident_s", p.resident_s), f("moves", p.moves), f("working_set_mib", p.working_set_mib);
  f("home_calls_ps", p.home_calls_ps), f("home_mib_ps", p.home_mib_ps);
  f("round_trip_s", p.round_trip_s), f("kind", p.kind);
  f("locked", p.locked), f("home_only", p.home_only), f("cannot_move", p.cannot_move), f("moving", p.moving);
  f("run_on", p.run_on), f("mask_mode", p.mask_mode);
}
template <class K, class F> void fields(K& k, Knobs*, F&& f) {
  f("hysteresis", k.hysteresis), f("min_gain_stretch", k.min_gain_stretch), f("residency_s", k.residency_s);
  f("residency_share", k.residency_share), f("residency_growth", k.residency_growth),
      f("min_age_s", k.min_age_s), f("stale_after_s", k.stale_after_s);
  f("staleness_per_s", k.staleness_per_s), f("urgency_floor_s", k.urgency_floor_s);
  f("thrash_factor", k.thrash_factor), f("memory_high", k.memory_high);
  f("memory_log_base", k.memory_log_base), f("memory_weight", k.memory_weight);
  f("paging_high", k.paging_high), f("reserve_mib", k.reserve_mib), f("round_trip_s", k.round_trip_s);
  f("call_cpu_s", k.call_cpu_s), f("losing", k.losing), f("losing_after_s", k.losing_after_s);
  f("partner_weight", k.partner_weight), f("io_weight", k.io_weight);
  f("bandwidth_mib_ps", k.bandwidth_mib_ps), f("freeze_s", k.freeze_s);
  f("io_job_calls_ps", k.io_job_calls_ps), f("max_out", k.max_out), f("max_in", k.max_in);
  f("reservation_s", k.reservation_s), f("owner_priority", k.owner_priority);
}

template <class T> json write(const T& from) {
  json out;
  fields(from, static_cast<T*>(nullptr), [&out](const char* name, const auto& value) {
    using V = std::remove_cvref_t<decltype(value)>;
    if constexpr (std::is_enum_v<V>)
      out[name] = static_cast<unsigned>(value);
    else
      out[name] = value;
  });
  return out;
}

/// False: a field is missing or of another type.
template <class T> bool read(const json& from, T& to) {
  if (!from.is_object()) return false;
  bool good = true;
  fields(to, static_cast<T*>(nullptr), [&](const char* name, auto& value) {
    using V = std::remove_cvref_t<decltype(value)>;
    const auto at = from.find(name);
    if (at == from.end()) {
      good = false;
    } else if constexpr (std::is_same_v<V, bool>) {
      good = good && at->is_boolean();
      if (at->is_boolean()) value = at->template get<bool>();
    } else if constexpr (std::is_enum_v<V>) {
      good = good && at->is_number_unsigned() && *at <= 3U;
      if (at->is_number_unsigned()) value = static_cast<V>(at->template get<unsigned>() & 3U);
    } else {
      good = good && at->is_number();
      if (at->is_number()) value = at->template get<V>();
    }
  });
  return good;
}

bool read_process(const json& j, Round& r) {
  Process p;
  if (!read(j, p)) return false;
  std::vector<NodeId> mask;
  std::vector<Partner> partners;
  for (const json& n : j.value("mask", json::array()))
    if (n.is_number_unsigned()) mask.push_back(n.get<NodeId>());
  for (const json& q : j.value("partners", json::array()))
    if (q.is_object()) partners.push_back({q.value("node", NodeId{0}), q.value("messages_ps", 0.0F)});
  r.processes.push_back(p);
  r.masks.push_back(std::move(mask));
  r.partners.push_back(std::move(partners));
  return true;
}

std::string text_of(const std::vector<Decision>& moves) {
  std::string out;
  for (const Decision& d : moves) {
    std::array<char, 160> text{};
    std::snprintf(text.data(), text.size(), "%s%u:%u from %u to %u (%.*s)", out.empty() ? "" : ", ",
                  static_cast<unsigned>(d.process >> 32), static_cast<unsigned>(d.process), d.from, d.to,
                  static_cast<int>(name(d.reason).size()), name(d.reason).data());
    out += text.data();
  }
  return out.empty() ? "no moves" : out;
}

}  // namespace

std::string line(const View& view, Policy policy, const Knobs& knobs, const std::vector<Decision>& moves) {
  json j;
  j["now_s"] = view.now_s;
  j["policy"] = static_cast<unsigned>(policy);
  j["in_flight"] = view.moves_in_flight;
  j["knobs"] = write(knobs);
  j["own"] = write(view.own);
  j["others"] = json::array();
  for (const NodeLoad& n : view.others) j["others"].push_back(write(n));
  j["processes"] = json::array();
  for (const Process& p : view.processes) {
    json q = write(p);
    if (!p.mask.empty()) q["mask"] = std::vector<NodeId>(p.mask.begin(), p.mask.end());
    for (const Partner& partner : p.partners)
      q["partners"].push_back({{"node", partner.node}, {"messages_ps", partner.messages_ps}});
    j["processes"].push_back(std::move(q));
  }
  j["moves"] = json::array();
  for (const Decision& d : moves)
    j["moves"].push_back({{"process", d.process},
                          {"from", d.from},
                          {"to", d.to},
                          {"reason", static_cast<unsigned>(d.reason)}});
  return j.dump();
}

std::unique_ptr<Round> parse(std::string_view text) {
  const json j = json::parse(text, nullptr, false);
  if (!j.is_object()) return nullptr;
  for (const char* list : {"others", "processes", "moves"})
    if (!j.contains(list) || !j[list].is_array()) return nullptr;
  for (const char* number : {"now_s", "policy", "in_flight"})
    if (!j.contains(number) || !j[number].is_number()) return nullptr;
  auto r = std::make_unique<Round>();
  r->view.now_s = j["now_s"].get<double>();
  r->policy = static_cast<Policy>(j["policy"].get<unsigned>() & 3U);
  r->view.moves_in_flight = j["in_flight"].get<std::uint32_t>();
  if (!read(j.value("knobs", json()), r->knobs) || !read(j.value("own", json()), r->view.own)) return nullptr;
  for (const json& n : j["others"]) {
    NodeLoad load;
    if (!read(n, load)) return nullptr;
    r->others.push_back(load);
  }
  for (const json& p : j["processes"])
    if (!read_process(p, *r)) return nullptr;
  for (const json& m : j["moves"]) {
    if (!m.is_object()) return nullptr;
    Decision d;
    d.process = m.value("process", ProcessId{0});
    d.from = m.value("from", NodeId{0});
    d.to = m.value("to", NodeId{0});
    d.reason = static_cast<Reason>(std::min(m.value("reason", 0U), static_cast<unsigned>(Reason::Placed)));
    r->moves.push_back(d);
  }
  for (std::size_t i = 0; i < r->processes.size(); ++i) {
    r->processes[i].mask = r->masks[i];
    r->processes[i].partners = r->partners[i];
  }
  r->view.others = r->others;
  r->view.processes = r->processes;
  return r;
}

std::string replay(const Round& round) {
  const std::vector<Decision> now = decide(round.view, round.policy, round.knobs);
  const auto same = [](const Decision& a, const Decision& b) {
    return a.process == b.process && a.to == b.to && a.reason == b.reason;
  };
  if (std::equal(now.begin(), now.end(), round.moves.begin(), round.moves.end(), same)) return {};
  return "recorded: " + text_of(round.moves) + "; now: " + text_of(now);
}

}  // namespace hpcvmm::balancer::record
