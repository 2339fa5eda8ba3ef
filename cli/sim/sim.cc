#include "cli/sim/sim.hh"

#include <CLI/CLI.hpp>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <thread>

#include "balancer/sim/scale.hh"
#include "balancer/sim/svg.hh"
#include "balancer/sim/tpds2000.hh"
#include "cli/sim/replay.hh"
#include "net/discovery/cluster_sim.hh"

namespace hpcvmm::cli {

namespace {

namespace sim = balancer::sim;
using Json = nlohmann::ordered_json;

struct TpdsArguments {
  std::uint32_t runs = 3000;
  std::uint64_t seed = 1;
  unsigned threads = 0;
  bool json = false;
  sim::TpdsModel model;
};

struct MembershipArguments {
  std::vector<std::uint32_t> nodes{10, 50, 200};
  std::string svg;
  bool json = false;
  net::discovery::ClusterSimOptions options;
};

struct ScaleArguments {
  std::vector<std::uint32_t> nodes{12, 100, 1000};
  std::string policy = "mosix", trace, svg;
  bool json = false, uniform = false;
  sim::ScaleOptions options;
};

int fail(const std::string& why) {
  std::fprintf(stderr, "hpc-vmm: sim: %s\n", why.c_str());
  return 1;
}

int tpds(const TpdsArguments& a) {
  const unsigned threads = a.threads != 0 ? a.threads : std::max(1U, std::thread::hardware_concurrency());
  const auto results = sim::tpds2000(a.model, a.runs, a.seed, threads);
  if (a.json) {
    Json out;
    for (std::size_t m = 0; m < results.size(); ++m) {
      const sim::TpdsResult& r = results[m];
      out[std::string(sim::name(sim::kMethods[m]))] = {{"by_job", r.by_job},
                                                       {"by_execution", r.by_execution},
                                                       {"by_execution_standard_error", r.by_execution_error},
                                                       {"finished_share", r.finished_share},
                                                       {"moves_per_job", r.moves_per_job}};
    }
    std::printf("%s\n", out.dump(2).c_str());
    return 0;
  }
  std::printf("Average slowdown over %u executions, same jobs for all (Amir et al., TPDS 2000)\n", a.runs);
  std::printf("%-8s %8s %13s %7s %9s %10s\n", "METHOD", "BY-JOB", "BY-EXECUTION", "+-", "FINISHED",
              "MOVES/JOB");
  for (std::size_t m = 0; m < results.size(); ++m) {
    const sim::TpdsResult& r = results[m];
    std::printf("%-8s %8.3f %13.3f %7.3f %8.1f%% %10.2f\n", std::string(sim::name(sim::kMethods[m])).c_str(),
                r.by_job, r.by_execution, r.by_execution_error, 100 * r.finished_share, r.moves_per_job);
  }
  return 0;
}

Json to_json(const sim::ScaleResult& r) {
  return {{"nodes", r.nodes},
          {"jobs", r.jobs},
          {"finished", r.finished},
          {"lost", r.lost},
          {"mean_slowdown", r.mean_slowdown},
          {"p99_slowdown", r.p99_slowdown},
          {"makespan_s", r.makespan_s},
          {"placements", r.placements},
          {"migrations", r.migrations},
          {"refused", r.refused},
          {"most_moves", r.most_moves},
          {"bytes_moved", r.moved_mib * 1048576},
          {"gossip_messages", r.gossip_messages},
          {"gossip_bytes", r.gossip_bytes},
          {"gossip_bytes_per_node_s", r.gossip_bytes_per_node_s},
          {"converged_s", r.converged_s},
          {"mean_age_s", r.mean_age_s}};
}

bool write_svg(const std::string& path, const std::vector<sim::ScaleResult>& results) {
  sim::Chart chart{"Gossip against cluster size",
                   "nodes",
                   "seconds",
                   {{"convergence", {}}, {"mean age of what is known", {}}}};
  for (const sim::ScaleResult& r : results) {
    if (r.converged_s >= 0) chart.series[0].points.emplace_back(r.nodes, r.converged_s);
    chart.series[1].points.emplace_back(r.nodes, r.mean_age_s);
  }
  std::ofstream file(path);
  file << sim::svg(chart);
  return file.flush().good();
}

void print_table_row(const sim::ScaleResult& r) {
  std::printf("%7u %9llu %6llu %8.3f %8.2f %9.0f %9llu %10llu %6u %10.1f %10.1f %10.1f %8.1f\n", r.nodes,
              static_cast<unsigned long long>(r.finished), static_cast<unsigned long long>(r.lost),
              r.mean_slowdown, r.p99_slowdown, r.makespan_s, static_cast<unsigned long long>(r.placements),
              static_cast<unsigned long long>(r.migrations), r.most_moves, r.moved_mib / 1024,
              static_cast<double>(r.gossip_bytes) / 1048576, r.gossip_bytes_per_node_s, r.converged_s);
  std::fflush(stdout);
}

int read_trace(const std::string& path, std::vector<sim::TraceJob>& jobs) {
  std::ifstream file(path);
  if (!file) return fail("--trace " + path + ": " + std::strerror(errno));
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  std::uint32_t line = 0;
  Result<std::vector<sim::TraceJob>> parsed = sim::parse_trace(text, line);
  if (!parsed)
    return fail("--trace " + path + ": line " + std::to_string(line) +
                ": not `arrival_s home work_s memory_mib [home_calls_ps]` in order of arrival");
  jobs = *std::move(parsed);
  return jobs.empty() ? fail("--trace " + path + ": no job in it") : 0;
}

int scale(ScaleArguments& a) {
  sim::ScaleOptions& o = a.options;
  o.heterogeneous = !a.uniform;
  o.oracle = a.policy == "oracle";
  o.policy = a.policy == "static"        ? balancer::Policy::Static
             : a.policy == "round-robin" ? balancer::Policy::RoundRobin
             : a.policy == "random"      ? balancer::Policy::Random
                                         : balancer::Policy::Mosix;
  for (const std::uint32_t n : a.nodes)
    if (o.oracle && n > sim::kOracleNodes)
      return fail("--policy oracle looks at all nodes each time: at most " +
                  std::to_string(sim::kOracleNodes) + " nodes");
  if (!a.trace.empty())
    if (const int status = read_trace(a.trace, o.trace); status != 0) return status;
  std::vector<sim::ScaleResult> results;
  if (!a.json)
    std::printf("%7s %9s %6s %8s %8s %9s %9s %10s %6s %10s %10s %10s %8s\n", "NODES", "FINISHED", "LOST",
                "SLOWDOWN", "P99", "MAKESPAN", "PLACED", "MIGRATIONS", "MOST", "MOVED-GIB", "GOSSIP-MIB",
                "GOSSIP-B/S", "CONVERGE");
  for (const std::uint32_t n : a.nodes) {
    o.nodes = n;
    results.push_back(sim::run_scale(o));
    if (!a.json) print_table_row(results.back());
  }
  if (a.json) {
    Json out = Json::array();
    for (const sim::ScaleResult& r : results) out.push_back(to_json(r));
    std::printf("%s\n", out.dump(2).c_str());
  }
  if (!a.svg.empty() && !write_svg(a.svg, results))
    return fail("--svg " + a.svg + ": " + std::strerror(errno));
  return 0;
}

Json to_json(const net::discovery::ClusterSimResult& r) {
  return {{"nodes", r.nodes},
          {"all_know_all_s", r.all_know_all_s},
          {"join_known_s", r.join_known_s},
          {"join_knows_s", r.join_knows_s},
          {"crash_noticed_s", r.crash_noticed_s},
          {"crash_known_s", r.crash_known_s},
          {"partition_heals_s", r.partition_heals_s},
          {"idle_bytes_per_node_s", r.idle_bytes_ps},
          {"idle_packets_per_node_s", r.idle_packets_ps},
          {"busy_bytes_per_node_s", r.busy_bytes_ps},
          {"longest_packet", r.longest_packet},
          {"false_deaths", r.false_deaths}};
}

bool write_membership_svg(const std::string& path,
                          const std::vector<net::discovery::ClusterSimResult>& results) {
  sim::Chart times{"Membership against cluster size",
                   "nodes",
                   "seconds; 100 bytes/s per node",
                   {{"all know all, cold start", {}},
                    {"all know a newcomer", {}},
                    {"all know a crash", {}},
                    {"idle traffic per node", {}}}};
  for (const auto& r : results) {
    const double n = r.nodes;
    times.series[0].points.emplace_back(n, r.all_know_all_s);
    times.series[1].points.emplace_back(n, r.join_known_s);
    times.series[2].points.emplace_back(n, r.crash_known_s);
    times.series[3].points.emplace_back(n, r.idle_bytes_ps / 100);
  }
  std::ofstream file(path);
  file << sim::svg(times);
  return file.flush().good();
}

int membership(MembershipArguments& a) {
  std::vector<net::discovery::ClusterSimResult> results;
  if (!a.json)
    std::printf("%7s %9s %9s %9s %9s %9s %9s %9s %9s %6s\n", "NODES", "ALL-KNOW", "NEW-KNOWN", "NEW-KNOWS",
                "NOTICED", "CRASH", "HEALED", "IDLE-B/S", "BUSY-B/S", "WRONG");
  for (const std::uint32_t n : a.nodes) {
    a.options.nodes = n;
    results.push_back(net::discovery::simulate_cluster(a.options));
    const auto& r = results.back();
    if (a.json) continue;
    std::printf("%7u %9.2f %9.2f %9.2f %9.2f %9.2f %9.2f %9.0f %9.0f %6u\n", r.nodes, r.all_know_all_s,
                r.join_known_s, r.join_knows_s, r.crash_noticed_s, r.crash_known_s, r.partition_heals_s,
                r.idle_bytes_ps, r.busy_bytes_ps, r.false_deaths);
    std::fflush(stdout);
  }
  if (a.json) {
    Json out = Json::array();
    for (const auto& r : results) out.push_back(to_json(r));
    std::printf("%s\n", out.dump(2).c_str());
  }
  if (!a.svg.empty() && !write_membership_svg(a.svg, results))
    return fail("--svg " + a.svg + ": " + std::strerror(errno));
  return 0;
}

CLI::App* add_membership(CLI::App& sim_verb, MembershipArguments& a) {
  CLI::App* const verb = sim_verb.add_subcommand(
      "membership", "how nodes find and watch each other, in a simulated network: seconds and traffic");
  verb->add_option("--nodes", a.nodes, "cluster sizes, such as 10,100,1000")
      ->delimiter(',')
      ->check(CLI::Range(2U, 10000U))
      ->capture_default_str();
  verb->add_option("--loss", a.options.loss, "share of the packets that are lost")
      ->check(CLI::Range(0.0, 0.9))
      ->capture_default_str();
  verb->add_option("--seed", a.options.seed, "of the random numbers")->capture_default_str();
  verb->add_option("--svg", a.svg, "plot the times and the traffic against cluster size into this file");
  verb->add_flag("--json", a.json, "as JSON");
  return verb;
}

CLI::App* add_tpds(CLI::App& sim_verb, TpdsArguments& a) {
  CLI::App* const verb =
      sim_verb.add_subcommand("tpds2000", "the model of Amir et al., IEEE TPDS 11(7), 2000");
  verb->add_option("--runs", a.runs, "executions")->check(CLI::Range(1U, 1000000U))->capture_default_str();
  verb->add_option("--seed", a.seed, "of the random numbers")->capture_default_str();
  verb->add_option("--threads", a.threads, "0: one per CPU; the result does not depend on it")
      ->capture_default_str();
  verb->add_flag("--json", a.json, "as JSON");
  sim::TpdsModel& m = a.model;
  const std::string group = "What the paper leaves open";
  verb->add_option("--least-r", m.least_r, "least r of the CPU need 2/r")
      ->check(CLI::Range(0.0001, 1.0))
      ->capture_default_str()
      ->group(group);
  verb->add_option("--least-m", m.least_m, "least m of the memory need 1/m %")
      ->check(CLI::Range(0.0001, 1.0))
      ->capture_default_str()
      ->group(group);
  verb->add_option("--need-of-part", m.need_is_of_part, "each part of a parallel job needs 20/r; 0: together")
      ->capture_default_str()
      ->group(group);
  verb->add_option("--memory-of-part", m.memory_is_of_part, "each part needs 1/m %; 0: together")
      ->capture_default_str()
      ->group(group);
  verb->add_option("--length", m.length_s, "seconds")
      ->check(CLI::Range(10.0, 1e7))
      ->capture_default_str()
      ->group(group);
  verb->add_option("--looked-at", m.looked_at, "machines a migrating method looks at each second")
      ->check(CLI::Range(1U, 100U))
      ->capture_default_str()
      ->group(group);
  verb->add_option("--mosix-threshold", m.mosix_threshold,
                   "difference of relative load from which MOSIX moves")
      ->capture_default_str()
      ->group(group);
  return verb;
}

CLI::App* add_scale(CLI::App& sim_verb, ScaleArguments& a) {
  CLI::App* const verb =
      sim_verb.add_subcommand("scale", "clusters of 2 to 100000 nodes: slowdown, moves, gossip");
  sim::ScaleOptions& o = a.options;
  o.threads = 0;
  verb->add_option("--nodes", a.nodes, "cluster sizes, such as 12,1000")
      ->delimiter(',')
      ->check(CLI::Range(2U, 100000U))
      ->capture_default_str();
  verb->add_option("--length", o.length_s, "seconds of arrivals; the run ends with the last job")
      ->check(CLI::Range(1.0, 1e7))
      ->capture_default_str();
  verb->add_option("--load", o.load, "offered work over total speed")
      ->check(CLI::Range(0.01, 2.0))
      ->capture_default_str();
  verb->add_option("--work", o.mean_work_s, "mean work of a job, seconds of the reference CPU")
      ->check(CLI::Range(0.1, 1e6))
      ->capture_default_str();
  verb->add_option("--memory", o.mean_memory_mib, "mean memory of a job, MiB")
      ->check(CLI::Range(0.1, 1e5))
      ->capture_default_str();
  verb->add_option("--skew", o.skew, "share of the jobs that start on a tenth of the nodes")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
  verb->add_option("--talkers", o.talkers, "share of the jobs that talk to a partner over a pipe at home")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
  verb->add_option("--talk", o.talk_ps, "messages of such a job per second of running, each a call home")
      ->check(CLI::Range(0.0, 1e6))
      ->capture_default_str();
  verb->add_option("--partner-weight", o.knobs.partner_weight,
                   "what a partner's waiting counts in the decision")
      ->check(CLI::Range(0.0, 100.0))
      ->capture_default_str();
  verb->add_option("--churn", o.churn_per_hour, "crashes per node and hour; back after a minute")
      ->check(CLI::Range(0.0, 60.0))
      ->capture_default_str();
  verb->add_option("--policy", a.policy, "how processes are placed and moved")
      ->check(CLI::IsMember({"mosix", "static", "round-robin", "random", "oracle"}))
      ->capture_default_str();
  verb->add_option("--gossip-interval", o.gossip.interval_s,
                   "seconds between messages while the load changes")
      ->check(CLI::Range(0.1, 60.0))
      ->capture_default_str();
  verb->add_option("--hysteresis", o.knobs.hysteresis, "share of the cost of staying that a move must save")
      ->check(CLI::Range(0.0, 10.0))
      ->capture_default_str();
  verb->add_option("--latency", o.latency_s, "seconds that a message between nodes takes")
      ->check(CLI::Range(0.0001, 0.1))
      ->capture_default_str();
  verb->add_option("--threads", o.threads,
                   "0: as many as pay for this size; the result does not depend on it")
      ->capture_default_str();
  verb->add_flag("--cut", o.cut, "end at --length; jobs that run then are not counted");
  verb->add_flag("--uniform", a.uniform,
                 "4 CPUs of the same speed everywhere, instead of 1 to 8 of 0.5 to 2");
  verb->add_option("--trace", a.trace, "jobs from this file; format in balancer/sim/README.md");
  verb->add_option("--seed", o.seed, "of the random numbers")->capture_default_str();
  verb->add_option("--svg", a.svg,
                   "plot convergence and age of information against cluster size into this file");
  verb->add_flag("--json", a.json, "as JSON");
  return verb;
}

struct SimArguments {
  TpdsArguments tpds;
  ScaleArguments scale;
  MembershipArguments membership;
  std::string recorded;
  bool replay_json = false;
  const CLI::App *tpds_verb = nullptr, *replay_verb = nullptr, *membership_verb = nullptr;
};

void add_sim(CLI::App& app, SimArguments& a) {
  CLI::App* const verb = app.add_subcommand("sim", "simulate the balancer");
  verb->require_subcommand(1);
  a.tpds_verb = add_tpds(*verb, a.tpds);
  add_scale(*verb, a.scale);
  CLI::App* const replay_verb =
      verb->add_subcommand("replay", "decide again what a live node has recorded (ctl record=FILE)");
  replay_verb->add_option("file", a.recorded, "the recorded decisions")->required();
  replay_verb->add_flag("--json", a.replay_json, "as JSON");
  replay_verb->footer("Exit status: 0 only if every round is decided as it was then.");
  a.replay_verb = replay_verb;
  a.membership_verb = add_membership(*verb, a.membership);
}

}  // namespace

void describe_sim(const std::function<void(const CLI::App&)>& with) {
  CLI::App app;
  SimArguments a;
  add_sim(app, a);
  with(app);
}

int sim_main(int argc, char** argv) {
  if (argc < 2 || std::strcmp(argv[1], "sim") != 0) return -1;
  CLI::App app{"Runs unmodified Linux programs, IA32 and x86-64, each in its own micro-VM.", "hpc-vmm"};
  app.require_subcommand(1);
  SimArguments a;
  add_sim(app, a);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    const int rc = app.exit(e);
    return rc == 0 ? 0 : 125;
  }
  if (a.replay_verb->parsed()) return replay(a.recorded, a.replay_json);
  if (a.membership_verb->parsed()) return membership(a.membership);
  return a.tpds_verb->parsed() ? tpds(a.tpds) : scale(a.scale);
}

}  // namespace hpcvmm::cli
