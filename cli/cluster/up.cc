#include "cli/cluster/up.hh"

#include <fcntl.h>
#include <signal.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <nlohmann/json.hpp>
#include <sstream>

#include "cli/cluster/api_client.hh"
#include "cli/cluster/command.hh"
#include "cli/cluster/nodes.hh"
#include "cli/cluster/show.hh"
#include "cli/cluster/tree_mount.hh"

namespace hpcvmm::cli {

namespace {

using Clock = std::chrono::steady_clock;
constexpr unsigned kStartSeconds = 30;
/// What hpcd takes to bring processes home (shutdown_seconds), and a little.
constexpr unsigned kEndSeconds = 12;

int fail(const std::string& what) {
  std::fprintf(stderr, "hpc-vmm: %s\n", what.c_str());
  return 1;
}

/// Says what is being waited for, on a terminal, when it takes more than a second.
class Progress {
 public:
  void step(const std::string& what) {
    if (::isatty(2) == 0 || Clock::now() - start_ < std::chrono::seconds(1)) return;
    std::fprintf(stderr, "\r\033[K%s", what.c_str());
    shown_ = true;
  }
  void end() {
    if (shown_) std::fprintf(stderr, "\r\033[K");
    shown_ = false;
  }

 private:
  Clock::time_point start_ = Clock::now();
  bool shown_ = false;
};

std::vector<std::string> split(const std::string& list) {
  std::vector<std::string> out;
  std::istringstream in(list);
  for (std::string item; std::getline(in, item, ',');) out.push_back(item);
  return out;
}

/// Nothing of it is left afterwards; hpcds that do not end are killed.
bool remove_all(const Names& names, Progress& progress) {
  bool orderly = true;
  std::vector<unsigned> nodes = names.nodes();
  // First, so that nothing below looks into a mount.
  for (const unsigned n : nodes) unmount_tree(names, n);
  // All are asked first, so that they end side by side.
  for (const unsigned n : nodes)
    if (const int pid = running_node(names, n); pid != 0) ::kill(pid, SIGTERM);
  for (const unsigned n : nodes) {
    progress.step("ending node " + std::to_string(n) + "...");
    orderly &= end_node(names, n, kEndSeconds);
  }
  remove_network(names);
  for (unsigned n = 1; n <= kMostLocalNodes; ++n)
    if (group_exists(names, n)) remove_group(names, n);
  for (const unsigned n : nodes) remove_tree(names.node_dir(n));
  for (const char* own : {"/memif", "/cluster.key", "/speed"}) remove_tree(names.run() + own);
  ::rmdir(names.run().c_str());  // stays where somebody else has something in it
  progress.end();
  return orderly;
}

std::string make_key(const std::string& path) {
  std::array<char, 32> key{};
  if (::getrandom(key.data(), key.size(), 0) != static_cast<ssize_t>(key.size())) return "getrandom failed";
  const std::string why = write_file(path, std::string(key.data(), key.size()), 0600);
  ::explicit_bzero(key.data(), key.size());
  return why;
}

std::string make_files(const UpRequest& r) {
  const std::string run = r.names.run();
  if (::mkdir(run.c_str(), 0755) != 0 && errno != EEXIST) return run + ": " + std::strerror(errno);
  if (std::string why = make_key(run + "/cluster.key"); !why.empty()) return why;
  if (::mkdir((run + "/memif").c_str(), 0700) != 0 && errno != EEXIST)
    return run + "/memif: " + std::strerror(errno);
  for (unsigned n = 1; n <= r.nodes; ++n) {
    const std::string dir = r.names.node_dir(n);
    if (::mkdir(dir.c_str(), 0755) != 0 && errno != EEXIST) return dir + ": " + std::strerror(errno);
    if (std::string why = write_file(dir + "/hpcd.toml", node_config(r, n)); !why.empty()) return why;
  }
  return {};
}

/// How many pairs of nodes see each other; all of them when it is up.  -1: a node has ended.
int pairs_up(const UpRequest& r, std::string& why) {
  int pairs = 0;
  for (unsigned n = 1; n <= r.nodes; ++n) {
    if (running_node(r.names, n) == 0) {
      why = "node " + std::to_string(n) + " has ended; the end of its log:\n" + log_tail(r.names, n);
      return -1;
    }
    const ApiAnswer answer = ask_api(r.names.node_dir(n) + "/api.sock", {{"op", "nodes"}}, 2000);
    if (!answer.answered) continue;
    for (const nlohmann::json& other : answer.json.value("nodes", nlohmann::json::array()))
      // With CPU numbers: whoever starts a program next shall see the whole cluster.
      if (other.value("id", 0U) != n && other.value("state", "") == "up" && other.contains("first_cpu"))
        ++pairs;
  }
  return pairs;
}

std::string wait_until_up(const UpRequest& r, Progress& progress) {
  const int all = static_cast<int>(r.nodes * (r.nodes - 1));
  std::string why;
  const auto end = Clock::now() + std::chrono::seconds(kStartSeconds);
  int pairs = 0;
  while (Clock::now() < end) {
    pairs = pairs_up(r, why);
    if (pairs < 0) return why;
    bool answers = pairs == all;
    if (r.nodes == 1) answers = ask_api(r.names.node_dir(1) + "/api.sock", {{"op", "nodes"}}, 2000).answered;
    if (answers) return {};
    progress.step("waiting for the nodes to see each other: " + std::to_string(pairs) + " of " +
                  std::to_string(all));
    ::usleep(20'000);
  }
  for (unsigned n = 1; n <= r.nodes; ++n)
    why += "  log of node " + std::to_string(n) + ":\n" + log_tail(r.names, n);
  return "the nodes do not see each other after " + std::to_string(kStartSeconds) + " seconds (" +
         std::to_string(pairs) + " of " + std::to_string(all) + " connections)\n" + why;
}

std::string try_up(const UpRequest& r, Progress& progress) {
  const std::string hpcd = own_folder() + "/hpcd";
  if (::access(hpcd.c_str(), X_OK) != 0) return hpcd + " is not there: it belongs beside hpc-vmm";
  if (std::string why = make_files(r); !why.empty()) return why;
  std::vector<NodeLimits> limits = r.limits;
  give_processors(r.names, limits);
  for (unsigned n = 1; n <= r.nodes && !limits.empty(); ++n) {
    if (std::string why = make_group(r.names, n, limits[n - 1]); !why.empty()) return why;
    if (std::string why = note_group(r.names, n, limits[n - 1]); !why.empty()) return why;
  }
  progress.step("making the network...");
  if (std::string why = make_network(r.names, r.nodes); !why.empty())
    return "the network of the cluster: " + why;
  for (unsigned n = 1; n <= r.nodes; ++n) {
    progress.step("starting node " + std::to_string(n) + "...");
    if (std::string why = start_node(r.names, n, hpcd); !why.empty())
      return "node " + std::to_string(n) + " does not start: " + why;
  }
  return wait_until_up(r, progress);
}

bool any_runs(const Names& names) {
  for (const unsigned n : names.nodes())
    if (running_node(names, n) != 0) return true;
  return false;
}

std::string quoted(const std::string& text) {
  return nlohmann::json(text).dump(-1, ' ', true, nlohmann::json::error_handler_t::replace);
}

std::string address_of(const UpRequest& r, unsigned node) {
  const std::string port = ":" + std::to_string(kPort);
  return r.ipv6 ? "[" + Names::address6(node) + "]" + port : Names::address(node) + port;
}

std::string devargs(const UpRequest& r, unsigned node) {
  if (r.wire == "veth") return "net_af_packet0,iface=eth0";
  std::string out;
  for (unsigned n = 1, port = 0; n <= r.nodes; ++n) {
    if (n == node) continue;
    const unsigned low = n < node ? n : node;
    const unsigned high = n < node ? node : n;
    out += (port != 0 ? "; " : "") + std::string("net_memif") + std::to_string(port) +
           ",role=" + (node == low ? "server" : "client") + ",socket=" + r.names.run() + "/memif/memif-" +
           std::to_string(low) + "-" + std::to_string(high) + ".sock,peer=" + Names::address(n);
    ++port;
  }
  return out;
}

}  // namespace

std::string read_cpus(const std::string& list, unsigned nodes, std::vector<NodeLimits>& limits) {
  const std::vector<std::string> items = split(list);
  if (items.size() != 1 && items.size() != nodes)
    return "--cpus " + list + ": give one number for all nodes, or one for each of the " +
           std::to_string(nodes);
  limits.resize(nodes);
  for (unsigned n = 0; n < nodes; ++n) {
    const std::string& item = items[items.size() == 1 ? 0 : n];
    char* end = nullptr;
    limits[n].cpus = std::strtod(item.c_str(), &end);
    if (item.empty() || *end != 0 || !(limits[n].cpus >= 0.01) || limits[n].cpus > 4096)
      return "--cpus " + list + ": \"" + item + "\" is not a number of CPUs such as 2 or 0.5";
  }
  return {};
}

std::string read_memory(const std::string& list, unsigned nodes, std::vector<NodeLimits>& limits) {
  const std::vector<std::string> items = split(list);
  if (items.size() != 1 && items.size() != nodes)
    return "--memory " + list + ": give one size for all nodes, or one for each of the " +
           std::to_string(nodes);
  limits.resize(nodes);
  for (unsigned n = 0; n < nodes; ++n) {
    const std::string& item = items[items.size() == 1 ? 0 : n];
    char* end = nullptr;
    errno = 0;
    const unsigned long long number = std::strtoull(item.c_str(), &end, 10);
    const std::string unit = end;
    const unsigned shift = unit == "K"    ? 10
                           : unit == "M"  ? 20
                           : unit == "G"  ? 30
                           : unit == "T"  ? 40
                           : unit.empty() ? 0
                                          : 99;
    const bool good = !item.empty() && item[0] != '-' && errno == 0 && number != 0 && shift != 99 &&
                      number <= (~0ULL >> shift);
    if (!good) return "--memory " + list + ": \"" + item + "\" is not a size such as 512M or 2G";
    limits[n].memory = number << shift;
    if (limits[n].memory < 64ULL << 20) return "--memory " + list + ": a node needs at least 64M for itself";
  }
  return {};
}

std::string node_config(const UpRequest& r, unsigned node) {
  std::ostringstream out;
  out << "# Written by hpc-vmm up; gone with hpc-vmm down.\n";
  // With discovery a node finds its number, too: the low 16 bits of its address are the one meant.
  if (!r.discover) out << "node = " << node << "\n";
  out << "address = \"" << address_of(r, node) << "\"\n";
  out << "discover = " << (r.discover ? "true" : "false") << "\n";
  out << "key = " << quoted(r.names.run() + "/cluster.key") << "\n";
  out << "driver = \"" << r.driver << "\"\n";
  if (r.driver == "dpdk") out << "devargs = " << quoted(devargs(r, node)) << "\n";
  if (!r.faults.empty()) out << "faults = " << quoted(r.faults) << "\n";
  out << "run_dir = " << quoted(r.names.node_dir(node)) << "\n";
  out << "metrics = " << quoted(r.names.node_dir(node) + "/metrics.sock") << "\n";
  out << "policy = " << quoted(r.policy) << "\nshared_machine = true\n";
  out << "state_dir = " << quoted(r.names.node_dir(node)) << "\n";
  // One machine, one speed: nodes that measured it one by one would differ by noise.
  out << "speed_file = " << quoted(r.names.run() + "/speed") << "\n";
  // Tests count remotes: none is there that was not asked for.
  if (!r.remote.empty()) out << "remote = " << quoted(r.remote) << "\nspare_remotes = 0\n";
  if (!r.limits.empty() && r.limits[node - 1].cpus > 0) out << "cpus = " << r.limits[node - 1].cpus << "\n";
  if (!r.limits.empty() && r.limits[node - 1].memory != 0)
    out << "memory = " << r.limits[node - 1].memory << "\n";
  for (unsigned n = 1; n <= r.nodes && !r.discover; ++n)
    if (n != node) out << "[[seeds]]\nid = " << n << "\naddress = \"" << address_of(r, n) << "\"\n";
  return out.str();
}

int up(UpRequest r) {
  if (::geteuid() != 0) return fail("up makes network namespaces, which needs root; remedy: sudo hpc-vmm up");
  if (any_runs(r.names))
    return fail("a cluster is up already on this machine; remedy: hpc-vmm down" + r.names.option());
  Progress progress;
  if (!r.names.nodes().empty() || network_exists(r.names)) remove_all(r.names, progress);  // left by a crash
  if (r.ipv6) r.driver = "udp";  // the DPDK driver speaks IPv4
  std::string why = try_up(r, progress);
  if (!why.empty() && r.driver == "dpdk") {
    progress.end();
    remove_all(r.names, progress);
    std::fprintf(stderr, "hpc-vmm: the DPDK driver does not work here, so kernel UDP is used: %s\n",
                 why.c_str());
    r.driver = "udp";
    why = try_up(r, progress);
  }
  progress.end();
  if (!why.empty()) {
    remove_all(r.names, progress);
    return fail("the cluster is not up: " + why);
  }
  for (unsigned n = 1; n <= r.nodes; ++n)
    if (why = mount_tree(r.names, n); !why.empty())
      std::fprintf(stderr, "hpc-vmm: no file tree at %s/proc: %s\n", r.names.node_dir(n).c_str(),
                   why.c_str());
  return show_nodes({r.names, 1, r.json});
}

int down(const Names& names) {
  if (::geteuid() != 0)
    return fail("down removes network namespaces, which needs root; remedy: sudo hpc-vmm down");
  const bool was_there = !names.nodes().empty() || network_exists(names);
  Progress progress;
  if (!remove_all(names, progress))
    std::fprintf(stderr, "hpc-vmm: a node did not end by itself and was killed\n");
  if (network_exists(names)) return fail("network namespaces are left; ip netns list shows them");
  std::fputs(was_there ? "The cluster is down.\n" : "No cluster was up.\n", stderr);
  return 0;
}

}  // namespace hpcvmm::cli
