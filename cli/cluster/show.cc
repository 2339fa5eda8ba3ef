#include "cli/cluster/show.hh"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <sstream>
#include <vector>

#include "cli/cluster/ask.hh"
#include "cli/cluster/command.hh"

namespace hpcvmm::cli {

using nlohmann::json;

namespace {

std::string cpu_time(std::uint64_t ms) {
  const std::uint64_t seconds = ms / 1000;
  std::array<char, 64> text{};
  std::snprintf(text.data(), text.size(), "%llu:%02llu.%02llu", static_cast<unsigned long long>(seconds / 60),
                static_cast<unsigned long long>(seconds % 60),
                static_cast<unsigned long long>(ms % 1000 / 10));
  return text.data();
}

void add_users(json& answer) {
  const std::string passwd = read_file("/etc/passwd");
  for (json& p : answer["processes"]) p["user"] = user_name(passwd, p.value("uid", 0U));
}

void show_progress(const json& line) {
  if (::isatty(2) == 0 || !line.contains("progress")) return;
  const json& p = line["progress"];
  const auto ms = p.value("ms", std::uint64_t{0});
  if (ms < 300) return;
  const auto bytes = p.value("bytes", std::uint64_t{0});
  const auto of = p.value("of", std::uint64_t{0});
  // An estimate: memory that is written while it moves is sent again.
  const std::uint64_t percent = of == 0 ? 0 : std::min<std::uint64_t>(99, bytes * 100 / of);
  constexpr std::uint64_t kWidth = 20;
  const std::string bar(percent * kWidth / 100, '=');
  std::fprintf(stderr, "\r\033[K[%-20s] %3u %%  %s s, %s moved", bar.c_str(), static_cast<unsigned>(percent),
               fixed(static_cast<double>(ms) / 1000, 1).c_str(), human_bytes(bytes).c_str());
}

}  // namespace

std::string human_bytes(std::uint64_t bytes) {
  static constexpr std::array kUnits{"", "K", "M", "G", "T"};
  auto value = static_cast<double>(bytes);
  std::size_t unit = 0;
  while (value >= 1024 && unit + 1 < kUnits.size()) {
    value /= 1024;
    ++unit;
  }
  return fixed(value, unit > 0 && value < 10 ? 1 : 0) + kUnits[unit];
}

std::string user_name(const std::string& passwd, unsigned uid) {
  std::istringstream lines(passwd);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream fields(line);
    std::string name;
    std::string secret;
    std::string number;
    if (std::getline(fields, name, ':') && std::getline(fields, secret, ':') &&
        std::getline(fields, number, ':') && number == std::to_string(uid))
      return name;
  }
  return std::to_string(uid);
}

std::string nodes_table(const json& answer) {
  std::vector<std::vector<std::string>> rows{{"NODE", "STATE", "CPUS", "SPEED", "LOAD", "USE", "MEMORY",
                                              "FREE", "PROCS", "GUESTS", "RTT", "POLICY", "ADDRESS"}};
  for (const json& n : answer.value("nodes", json::array())) {
    const double cpus = n.value("cpus", 0.0);
    const bool whole = cpus == static_cast<double>(static_cast<long>(cpus));
    rows.push_back({std::to_string(n.value("id", 0U)), n.value("state", "?"), fixed(cpus, whole ? 0 : 2),
                    fixed(n.value("speed", 0.0), 2), fixed(n.value("run_queue", n.value("load", 0.0)), 2),
                    fixed(n.value("utilisation", 0.0) * 100, 0) + "%",
                    human_bytes(n.value("memory_total", std::uint64_t{0})),
                    human_bytes(n.value("memory_free", std::uint64_t{0})),
                    std::to_string(n.value("processes", 0U)), std::to_string(n.value("guests", 0U)),
                    n.contains("rtt_us") ? fixed(n.value("rtt_us", 0.0), 0) + "us" : "-",
                    n.value("policy", "-"), n.value("address", "")});
    std::string more;
    for (const json& o : n.value("orders", json::array()))
      if (o.is_string()) more += (more.empty() ? "" : ",") + o.get<std::string>();
    if (n.value("owner_active", false)) more += more.empty() ? "owner" : ",owner";
    if (n.contains("why")) more += (more.empty() ? "" : ": ") + n.value("why", "");
    if (!more.empty()) rows.back().back() += "  (" + more + ")";
  }
  return table(rows, {true, false, true, true, true, true, true, true, true, true, true, false, false});
}

namespace {
/// "L" locked, "H" home only, "R3" runs on node 3, "C"/"I" declared cpu or io job, "M" a mask of nodes.
std::string flags_of(const json& p) {
  std::string out;
  if (!p.value("cantmove", "").empty()) out += "X";
  if (p.value("locked", false)) out += "L";
  if (p.value("home_only", false)) out += "H";
  if (const unsigned node = p.value("run_on", 0U); node != 0) out += "R" + std::to_string(node);
  if (p.value("kind", "") == "cpu") out += "C";
  if (p.value("kind", "") == "io") out += "I";
  if (p.contains("mask") && p["mask"].is_object() && p["mask"].value("mode", "none") != "none") out += "M";
  return out.empty() ? "-" : out;
}
}  // namespace

