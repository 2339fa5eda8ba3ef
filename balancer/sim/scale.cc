#include "balancer/sim/scale.hh"

#include <algorithm>
#include <cmath>
#include <limits>
#include <queue>

#include "balancer/admit.hh"
#include "balancer/cost.hh"
#include "balancer/decide.hh"
#include "balancer/rules.hh"

namespace hpcvmm::balancer::sim {

namespace {

constexpr double kInfinite = std::numeric_limits<double>::infinity();
constexpr NodeId kSeeds = 3;         // the seed list every node starts with; they never crash
constexpr double kReboot = 60;       // seconds until a crashed node is back
constexpr std::size_t kHead = 1024;  // bytes of a Node that every look at it needs
constexpr double kParetoTop = 200;   // largest job over the smallest

struct Job {
  TraceJob is;
  NodeId home = 0;
  double left_s = 0;  ///< work left, while it is on no node
  double came_s = 0;  ///< to this node
  std::uint16_t moves = 0;
  Partner traffic;  ///< over pipes, which are at home
};

/// A job on a node, with what its load follows from: jobs lie anywhere, and a node is looked at often.
struct Running {
  std::uint32_t job;
  double end_v;  ///< the node's service clock at which it ends
  double work_s;
  double drag;  ///< service it needs for a second of work: away, its calls home wait
};

/// One simulated node.  All its threads share its CPUs evenly, so one clock of service per thread serves them
/// all.
struct Node {
  NodeLoad load;  ///< cpus, speed, memory, orders, epoch; the rest is filled when asked
  std::vector<Running> jobs;
  double service = 0, at_s = 0;  ///< service clock, and when it was right
  double used_mib = 0;
  std::uint32_t version = 0;  ///< of the pending end event
  std::uint32_t in_flight = 0;
  std::uint64_t turn = 0;
  bool up = true;
  double still_until_s = 0;  ///< none of its jobs may leave before
  Gossip gossip;
  Reservations promises;
};

/// A large cluster does not fit into a cache; who is next is known before it is needed.
void prefetch(const void* at, std::size_t bytes) {
  constexpr std::size_t kLine = 64;
  for (std::size_t i = 0; i < bytes; i += kLine) __builtin_prefetch(static_cast<const char*>(at) + i);
}

enum class What : std::uint8_t { End, Arrive, Land, Crash, Boot };
struct Event {
  double at_s;
  What what;
  std::uint32_t node, job, version;
  bool operator>(const Event& o) const { return at_s > o.at_s; }
};

class Simulation {
 public:
  explicit Simulation(const ScaleOptions& o)
      : o_(o), random_(o.seed * 0x9e3779b97f4a7c15 + 1), nodes_(o.nodes), idle_until_(o.nodes) {
    make_nodes();
    make_workload();
    if (o_.churn_per_hour > 0)
      for (std::uint32_t i = kSeeds; i < o_.nodes; ++i)
        push(random_.exponential(3600 / o_.churn_per_hour), What::Crash, i);
  }
  ScaleResult run();

 private:
  void make_nodes();
  void make_workload();
  TraceJob synthetic(double at);
  void push(double at, What what, std::uint32_t node, std::uint32_t job = 0, std::uint32_t version = 0) {
    events_.push({at, what, node, job, version});
  }
  double rate(const Node& n) const {
    return 1 / (stretch(n.load, static_cast<double>(n.jobs.size())) * thrash(n.load, n.used_mib, o_.knobs));
  }
  void advance(Node& n) {
    if (!n.jobs.empty()) n.service += rate(n) * (now_ - n.at_s);
    n.at_s = now_;
  }
  void schedule_end(std::uint32_t i);
  void enter(std::uint32_t i, std::uint32_t j);
  void leave(std::uint32_t i, std::uint32_t j);
  static double served(const Node& n, const Running& r) { return std::max(0.0, r.end_v - n.service); }
  static double left(const Node& n, const Running& r) { return served(n, r) / r.drag; }
  Process process(const Node& n, const Running& r) const;
  NodeLoad bare(Node& n);
  NodeLoad measured(Node& n) {
    const NodeLoad l = bare(n);
    return n.promises.count() == 0 ? l : n.promises.with_promises(l, now_, o_.knobs);
  }
  View view_of(Node& n, const NodeLoad& own);
  void handle(const Event& e);
  void arrive(std::uint32_t j);
  void land(std::uint32_t i, std::uint32_t j);
  void crash(std::uint32_t i);
  void boot(std::uint32_t i);
  void tick(std::uint32_t i);
  void send_gossip(std::uint32_t i, const NodeLoad& own);
  bool ask(NodeId target, std::uint32_t from, const Process& p, double stay_cost);
  void start_moves(std::uint32_t i, const NodeLoad& own);
  double first_may_leave(const Node& n) const;
  void watch(std::uint32_t i);

