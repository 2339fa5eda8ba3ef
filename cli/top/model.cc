#include "cli/top/model.hh"

#include <algorithm>
#include <map>

#include "cli/cluster/show.hh"

namespace hpcvmm::cli {

using nlohmann::json;

namespace {

NodeRow read_node(const json& j) {
  NodeRow n;
  n.id = j.value("id", 0U);
  n.state = j.value("state", "?");
  n.cpus = j.value("cpus", 0.0);
  n.load = j.contains("run_queue") ? j.value("run_queue", 0.0) : j.value("load", 0.0);
  n.speed = j.value("speed", 1.0);
  n.utilisation = j.value("utilisation", 0.0);
  n.paging = j.value("paging", 0.0);
  n.memory_total = j.value("memory_total", std::uint64_t{0});
  n.memory_free = j.value("memory_free", std::uint64_t{0});
  n.processes = j.value("processes", 0U);
  n.guests = j.value("guests", 0U);
  for (const json& o : j.value("orders", json::array()))
    if (o.is_string()) n.orders.push_back(o.get<std::string>());
  if (j.value("owner_active", false)) n.orders.emplace_back("owner");
  n.why = j.value("why", "");
  return n;
}

ProcessRow read_process(const json& j, const std::string& passwd) {
  ProcessRow p;
  p.pid = j.value("pid", 0);
  p.uid = j.value("uid", 0U);
  p.user = user_name(passwd, p.uid);
  p.home = j.value("home", 0U);
  p.where = j.value("where", 0U);
  p.cantmove = j.value("cantmove", "");
  p.comm = j.value("comm", "");
  p.command = j.value("command", p.comm);
  p.engine = j.value("engine", "");
  p.abi = j.value("abi", "");
  p.kind = j.value("kind", "measured");
  p.decay = j.value("decay", "default");
  p.why = j.value("why", "");
  p.memory = j.value("memory", std::uint64_t{0});
  p.cpu_ms = j.value("cpu_ms", std::uint64_t{0});
  p.migrations = j.value("migrations", 0U);
  p.run_on = j.value("run_on", 0U);
  p.locked = j.value("locked", false);
  p.home_only = j.value("home_only", false);
  const json mask = j.value("mask", json::object());
  p.masked = mask.is_object() && mask.value("mode", "none") != "none";
  return p;
}

}  // namespace

const char* sort_name(SortBy by) {
  switch (by) {
    case SortBy::Cpu: return "CPU";
    case SortBy::Memory: return "memory";
    case SortBy::Time: return "time";
    case SortBy::Node: return "node";
    case SortBy::Pid: return "pid";
  }
  return "";
}

Snapshot read_snapshot(const json& nodes, const json& ps, const std::string& passwd) {
  Snapshot s;
  if (!nodes.value("ok", false)) {
    s.error = nodes.value("error", "the node does not answer");
    return s;
  }
  s.self = nodes.value("self", 0U);
  for (const json& n : nodes.value("nodes", json::array())) s.nodes.push_back(read_node(n));
  std::sort(s.nodes.begin(), s.nodes.end(), [](const NodeRow& a, const NodeRow& b) { return a.id < b.id; });
  for (const json& p : ps.value("processes", json::array())) s.processes.push_back(read_process(p, passwd));
  for (const json& n : ps.value("lost", json::array()))
    if (n.is_number_unsigned()) s.lost.push_back(n.get<unsigned>());
  return s;
}

void set_cpu_percent(Snapshot& now, const Snapshot& before) {
  const std::uint64_t passed = now.at_ms - before.at_ms;
  if (passed == 0 || before.at_ms == 0) return;
  std::map<std::pair<unsigned, int>, std::uint64_t> used;
  for (const ProcessRow& p : before.processes) used[{p.home, p.pid}] = p.cpu_ms;
  for (ProcessRow& p : now.processes) {
    const auto old = used.find({p.home, p.pid});
    // A process that has moved may be told with less than before until its node reports.
    if (old != used.end() && p.cpu_ms > old->second)
      p.cpu_percent = 100.0 * static_cast<double>(p.cpu_ms - old->second) / static_cast<double>(passed);
  }
}

void sort_processes(std::vector<ProcessRow>& rows, SortBy by) {
  const auto less = [by](const ProcessRow& a, const ProcessRow& b) {
    switch (by) {
      case SortBy::Cpu:
        if (a.cpu_percent != b.cpu_percent) return a.cpu_percent > b.cpu_percent;
        break;
      case SortBy::Memory:
        if (a.memory != b.memory) return a.memory > b.memory;
        break;
      case SortBy::Time:
        if (a.cpu_ms != b.cpu_ms) return a.cpu_ms > b.cpu_ms;
        break;
      case SortBy::Node:
        if (a.where != b.where) return a.where < b.where;
        break;
      case SortBy::Pid: break;
    }
    return a.home != b.home ? a.home < b.home : a.pid < b.pid;
  };
  std::sort(rows.begin(), rows.end(), less);
}

}  // namespace hpcvmm::cli