std::string processes_table(const json& answer, bool verbose) {
  std::vector<std::vector<std::string>> rows{{"PID", "USER", "HOME", "WHERE", "ENGINE", "ABI", "MEMORY",
                                              "TIME", "USE", "MOVES", "FLAGS",
                                              verbose ? "CANTMOVE" : "COMMAND"}};
  std::vector<bool> right{true, false, true, true, false, false, true, true, true, true, false, false};
  if (verbose) {
    rows[0].insert(rows[0].end(), {"WHY", "COMMAND"});
    right.insert(right.end(), {false, false});
  }
  for (const json& p : answer.value("processes", json::array())) {
    const std::string cantmove = p.value("cantmove", "");
    rows.push_back({std::to_string(p.value("pid", 0)), p.value("user", std::to_string(p.value("uid", 0U))),
                    std::to_string(p.value("home", 0U)), std::to_string(p.value("where", 0U)),
                    p.value("engine", ""), p.value("abi", ""),
                    human_bytes(p.value("memory", std::uint64_t{0})),
                    cpu_time(p.value("cpu_ms", std::uint64_t{0})), fixed(p.value("cpu_use", 0.0), 2),
                    std::to_string(p.value("migrations", 0U)), flags_of(p)});
    if (verbose) {
      const std::string why = p.value("why", "");
      rows.back().insert(rows.back().end(), {cantmove.empty() ? "-" : cantmove, why.empty() ? "-" : why,
                                             p.value("command", "")});
    } else {
      rows.back().push_back(p.value("comm", ""));
    }
  }
  return table(rows, right);
}

std::string mappings_table(const json& answer) {
  // Other kinds are shown by the words that the API has for them.
  const std::map<std::string, std::string> names{{"posix", "POSIX"}, {"sysv", "SysV"}};
  std::vector<std::vector<std::string>> rows{{"PID", "SHARED MEMORY", "SIZE", "KIND", "NAME", "ELSEWHERE"}};
  for (const json& p : answer.value("processes", json::array())) {
    const json list = p.value("shared", json::array());
    const std::string pid = std::to_string(p.value("pid", 0));
    for (const json& m : list) {
      const std::string kind = m.value("kind", "?");
      const std::string name = m.value("name", "");
      const std::string why = m.value("why", "");
      const bool coherent = m.value("coherent", false);
      rows.push_back({pid, m.value("begin", "") + "-" + m.value("end", ""),
                      human_bytes(m.value("bytes", std::uint64_t{0})),
                      names.contains(kind) ? names.at(kind) : kind, name.empty() ? "-" : name,
                      coherent ? "coherent" : "keeps it at home" + (why.empty() ? "" : ": " + why)});
    }
    const auto total = p.value("shared_total", std::size_t{0});
    if (total > list.size()) rows.push_back({pid, "and " + std::to_string(total - list.size()) + " more"});
    rows.back().resize(rows[0].size());
  }
  if (rows.size() == 1) return "";
  return "\n" + table(rows, {true, false, true, false, false, false});
}

json migrate_json(const MigrateRequest& r) {
  json j = process_json("migrate", r.process);
  if (j.contains("error")) return j;
  j["mode"] = r.mode;
  if (r.to == "home" || r.to == "balance") {
    j["to"] = r.to;
    return j;
  }
  const unsigned long to = number_in(r.to, 65535);
  if (to == 0)
    return {{"error", r.to +
                          ": neither the number of a node nor \"home\" nor \"balance\"; hpc-vmm nodes lists "
                          "them"}};
  j["to"] = to;
  return j;
}

int show_nodes(const AskRequest& r) {
  json answer;
  if (!ask(r, {{"op", "nodes"}}, answer)) return 1;
  if (r.json)
    print_json(std::move(answer));
  else
    std::printf("%sDriver %s, membership epoch %llu.\n", nodes_table(answer).c_str(),
                answer.value("driver", "?").c_str(),
                static_cast<unsigned long long>(answer.value("epoch", std::uint64_t{0})));
  return 0;
}

int show_processes(const AskRequest& r, bool verbose) {
  json answer;
  json request = {{"op", "ps"}};
  if (verbose) request["mappings"] = true;
  if (!ask(r, request, answer)) return 1;
  add_users(answer);
  for (const json& n : answer.value("lost", json::array()))
    std::fprintf(stderr, "hpc-vmm: node %u does not answer; its processes are missing here\n",
                 n.get<unsigned>());
  if (r.json)
    print_json(std::move(answer));
  else
    std::fputs((processes_table(answer, verbose) + mappings_table(answer)).c_str(), stdout);
  return 0;
}

int migrate(const MigrateRequest& r) {
  const json request = migrate_json(r);
  if (request.contains("error")) return fail(request["error"].get<std::string>());
  json answer;
  const bool moved = ask(r.ask, request, answer, 0, show_progress);
  if (::isatty(2) != 0) std::fputs("\r\033[K", stderr);
  if (!moved) {
    if (r.ask.json && answer.is_object()) print_json(std::move(answer));
    return 1;
  }
  if (r.ask.json) {
    print_json(std::move(answer));
    return 0;
  }
  if (!answer.contains("pages")) {
    std::printf("Process %d stays on node %u: nowhere is better.\n", answer.value("pid", 0),
                answer.value("where", 0U));
    return 0;
  }
  const auto u64 = [&answer](const char* key) {
    return static_cast<unsigned long long>(answer.value(key, std::uint64_t{0}));
  };
  std::printf("Process %llu runs on node %llu now: down for %.2f ms, %.1f ms in all.\n", u64("pid"),
              u64("where"), static_cast<double>(u64("downtime_us")) / 1000, answer.value("total_ms", 0.0));
  std::printf(
      "%llu pages, %s: %llu sent before, %llu pushed after, %llu asked for, %llu zero, %llu known there.\n",
      u64("pages"), human_bytes(u64("bytes")).c_str(), u64("pages_warm"), u64("pages_pushed"),
      u64("pages_faulted"), u64("pages_zero"), u64("pages_known"));
  return 0;
}

}  // namespace hpcvmm::cli