  const ScaleOptions& o_;
  Random random_;
  std::vector<Node> nodes_;
  /// Until when a node has nothing to do if nothing comes or goes: most have not, most of the time.
  std::vector<double> idle_until_;
  std::vector<Job> jobs_;
  std::priority_queue<Event, std::vector<Event>, std::greater<>> events_;
  double now_ = 0, fastest_ = 0, total_speed_ = 0, smallest_work_ = 0;
  std::uint64_t open_ = 0;  ///< jobs that run or move
  bool more_ = true;        ///< arrivals to come
  std::size_t next_trace_ = 0;
  std::vector<float> slowdowns_;
  std::vector<Process> processes_;
  std::vector<NodeLoad> everyone_;
  std::vector<std::uint32_t> free_jobs_;
  std::uint32_t knowing_ = 0;
  std::vector<bool> knows_;
  double age_sum_ = 0;
  std::uint64_t age_count_ = 0;
  ScaleResult r_;
};

void Simulation::make_nodes() {
  constexpr std::uint16_t kCpus[] = {1, 2, 4, 4, 8};
  constexpr float kSpeeds[] = {0.5F, 1, 1, 1.5F, 2};
  for (std::uint32_t i = 0; i < o_.nodes; ++i) {
    NodeLoad& l = nodes_[i].load;
    l.node = i + 1;
    // In turn, not by chance: clusters of all sizes are then alike and can be compared.
    l.cpus = o_.heterogeneous ? kCpus[i % 5] : 4;
    l.speed = o_.heterogeneous ? kSpeeds[i * 2 % 5] : 1;
    l.total_mib = l.free_mib = 2048.0F * static_cast<float>(l.cpus);
    fastest_ = std::max(fastest_, double{l.speed});
    total_speed_ += double{l.speed} * l.cpus;
  }
  for (std::uint32_t i = 0; i < o_.nodes; ++i) boot(i);
  knows_.assign(o_.nodes, false);
}

void Simulation::make_workload() {
  // Bounded Pareto with exponent 1: its mean is smallest x ln(top) / (1 - 1/top).
  smallest_work_ = o_.mean_work_s * (1 - 1 / kParetoTop) / std::log(kParetoTop);
  if (!o_.trace.empty()) {
    push(o_.trace.front().arrival_s, What::Arrive, 0);
  } else {
    push(0, What::Arrive, 0);
  }
}

TraceJob Simulation::synthetic(double at) {
  TraceJob t;
  t.arrival_s = at;
  const std::uint32_t tenth = std::max(1U, o_.nodes / 10);
  // Every tenth node is a busy one, so that it is of all kinds.
  t.home = random_.uniform() < o_.skew ? random_.below(tenth) * (o_.nodes / tenth) + 1
                                       : random_.below(o_.nodes) + 1;
  t.work_s = smallest_work_ / (1 - random_.uniform() * (1 - 1 / kParetoTop));
  t.memory_mib = static_cast<float>(std::min(2000.0, random_.exponential(o_.mean_memory_mib)));
  if (o_.talkers > 0 && random_.uniform() < o_.talkers) t.home_calls_ps = static_cast<float>(o_.talk_ps);
  return t;
}

void Simulation::schedule_end(std::uint32_t i) {
  Node& n = nodes_[i];
  ++n.version;
  if (n.jobs.empty()) return;
  const Running first = *std::min_element(
      n.jobs.begin(), n.jobs.end(), [](const Running& a, const Running& b) { return a.end_v < b.end_v; });
  push(now_ + served(n, first) / rate(n), What::End, i, first.job, n.version);
}

void Simulation::enter(std::uint32_t i, std::uint32_t j) {
  Node& n = nodes_[i];
  advance(n);
  Job& job = jobs_[j];
  job.came_s = now_;
  n.used_mib += job.is.memory_mib;
  double drag = 1;
  if (job.home != n.load.node) drag += job.is.home_calls_ps * o_.knobs.round_trip_s;
  n.jobs.push_back({j, n.service + job.left_s * drag, job.is.work_s, drag});
  n.still_until_s = 0;
  idle_until_[i] = 0;
  schedule_end(i);
}

void Simulation::leave(std::uint32_t i, std::uint32_t j) {
  Node& n = nodes_[i];
  advance(n);
  const auto at = std::find_if(n.jobs.begin(), n.jobs.end(), [j](const Running& r) { return r.job == j; });
  jobs_[j].left_s = left(n, *at);
  n.jobs.erase(at);
  idle_until_[i] = 0;
  n.used_mib = n.jobs.empty() ? 0 : n.used_mib - jobs_[j].is.memory_mib;
  schedule_end(i);
}

Process Simulation::process(const Node& n, const Running& r) const {
  const Job& job = jobs_[r.job];
  Process p;
  p.id = r.job;
  p.home = job.home;
  p.cpu_used_s = static_cast<float>(r.work_s - left(n, r));
  p.moves = job.moves;
  p.resident_s = static_cast<float>(now_ - job.came_s);
  p.working_set_mib = job.is.memory_mib;
  p.home_calls_ps = job.is.home_calls_ps;
  if (job.traffic.node != kNoNode) p.partners = {&job.traffic, 1};
  return p;
}

NodeLoad Simulation::bare(Node& n) {
  advance(n);
  NodeLoad l = n.load;
  l.measured_s = now_;
  l.run_queue = static_cast<float>(n.jobs.size());
  double sum = 0;
  for (const Running& r : n.jobs) sum += urgency(r.work_s - left(n, r), o_.knobs);
  l.urgency = static_cast<float>(sum);
  l.utilisation = std::min(1.0F, l.run_queue / static_cast<float>(l.cpus));
  l.free_mib = static_cast<float>(l.total_mib - n.used_mib);
  l.paging = n.used_mib > l.total_mib ? 1.0F : 0.0F;
  return l;
}

View Simulation::view_of(Node& n, const NodeLoad& own) {
  View v;
  v.now_s = now_;
  v.own = own;
  v.others = n.gossip.known();
  v.moves_in_flight = n.in_flight;
  if (o_.oracle) {
    everyone_.clear();
    for (Node& other : nodes_)
      if (&other != &n && other.up) everyone_.push_back(measured(other));
    v.others = everyone_;
  }
  return v;
}

void Simulation::boot(std::uint32_t i) {
  Node& n = nodes_[i];
  n.up = true;
  idle_until_[i] = 0;
  ++n.load.epoch;
  n.at_s = now_;
  n.gossip = Gossip{};
  for (NodeId s = 1; s <= std::min(kSeeds, o_.nodes); ++s) {
    if (s == n.load.node) continue;
    NodeLoad seed = nodes_[s - 1].load;
    seed.measured_s = now_;
    n.gossip.learn(seed);
  }
}

void Simulation::crash(std::uint32_t i) {
  Node& n = nodes_[i];
  if (!more_ && open_ == 0) return;
  push(now_ + kReboot, What::Boot, i);
  push(now_ + kReboot + random_.exponential(3600 / o_.churn_per_hour), What::Crash, i);
  n.up = false;
  ++n.version;
  r_.lost += n.jobs.size();
  open_ -= n.jobs.size();
  for (const Running& r : n.jobs) free_jobs_.push_back(r.job);
  n.jobs.clear();
  n.used_mib = 0;
  n.promises = Reservations{};
  // Processes whose home it was die with it wherever they run.
  for (std::uint32_t k = 0; k < o_.nodes; ++k) {
    const std::vector<Running> there = nodes_[k].jobs;
    for (const auto& [j, end_v, work_s, drag] : there) {
      if (jobs_[j].home != n.load.node) continue;
      leave(k, j);
      free_jobs_.push_back(j);
      ++r_.lost;
      --open_;
    }
  }
}

bool Simulation::ask(NodeId target, std::uint32_t from, const Process& p, double stay_cost) {
  Node& there = nodes_[target - 1];
  if (!there.up) {
    nodes_[from].gossip.forget_node(target);
    return false;
  }
  const NodeLoad own = bare(there);
  idle_until_[target - 1] = 0;
  if (there.promises.ask(own, p, stay_cost, now_, o_.knobs) == Forbidden::Nothing) return true;
  ++r_.refused;
  // The answer says how it is there: the next choice knows better.
  nodes_[from].gossip.learn(own);
  return false;
}

void Simulation::arrive(std::uint32_t j) {
  const std::uint32_t home = jobs_[j].home - 1;
  Node& n = nodes_[home];
  ++r_.jobs;
  if (!n.up) {  // nobody is there to start it
    ++r_.lost;
    free_jobs_.push_back(j);
    return;
  }
  ++open_;
  jobs_[j].left_s = jobs_[j].is.work_s;
  Process p = process(n, {j, n.service + jobs_[j].left_s, jobs_[j].left_s, 1});
  p.cpu_used_s = 0;
  const NodeLoad own = measured(n);
  const Decision d = place(view_of(n, own), p, o_.policy, o_.knobs, random_, n.turn);
  double stay = kInfinite;  // the other policies do not compare
  if (o_.policy == Policy::Mosix) stay = d.stay_cost;
  if (d.moves() && ask(d.to, home, p, stay)) {
    ++r_.placements;
    nodes_[d.to - 1].promises.settle(j);
    enter(d.to - 1, j);
    return;
  }
  enter(home, j);
}

void Simulation::land(std::uint32_t i, std::uint32_t j) {
  Node& n = nodes_[i];
  const std::uint32_t home = jobs_[j].home - 1;
  if (!n.up || !nodes_[home].up) {
    ++r_.lost;
    --open_;
    free_jobs_.push_back(j);
    return;
  }
  n.promises.settle(j);
  enter(i, j);
}

/// When rules.cc lets the first of processes_ leave, at the earliest; now or before: nothing is known.  The
/// round that has found nobody need not be repeated until then, which spares most of them.
double Simulation::first_may_leave(const Node& n) const {
  constexpr double kRounding = 1e-3;  // of the floats of a Process
  if (n.used_mib > o_.knobs.memory_high * n.load.total_mib) return 0;
  double first = kInfinite;
  for (const Process& p : processes_) {
    double at = now_ - p.resident_s + least_stay_s(p, o_.knobs);
    at = std::max(at, now_ + (o_.knobs.min_age_s - p.cpu_used_s) / n.load.speed);
    first = std::min(first, at - kRounding);
  }
  return first;
}

void Simulation::start_moves(std::uint32_t i, const NodeLoad& own) {
  Node& n = nodes_[i];
  processes_.clear();
  for (const Running& r : n.jobs) processes_.push_back(process(n, r));
  View view = view_of(n, own);
  view.processes = processes_;
  const std::vector<Decision> moves = decide(view, o_.policy, o_.knobs);
  if (moves.empty()) n.still_until_s = first_may_leave(n);
  for (const Decision& d : moves) {
    const auto j = static_cast<std::uint32_t>(d.process);
    const Process p =
        *std::find_if(processes_.begin(), processes_.end(), [&](const Process& x) { return x.id == j; });
    double stay = kInfinite;  // it must leave
    if (d.reason == Reason::LowerCost) stay = d.stay_cost;
    if (!ask(d.to, i, p, stay)) continue;
    leave(i, j);
    Job& job = jobs_[j];
    ++job.moves;
    r_.most_moves = std::max<std::uint32_t>(r_.most_moves, job.moves);
    ++r_.migrations;
    r_.moved_mib += job.is.memory_mib;
    ++n.in_flight;
    push(now_ + o_.knobs.freeze_s + job.is.memory_mib / o_.knobs.bandwidth_mib_ps, What::Land, d.to - 1, j,
         i);
  }
}

void Simulation::send_gossip(std::uint32_t i, const NodeLoad& own) {
  Node& n = nodes_[i];
  n.gossip.forget(now_, o_.gossip);
  if (!n.gossip.due(own, now_, o_.gossip)) return;
  const NodeId peer = n.gossip.peer(random_);
  if (peer == kNoNode) return;
  prefetch(&nodes_[peer - 1], kHead);
  const Gossip::Message m = n.gossip.message(own, now_, random_);
  n.gossip.sent(own, now_);
  ++r_.gossip_messages;
  Node& to = nodes_[peer - 1];
  if (!to.up) return;
  to.gossip.merge(m, peer, now_);
  if (to.gossip.news()) idle_until_[peer - 1] = 0;
  // The answer; delivered at once, as all messages are: the network's latency is far below the interval.
  ++r_.gossip_messages;
  n.gossip.merge(to.gossip.message(measured(to), now_, random_), i + 1, now_);
}

void Simulation::watch(std::uint32_t i) {
  const auto known = nodes_[i].gossip.known();
  // The mean age from a sample: all of it would cost more than the simulation.
  if (!known.empty() && random_.below(16) == 0) {
    age_sum_ += now_ - known[random_.below(static_cast<std::uint32_t>(known.size()))].measured_s;
    ++age_count_;
  }
  if (r_.converged_s >= 0 || knows_[i]) return;
  const std::size_t all = std::min<std::size_t>(Gossip::kKnown, o_.nodes - 1);
  if (known.size() < all) return;
  knows_[i] = true;
  if (++knowing_ >= 0.99 * o_.nodes) r_.converged_s = now_;
}

void Simulation::tick(std::uint32_t i) {
  Node& n = nodes_[i];
  if (!n.up) return;
  const NodeLoad own = measured(n);
  if (!o_.oracle) {
    send_gossip(i, own);
    watch(i);
  }
  if (!n.jobs.empty() && now_ >= n.still_until_s) start_moves(i, own);
  // Its load stays what it is until something comes or goes, and until then nobody is sent away or told.
  if (n.promises.count() == 0 && knows_[i] && (n.jobs.empty() || n.still_until_s > now_))
    idle_until_[i] =
        std::min(n.gossip.silent_until_s(o_.gossip), n.jobs.empty() ? kInfinite : n.still_until_s);
}

void Simulation::handle(const Event& e) {
  switch (e.what) {
    case What::End: {
      if (nodes_[e.node].version != e.version) return;
      leave(e.node, e.job);
      const Job& job = jobs_[e.job];
      slowdowns_.push_back(static_cast<float>((now_ - job.is.arrival_s) / (job.is.work_s / fastest_)));
      ++r_.finished;
      --open_;
      r_.makespan_s = now_;
      free_jobs_.push_back(e.job);
      return;
    }
    case What::Arrive: {
      const bool recorded = !o_.trace.empty();
      const TraceJob t = recorded ? o_.trace[next_trace_++] : synthetic(now_);
      std::uint32_t j = static_cast<std::uint32_t>(jobs_.size());
      if (free_jobs_.empty()) {
        jobs_.emplace_back();
      } else {
        j = free_jobs_.back();
        free_jobs_.pop_back();
      }
      jobs_[j] = Job{};
      jobs_[j].is = t;
      jobs_[j].home = (t.home - 1) % o_.nodes + 1;
      if (o_.talkers > 0 && t.home_calls_ps > 0) jobs_[j].traffic = {jobs_[j].home, t.home_calls_ps};
      arrive(j);
      double next = kInfinite;
      if (!recorded) next = now_ + random_.exponential(o_.mean_work_s / (o_.load * total_speed_));
      if (recorded && next_trace_ < o_.trace.size()) next = o_.trace[next_trace_].arrival_s;
      more_ = recorded ? next < kInfinite : next < o_.length_s;
      if (more_) push(next, What::Arrive, 0);
      return;
    }
    case What::Land:
      --nodes_[e.version].in_flight;
      land(e.node, e.job);
      return;
    case What::Crash: crash(e.node); return;
    case What::Boot: boot(e.node); return;
  }
}

ScaleResult Simulation::run() {
  r_.nodes = o_.nodes;
  // Each node ticks once per interval, all spread over it: no queue is needed for them.
  const double step = o_.gossip.interval_s / o_.nodes;
  for (std::uint64_t ticks = 0; more_ || open_ > 0; ++ticks) {
    const double at = static_cast<double>(ticks) * step;
    if (o_.cut && at > o_.length_s) break;
    while (!events_.empty() && events_.top().at_s <= at) {
      const Event e = events_.top();
      events_.pop();
      now_ = std::max(now_, e.at_s);
      handle(e);
    }
    now_ = std::max(now_, at);
    const auto i = static_cast<std::uint32_t>(ticks % o_.nodes);
    if (const std::uint32_t j = (i + 2) % o_.nodes; idle_until_[j] <= at) prefetch(&nodes_[j], kHead);
    if (const std::uint32_t j = (i + 1) % o_.nodes; idle_until_[j] <= at)
      for (const Running& r : nodes_[j].jobs) __builtin_prefetch(&jobs_[r.job]);
    if (idle_until_[i] <= at) tick(i);
  }
  r_.gossip_bytes = r_.gossip_messages * Gossip::kMessageBytes;
  r_.gossip_bytes_per_node_s = static_cast<double>(r_.gossip_bytes) / std::max(1.0, now_) / o_.nodes;
  r_.mean_age_s = age_sum_ / static_cast<double>(std::max<std::uint64_t>(1, age_count_));
  double sum = 0;
  for (const float s : slowdowns_) sum += s;
  if (slowdowns_.empty()) return r_;
  r_.mean_slowdown = sum / static_cast<double>(slowdowns_.size());
  const std::size_t p99 = slowdowns_.size() * 99 / 100;
  std::nth_element(slowdowns_.begin(), slowdowns_.begin() + static_cast<std::ptrdiff_t>(p99),
                   slowdowns_.end());
  r_.p99_slowdown = slowdowns_[p99];
  return r_;
}

}  // namespace

ScaleResult run_scale(const ScaleOptions& options) { return Simulation(options).run(); }

}  // namespace hpcvmm::balancer::sim
