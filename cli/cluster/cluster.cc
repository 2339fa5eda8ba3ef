#include "cli/cluster/cluster.hh"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "cli/cluster/map.hh"
#include "cli/cluster/show.hh"
#include "cli/cluster/up.hh"

namespace hpcvmm::cli {

namespace {

struct Arguments {
  CLI::App *up = nullptr, *down = nullptr, *nodes = nullptr, *ps = nullptr, *migrate = nullptr,
           *ctl = nullptr, *drain = nullptr, *resume = nullptr, *why = nullptr, *showmap = nullptr,
           *setpe = nullptr;
  std::string cluster, cpus, memory;
  UpRequest up_request;
  AskRequest ask;
  MigrateRequest move;
  CtlRequest ctl_request;
  DrainRequest drain_request;
  WhyRequest why_request;
  bool at_once = false;
  SetpeRequest pe;
  bool verbose = false;
};

void add_cluster(CLI::App* verb, std::string& cluster) {
  verb->add_option("--cluster", cluster,
                   "another cluster beside the usual one, by name (1 to 8 letters and digits)")
      ->envname("HPCVMM_CLUSTER");
}

void add_ask(CLI::App* verb, AskRequest& ask) {
  verb->add_option("--node", ask.node, "the node whose hpcd is asked")
      ->check(CLI::Range(1U, 65535U))
      ->capture_default_str();
  verb->add_flag("--json", ask.json, "as JSON");
}

int usage(const std::string& why) {
  std::fprintf(stderr, "hpc-vmm: %s\n", why.c_str());
  return 1;
}

void add_verbs(CLI::App& app, Arguments& a) {
  a.up = app.add_subcommand("up", "make a cluster of several nodes on this machine");
  add_cluster(a.up, a.cluster);
  a.up->add_option("--nodes", a.up_request.nodes, "how many nodes")
      ->check(CLI::Range(1U, kMostLocalNodes))
      ->capture_default_str();
  a.up->add_option("--driver", a.up_request.driver, "network driver; dpdk falls back to udp with a message")
      ->check(CLI::IsMember({"dpdk", "udp"}))
      ->capture_default_str();
  a.up->add_option("--wire", a.up_request.wire,
                   "what DPDK runs over: shared memory (memif), or Ethernet frames (veth)")
      ->check(CLI::IsMember({"memif", "veth"}))
      ->capture_default_str();
  a.up->add_option("--cpus", a.cpus,
                   "CPUs of each node, such as 2 or 0.5: one for all, or a list 2,1,0.5; where each "
                   "fits on one processor, its programs stay on that");
  a.up->add_option("--memory", a.memory,
                   "memory of each node, such as 2G: one for all, or a list 2G,1G,512M");
  a.up->add_option("--faults", a.up_request.faults,
                   "make the network bad, for tests, such as loss=1%,reorder=1%,delay=1ms,seed=7");
  a.up->add_option("--policy", a.up_request.policy,
                   "who decides where processes run: the balancer (mosix), nobody (static), or a simple rule")
      ->check(CLI::IsMember({"mosix", "static", "round-robin", "random"}))
      ->capture_default_str();
  a.up->add_option("--remote", a.up_request.remote, "the executable that runs foreign processes")
      ->group("");  // tests
  a.up->add_flag(
      "--discover", a.up_request.discover,
      "the nodes get no list of each other: they find each other, and their numbers, by multicast");
  a.up->add_flag("--ipv6", a.up_request.ipv6, "nodes reach each other by IPv6; kernel UDP");
  a.up->add_flag("--json", a.up_request.json, "print the nodes as JSON");
  a.up->footer(
      "Each node is a network namespace (hpcvmm-1...) with an hpcd in it; its files are in "
      "/run/hpc-vmm/1...\n"
      "Limits of CPUs and memory hold for the programs on the node: its own that root launches, and its "
      "guests.\nNeeds root.");
  a.down = app.add_subcommand("down", "end the cluster on this machine; its processes come home first");
  add_cluster(a.down, a.cluster);
  a.nodes = app.add_subcommand("nodes", "the nodes of the cluster");
  add_cluster(a.nodes, a.cluster);
  add_ask(a.nodes, a.ask);
  a.ps = app.add_subcommand("ps", "the processes of the cluster, on all nodes");
  add_cluster(a.ps, a.cluster);
  add_ask(a.ps, a.ask);
  a.ps->add_flag("-v,--verbose", a.verbose,
                 "with the reason why one cannot move, the whole path of the program, and the memory that it "
                 "shares with others");
  a.migrate = app.add_subcommand("migrate", "move a running process to another node, or home");
  add_cluster(a.migrate, a.cluster);
  add_ask(a.migrate, a.ask);
  a.migrate
      ->add_option("process", a.move.process,
                   "its number at its home; HOME:PID where two nodes have that number")
      ->required();
  a.migrate->add_option("to", a.move.to, "the number of a node, or: home, or balance: the best one")
      ->required();
  a.migrate
      ->add_option("--mode", a.move.mode, "memory moves before, after, or partly before the process does")
      ->check(CLI::IsMember({"hybrid", "precopy", "postcopy"}))
      ->capture_default_str();
  a.migrate->footer("Exit status: 0 only if the process runs there now.");
}

void add_balance_verbs(CLI::App& app, Arguments& a) {
  a.ctl = app.add_subcommand("ctl", "show or change the balancer's settings of a node");
  a.ctl->add_option("words", a.ctl_request.words, "[NODE] [KEY[=VALUE]...]");
  a.ctl->add_flag("--no-wait", a.at_once, "do not wait until expel or bring are done");
  a.ctl->footer(
      "Orders: stay, lstay, block, quiet, expel, bring (true or false).  policy: mosix, static, round-robin, "
      "random.\nspeed 0 is as measured; owner_active: auto, true or false.  All are remembered.  Changing "
      "needs root.");
  a.drain = app.add_subcommand("drain", "move everything off a node; returns when it is empty");
  a.drain->add_option("number", a.drain_request.node, "the node")->required()->check(CLI::Range(1U, 65535U));
  a.drain->add_flag("--no-wait", a.at_once, "do not wait until it is empty");
  a.resume = app.add_subcommand("resume", "let a node that was drained take processes again");
  a.resume->add_option("number", a.drain_request.node, "the node")->required()->check(CLI::Range(1U, 65535U));
  a.why = app.add_subcommand("why", "why a process is where it is, and what other nodes would cost");
  a.why->add_option("process", a.why_request.process, "its number at its home, or HOME:PID")->required();
  for (CLI::App* const verb : {a.ctl, a.drain, a.resume, a.why}) {
    add_cluster(verb, a.cluster);
    add_ask(verb, a.ask);
  }
}

int run_balance(Arguments& a) {
  a.ctl_request.ask = a.drain_request.ask = a.why_request.ask = a.ask;
  a.ctl_request.wait = a.drain_request.wait = !a.at_once;
  a.drain_request.resume = a.resume->parsed();
  if (a.why->parsed()) return why(a.why_request);
  return a.ctl->parsed() ? ctl(a.ctl_request) : drain(a.drain_request);
}

void add_map_verbs(CLI::App& app, Arguments& a) {
  a.showmap = app.add_subcommand("showmap", "the nodes of the cluster as a map: number, address, how many");
  add_cluster(a.showmap, a.cluster);
  add_ask(a.showmap, a.ask);
  CLI::App* const v = a.setpe =
      app.add_subcommand("setpe", "check, install or read a map file; leave the cluster");
  add_cluster(v, a.cluster);
  v->add_option("--node", a.ask.node, "the node whose hpcd is asked")->capture_default_str();
  v->add_flag("-w", a.pe.write, "install the map of -f as /etc/hpc.map; this machine must be in it");
  v->add_flag("-W", a.pe.write_any, "the same, also where this machine is not in it");
  v->add_flag("-r", a.pe.read, "print the map in use: of the running cluster, else of the file");
  v->add_flag("--off", a.pe.off, "leave the cluster: hpcd brings processes home and ends.  Also -off");
  v->add_flag("-c", a.pe.check, "with -w: only check");
  v->add_option("-f", a.pe.file, "the map file; - reads from stdin")->capture_default_str();
  v->add_option("-p", a.pe.own, "this node's number, which is otherwise found by its addresses");
  v->add_option("-n", a.pe.inet, "this node's address in the map");
  v->add_option("-g", a.pe.gateways, "accepted as openMosix had it: routes are the kernel's business here")
      ->check(CLI::Range(0, 2));
  v->footer("Exit status: 0 done or right, 1 not; messages name the line of the map.");
}

int run(Arguments& a) {
  if (!a.cluster.empty() && !good_cluster_name(a.cluster))
    return usage("--cluster " + a.cluster + ": a name is 1 to 8 small letters and digits, a letter first");
  a.ask.names = a.up_request.names = Names{a.cluster};
  if (a.ctl->parsed() || a.drain->parsed() || a.resume->parsed() || a.why->parsed()) return run_balance(a);
  if (a.down->parsed()) return down(Names{a.cluster});
  if (a.nodes->parsed()) return show_nodes(a.ask);
  if (a.showmap->parsed()) return show_map(a.ask);
  if (a.setpe->parsed()) {
    a.pe.ask = a.ask;
    return setpe(a.pe);
  }
  if (a.ps->parsed()) return show_processes(a.ask, a.verbose);
  if (a.migrate->parsed()) {
    a.move.ask = a.ask;
    return migrate(a.move);
  }
  UpRequest& r = a.up_request;
  std::string why;
  if (!a.cpus.empty()) why = read_cpus(a.cpus, r.nodes, r.limits);
  if (why.empty() && !a.memory.empty()) why = read_memory(a.memory, r.nodes, r.limits);
  return why.empty() ? up(r) : usage(why);
}

}  // namespace

void describe_cluster(const std::function<void(const CLI::App&)>& with) {
  CLI::App app;
  Arguments a;
  add_verbs(app, a);
  add_balance_verbs(app, a);
  add_map_verbs(app, a);
  with(app);
}

int cluster_main(int argc, char** argv) {
  const std::string verb = argc > 1 ? argv[1] : "";
  static constexpr std::array kVerbs{"up",    "down",   "nodes", "ps",      "migrate", "ctl",
                                     "drain", "resume", "why",   "showmap", "setpe"};
  if (std::find(kVerbs.begin(), kVerbs.end(), verb) == kVerbs.end()) return -1;
  CLI::App app{"Runs unmodified Linux programs, IA32 and x86-64, each in its own micro-VM.", "hpc-vmm"};
  app.require_subcommand(1);
  Arguments a;
  add_verbs(app, a);
  add_balance_verbs(app, a);
  add_map_verbs(app, a);
  try {
    // openMosix wrote -off with one dash.
    std::vector<std::string> words(argv + 1, argv + argc);
    for (std::string& word : words)
      if (verb == "setpe" && word == "-off") word = "--off";
    std::reverse(words.begin(), words.end());
    app.parse(std::move(words));
  } catch (const CLI::ParseError& e) {
    const int rc = app.exit(e);
    return rc == 0 ? 0 : 125;
  }
  return run(a);
}

}  // namespace hpcvmm::cli
