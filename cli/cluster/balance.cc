// ctl, drain, resume and why: the balancer as people overrule and question it.
#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "cli/cluster/ask.hh"

namespace hpcvmm::cli {

using nlohmann::json;

namespace {

void show_left(const json& line) {
  if (::isatty(2) == 0 || !line.contains("progress")) return;
  std::fprintf(stderr, "\r\033[K%u processes are left...", line["progress"].value("left", 0U));
}

void clear_line() {
  if (::isatty(2) != 0) std::fputs("\r\033[K", stderr);
}

/// true, false, a number, or the text itself.
json value_of(const std::string& text) {
  const json j = json::parse(text, nullptr, false);
  return j.is_boolean() || j.is_number() ? j : json(text);
}

std::string cost_text(const json& why, const char* key) {
  return why.contains(key) && why[key].is_number() ? fixed(why[key].get<double>(), 4) : "-";
}

}  // namespace

json ctl_json(const CtlRequest& r) {
  json j = {{"op", "ctl"}};
  json set = json::object();
  for (std::size_t i = 0; i < r.words.size(); ++i) {
    const std::string& word = r.words[i];
    const std::size_t equals = word.find('=');
    if (i == 0 && equals == std::string::npos && number_in(word, 65535) != 0) {
      j["node"] = number_in(word, 65535);
      continue;
    }
    if (equals == 0) return {{"error", word + ": the name of a setting is missing before ="}};
    if (equals != std::string::npos) set[word.substr(0, equals)] = value_of(word.substr(equals + 1));
  }
  if (!set.empty()) j["set"] = set;
  if (!r.wait) j["wait"] = false;
  return j;
}

int ctl(const CtlRequest& r) {
  const json request = ctl_json(r);
  if (request.contains("error")) return fail(request["error"].get<std::string>());
  json answer;
  const bool done = ask(r.ask, request, answer, 30'000, show_left);
  clear_line();
  if (!done) return 1;
  json& settings = answer["settings"];
  std::vector<std::string> wanted;
  for (const std::string& word : r.words)
    if (number_in(word, 65535) == 0) wanted.push_back(word.substr(0, word.find('=')));
  for (const std::string& key : wanted)
    if (!settings.contains(key)) return fail("unknown setting " + key + "; hpc-vmm ctl lists those that are");
  if (r.ask.json) {
    print_json(std::move(answer));
    return 0;
  }
  for (const auto& [key, value] : settings.items()) {
    if (!wanted.empty() && std::find(wanted.begin(), wanted.end(), key) == wanted.end()) continue;
    std::printf("%-18s %s\n", key.c_str(),
                value.is_string() ? value.get<std::string>().c_str() : value.dump().c_str());
  }
  return 0;
}

int drain(const DrainRequest& r) {
  json answer;
  const json request = {{"op", r.resume ? "resume" : "drain"}, {"node", r.node}, {"wait", r.wait}};
  const bool done = ask(r.ask, request, answer, 30'000, show_left);
  clear_line();
  if (!done) return 1;
  if (r.ask.json) {
    print_json(std::move(answer));
    return 0;
  }
  const unsigned stay = answer.value("cannot_move", 0U);
  if (r.resume)
    std::printf("Node %u takes processes again.\n", r.node);
  else if (!r.wait)
    std::printf("Node %u is being drained.\n", r.node);
  else if (stay == 0)
    std::printf("Node %u is empty.\n", r.node);
  else
    std::printf("Node %u is empty but for %u processes that cannot move; hpc-vmm ps -v says why.\n", r.node,
                stay);
  return 0;
}

std::string why_text(const json& w) {
  std::string out = "Process " + std::to_string(w.value("pid", 0)) + " (" + w.value("comm", "?") +
                    "), at home on node " + std::to_string(w.value("home", 0U)) + ", runs on node " +
                    std::to_string(w.value("where", 0U)) + ".\n";
  if (const std::string last = w.value("last", ""); !last.empty())
    out += "It is there because: " + last + ".\n";
  const std::string forbidden = w.value("forbidden", "nothing");
  if (w.value("reason", "stays") != "stays")
    out += "It is about to move: " + w.value("reason", "") + ".\n";
  else if (forbidden != "nothing")
    out += "It stays because: " + forbidden + ".\n";
  if (const std::string cannot = w.value("cantmove", ""); !cannot.empty())
    out += "It cannot move: " + cannot + ".\n";
  out += "Wants " + fixed(w.value("cpu_use", 0.0), 2) + " CPUs, has used " +
         fixed(w.value("cpu_used_s", 0.0), 1) + " s, holds " + fixed(w.value("working_set_mib", 0.0), 0) +
         " MiB, " + fixed(w.value("home_calls_ps", 0.0), 0) + " calls home per CPU second (" +
         fixed(w.value("home_call_us", 0.0), 0) + " us each), " + fixed(w.value("home_mib_ps", 0.0), 1) +
         " MiB/s of data, " + fixed(w.value("partner_messages_ps", 0.0), 0) + " messages with partners, " +
         std::to_string(w.value("moves", 0U)) + " moves, here for " + fixed(w.value("resident_s", 0.0), 1) +
         " s.\n";
  if (const json p = w.value("program", json()); p.is_object())
    out += "Its program has used " + fixed(p.value("cpu_s", 0.0), 2) +
           " CPU seconds when it ended, and made " + fixed(p.value("home_calls_ps", 0.0), 0) +
           " calls home in each.\n";
  out += "\n";
  std::vector<std::vector<std::string>> rows{{"NODE", "COST", "AGE", "WHY NOT"}};
  std::vector<json> nodes;
  for (const json& n : w.value("nodes", json::array())) nodes.push_back(n);
  std::stable_sort(nodes.begin(), nodes.end(), [](const json& a, const json& b) {
    return a.contains("cost") && b.contains("cost") && a["cost"].is_number() && b["cost"].is_number() &&
           a["cost"].get<double>() < b["cost"].get<double>();
  });
  constexpr std::size_t kMost = 12;  // one screen
  for (std::size_t i = 0; i < nodes.size() && i < kMost; ++i) {
    const json& n = nodes[i];
    rows.push_back({std::to_string(n.value("id", 0U)), cost_text(n, "cost"),
                    n.contains("age_s") ? fixed(n.value("age_s", 0.0), 1) + "s" : "now",
                    n.value("why_not", "")});
  }
  out += table(rows, {true, true, true, false});
  out += "Cost is slowdown, weighed by urgency; staying costs " + cost_text(w, "stay_cost") +
         ", of another node's " + cost_text(w, "move_cost") + " are the move.\n";
  return out;
}

int why(const WhyRequest& r) {
  const json request = process_json("why", r.process);
  if (request.contains("error")) return fail(request["error"].get<std::string>());
  json answer;
  if (!ask(r.ask, request, answer)) return 1;
  if (r.ask.json)
    print_json(answer["why"]);
  else
    std::fputs(why_text(answer["why"]).c_str(), stdout);
  return 0;
}

}  // namespace hpcvmm::cli
