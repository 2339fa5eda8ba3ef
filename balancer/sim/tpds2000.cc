#include "balancer/sim/tpds2000.hh"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <thread>

#include "balancer/cost.hh"
#include "balancer/decide.hh"

namespace hpcvmm::balancer::sim {

namespace {

constexpr double kInfinite = std::numeric_limits<double>::infinity();
constexpr std::size_t kMachines = 6;
// Paper: three Pentium Pro 200 MHz / 64 MB, two 133 MHz / 32 MB, a laptop 90 MHz / 24 MB.
constexpr std::array<double, kMachines> kSpeed{1, 1, 1, 133.0 / 200, 133.0 / 200, 90.0 / 200};
constexpr std::array<double, kMachines> kMemoryMb{64, 64, 64, 32, 32, 24};

struct Job {
  TpdsJob is;
  double left_s;
  std::size_t on = 0;
  std::array<double, kMachines> memory_factor;  ///< n^(its share of each machine's memory)
  double weight = 0;                            ///< the oracle's
};

/// n^x, n the number of machines.
double power(double x) { return std::exp(std::log(static_cast<double>(kMachines)) * x); }

/// The cluster of one execution: who is where, and how fast it runs there.
class Cluster {
 public:
  Cluster(const TpdsModel& model, const std::vector<TpdsJob>& jobs) : model_(model) {
    jobs_.reserve(jobs.size());
    for (const TpdsJob& j : jobs) {
      Job job{j, j.need_s, 0, {}, 0};
      // Ten times the memory is as bad as any more, and must not overflow.
      for (std::size_t m = 0; m < kMachines; ++m)
        job.memory_factor[m] = power(std::min(10.0, j.memory_mb / kMemoryMb[m]));
      jobs_.push_back(job);
    }
    for (std::size_t m = 0; m < kMachines; ++m) keep_powers(m);
  }
  Job& job(std::uint32_t i) { return jobs_[i]; }
  const std::vector<std::uint32_t>& on(std::size_t m) const { return on_[m]; }
  double used(std::size_t m) const { return used_[m]; }
  double now() const { return now_; }
  /// Fair share, divided by tau where memory is over-committed.
  double rate(std::size_t m) const {
    const double tau = used_[m] > kMemoryMb[m] + 1e-9 ? model_.thrash_factor : 1;
    return kSpeed[m] / (static_cast<double>(on_[m].size()) * tau);
  }
  double load(std::size_t m) const { return static_cast<double>(on_[m].size()) / kSpeed[m]; }
  void put(std::uint32_t i, std::size_t m) {
    jobs_[i].on = m;
    on_[m].push_back(i);
    used_[m] += jobs_[i].is.memory_mb;
    keep_powers(m);
    if (largest_ >= load(m)) return;
    while (largest_ < load(m)) largest_ *= 2;
    for (std::size_t q = 0; q < kMachines; ++q) keep_powers(q);
  }
  void take(std::uint32_t i) {
    const std::size_t m = jobs_[i].on;
    on_[m].erase(std::find(on_[m].begin(), on_[m].end(), i));
    used_[m] = on_[m].empty() ? 0 : used_[m] - jobs_[i].is.memory_mb;
    keep_powers(m);
  }
  void advance(double to) {
    for (std::size_t m = 0; m < kMachines; ++m) {
      if (on_[m].empty()) continue;
      const double done = rate(m) * (to - now_);
      for (const std::uint32_t i : on_[m]) jobs_[i].left_s -= done;
    }
    now_ = to;
  }
  /// The next job to end if nothing else happens; false if none runs.
  bool next_end(double& when, std::uint32_t& which) const {
    when = kInfinite;
    for (std::size_t m = 0; m < kMachines; ++m) {
      if (on_[m].empty()) continue;
      std::uint32_t first = on_[m].front();
      for (const std::uint32_t i : on_[m])
        if (jobs_[i].left_s < jobs_[first].left_s) first = i;
      const double end = now_ + std::max(0.0, jobs_[first].left_s) / rate(m);
      if (end >= when) continue;
      when = end;
      which = first;
    }
    return when < kInfinite;
  }
  /// Paper: n^(memory share) + n^(load / L), with job i less without it; `here` if it is on m already.
  double marginal(std::size_t m, std::uint32_t i, bool here) const {
    const double factor = jobs_[i].memory_factor[m];
    const double step = step_power_[m];
    return here ? memory_power_[m] * (1 - 1 / factor) + load_power_[m] * (1 - 1 / step)
                : memory_power_[m] * (factor - 1) + load_power_[m] * (step - 1);
  }

 private:
  void keep_powers(std::size_t m) {
    memory_power_[m] = power(used_[m] / kMemoryMb[m]);
    load_power_[m] = power(load(m) / largest_);
    step_power_[m] = power(1 / (kSpeed[m] * largest_));
  }

  const TpdsModel& model_;
  std::vector<Job> jobs_;
  std::array<std::vector<std::uint32_t>, kMachines> on_;
  std::array<double, kMachines> used_{};
  double now_ = 0;
  double largest_ = 1;  ///< L: the smallest power of two that is at least the largest load seen
  // The powers of marginal(), kept because it is asked a thousand times for each change.
  std::array<double, kMachines> memory_power_, load_power_, step_power_;
};

Knobs model_knobs(const TpdsModel& model) {
  Knobs k;
  // The model's moves cost nothing and its information is exact, so nothing has to damp.
  k.hysteresis = k.min_gain_stretch = k.residency_s = k.residency_share = k.min_age_s = k.staleness_per_s =
      k.reserve_mib = 0;
  k.bandwidth_mib_ps = k.freeze_s = 0;
  k.stale_after_s = kInfinite;
  k.memory_high = 1;
  k.memory_weight = 0;
  k.thrash_factor = model.thrash_factor;
  k.max_out = std::numeric_limits<std::uint32_t>::max();
  return k;
}

/// One method's choices: where a job starts, and who moves at a tick.
class Chooser {
 public:
  Chooser(const TpdsModel& model, Method method, Cluster& cluster, Random random)
      : model_(model), method_(method), cluster_(cluster), random_(random), knobs_(model_knobs(model)) {}
  bool migrates() const { return method_ != Method::Pvm && method_ != Method::EPvm; }
  std::uint32_t moves() const { return moves_; }

  std::size_t start(std::uint32_t i) {
    switch (method_) {
      case Method::Pvm: return turn_++ % kMachines;
      case Method::EPvm:
      case Method::EMosix: return cheapest(i);
      case Method::Mosix: return random_.below(kMachines);
      case Method::Ours: return ours_start(i);
      case Method::Oracle: break;
    }
    weigh();
    weigh(i);
    return oracle_best(i, kMachines);
  }

  void tick() {
    if (method_ == Method::Oracle) weigh();
    for (std::size_t m = 0; m < kMachines; ++m) {
      if (method_ == Method::Ours) {
        ours_tick(m);
        continue;
      }
      scratch_ = cluster_.on(m);
      for (const std::uint32_t i : scratch_) {
        const std::size_t to = method_ == Method::Mosix    ? mosix_target(i, m)
                               : method_ == Method::EMosix ? e_mosix_target(i, m)
                                                           : oracle_best(i, m);
        if (to != m) move(i, to);
      }
    }
  }

 private:
  void move(std::uint32_t i, std::size_t to) {
    weights_[cluster_.job(i).on] -= cluster_.job(i).weight;
    weights_[to] += cluster_.job(i).weight;
    cluster_.take(i);
    cluster_.put(i, to);
    ++moves_;
  }
  /// A random machine that is not m.
  std::size_t other(std::size_t m) {
    const std::size_t q = random_.below(kMachines - 1);
    return q + (q >= m ? 1 : 0);
  }
  std::size_t cheapest(std::uint32_t i) const {
    std::size_t best = 0;
    for (std::size_t m = 1; m < kMachines; ++m)
      if (cluster_.marginal(m, i, false) < cluster_.marginal(best, i, false)) best = m;
    return best;
  }
  /// MOSIX: a lower relative load, beyond a threshold, where memory suffices; from a thrashing machine, any
  /// such.
  std::size_t mosix_target(std::uint32_t i, std::size_t m) {
    const double memory = cluster_.job(i).is.memory_mb;
    const bool thrashes = cluster_.used(m) > kMemoryMb[m] + 1e-9;
    double lowest = kInfinite;
    if (!thrashes) lowest = cluster_.load(m) - model_.mosix_threshold;
    std::size_t best = m;
    for (unsigned k = 0; k < model_.looked_at; ++k) {
      const std::size_t q = other(m);
      const double load = cluster_.load(q) + 1 / kSpeed[q];
      if (cluster_.used(q) + memory > kMemoryMb[q] || load >= lowest) continue;
      lowest = load;
      best = q;
    }
    return best;
  }
  std::size_t e_mosix_target(std::uint32_t i, std::size_t m) {
    double lowest = cluster_.marginal(m, i, true) - 1e-12;
    std::size_t best = m;
    for (unsigned k = 0; k < model_.looked_at; ++k) {
      const std::size_t q = other(m);
      const double cost = cluster_.marginal(q, i, false);
      if (cost >= lowest) continue;
      lowest = cost;
      best = q;
    }
    return best;
  }

  // Ours: balancer/decide.hh, unchanged, over a view of this machine and the ones looked at.
  Process process(std::uint32_t i) {
    Job& j = cluster_.job(i);
    Process p;
    p.id = i;
    p.home = static_cast<NodeId>(j.on + 1);
    p.cpu_used_s = static_cast<float>(j.is.need_s - j.left_s);
    p.working_set_mib = static_cast<float>(j.is.memory_mb);
    return p;
  }
  NodeLoad node(std::size_t m) {
    NodeLoad n;
    n.node = static_cast<NodeId>(m + 1);
    n.speed = static_cast<float>(kSpeed[m]);
    n.run_queue = static_cast<float>(cluster_.on(m).size());
    double sum = 0;
    for (const std::uint32_t i : cluster_.on(m))
      sum += urgency(cluster_.job(i).is.need_s - cluster_.job(i).left_s, knobs_);
    n.urgency = static_cast<float>(sum);
    n.total_mib = static_cast<float>(kMemoryMb[m]);
    n.free_mib = static_cast<float>(kMemoryMb[m] - cluster_.used(m));
    return n;
  }
  std::size_t ours_start(std::uint32_t i) {
    std::array<NodeLoad, kMachines - 1> others;
    for (std::size_t m = 1; m < kMachines; ++m) others[m - 1] = node(m);
    View view;
    view.own = node(0);
    view.others = others;
    Process p = process(i);
    p.home = view.own.node;
    return place(view, p, Policy::Mosix, knobs_, random_, turn_).to - 1;
  }
  void ours_tick(std::size_t m) {
    if (cluster_.on(m).empty()) return;
    processes_.clear();
    for (const std::uint32_t i : cluster_.on(m)) processes_.push_back(process(i));
    others_.clear();
    for (unsigned k = 0; k < model_.looked_at; ++k) {
      const std::size_t q = other(m);
      const auto same = [&](const NodeLoad& n) { return n.node == q + 1; };
      if (std::none_of(others_.begin(), others_.end(), same)) others_.push_back(node(q));
    }
    View view;
    view.own = node(m);
    view.others = others_;
    view.processes = processes_;
    for (const Decision& d : decide(view, Policy::Mosix, knobs_))
      move(static_cast<std::uint32_t>(d.process), d.to - 1);
  }

  void weigh(std::uint32_t i) {
    Job& j = cluster_.job(i);
    j.weight = 1 / (j.is.need_s * (std::max(0.0, j.left_s) + 0.1));
  }
  void weigh() {
    for (std::size_t m = 0; m < kMachines; ++m) {
      weights_[m] = 0;
      for (const std::uint32_t x : cluster_.on(m)) {
        weigh(x);
        weights_[m] += cluster_.job(x).weight;
      }
    }
  }
  /// The oracle knows what every job still needs, sees all machines, and weighs each job's delay by
  /// 1 / (need x left): what shortest-remaining-first does on one machine, for slowdown.  kMachines: not
  /// placed yet.
  std::size_t oracle_best(std::uint32_t i, std::size_t from) {
    const double memory = cluster_.job(i).is.memory_mb;
    const double own = cluster_.job(i).weight;
    std::size_t best = from;
    double lowest = kInfinite;
    for (std::size_t m = 0; m < kMachines; ++m) {
      double sum = weights_[m];
      const double tau = model_.thrash_factor;
      double count = static_cast<double>(cluster_.on(m).size());
      double used = cluster_.used(m);
      if (m == from) {
        sum -= own;
        count -= 1;
        used -= memory;
      }
      const double without = sum * count * (used > kMemoryMb[m] + 1e-9 ? tau : 1);
      const double with = (sum + own) * (count + 1) * (used + memory > kMemoryMb[m] + 1e-9 ? tau : 1);
      const double cost = (with - without) / kSpeed[m] - (m == from ? 1e-9 : 0);
      if (cost >= lowest) continue;
      lowest = cost;
      best = m;
    }
    return best;
  }

  const TpdsModel& model_;
  Method method_;
  Cluster& cluster_;
  Random random_;
  Knobs knobs_;
  std::uint64_t turn_ = 0;
  std::uint32_t moves_ = 0;
  std::array<double, kMachines> weights_{};  ///< the oracle's, of all jobs on each machine
  std::vector<std::uint32_t> scratch_;
  std::vector<Process> processes_;
  std::vector<NodeLoad> others_;
};

}  // namespace

std::string_view name(Method method) {
  constexpr std::array<std::string_view, kMethods.size()> kNames{"PVM",     "E-PVM", "MOSIX",
                                                                 "E-MOSIX", "mosix", "oracle"};
  return kNames[static_cast<std::size_t>(method)];
}

std::vector<TpdsJob> tpds_jobs(const TpdsModel& model, Random random) {
  std::vector<TpdsJob> jobs;
  const auto between = [&](double least) { return least + (1 - least) * random.uniform(); };
  double at = 0;
  for (;;) {
    at += random.exponential(model.interarrival_s);
    if (at >= model.length_s) return jobs;
    const double r = between(model.least_r);
    const double memory = kMemoryMb[0] / 100 / between(model.least_m);
    if (random.uniform() >= model.big_share) {
      jobs.push_back({at, model.need_s / r, memory});
      continue;
    }
    const std::uint32_t parts = 1 + random.below(model.most_parts);
    const double need = model.big_need_s / r / (model.need_is_of_part ? 1 : parts);
    for (std::uint32_t part = 0; part < parts; ++part)
      jobs.push_back({at, need, memory / (model.memory_is_of_part ? 1 : parts)});
  }
}

TpdsRun tpds_run(const TpdsModel& model, Method method, const std::vector<TpdsJob>& jobs, Random random) {
  Cluster cluster(model, jobs);
  Chooser chooser(model, method, cluster, random);
  TpdsRun result;
  result.jobs = static_cast<std::uint32_t>(jobs.size());
  std::uint32_t arrived = 0;
  double tick = kInfinite;
  if (chooser.migrates()) tick = model.tick_s;
  for (;;) {
    double when = kInfinite;
    std::uint32_t ends = 0;
    const bool running = cluster.next_end(when, ends);
    double arrival = kInfinite;
    if (arrived < jobs.size()) arrival = jobs[arrived].arrival_s;
    if (!running && arrival == kInfinite) break;
    // Ticks of an empty cluster change nothing.
    if (!running && tick < arrival) tick += std::floor((arrival - tick) / model.tick_s + 1) * model.tick_s;
    const double next = std::min({when, arrival, tick});
    if (next > model.length_s) break;
    cluster.advance(next);
    if (tick <= next) {
      chooser.tick();
      tick += model.tick_s;
    } else if (arrival <= next) {
      const std::uint32_t i = arrived++;
      cluster.put(i, chooser.start(i));
    } else {
      cluster.take(ends);
      result.slowdown_sum += (next - jobs[ends].arrival_s) / jobs[ends].need_s;
      ++result.finished;
    }
  }
  result.moves = chooser.moves();
  return result;
}

std::array<TpdsResult, kMethods.size()> tpds2000(const TpdsModel& model, std::uint32_t runs,
                                                 std::uint64_t seed, unsigned threads) {
  std::vector<std::array<TpdsRun, kMethods.size()>> all(runs);
  std::atomic<std::uint32_t> next{0};
  const auto work = [&] {
    for (std::uint32_t run = next++; run < runs; run = next++) {
      Random random(seed * 0x9e3779b97f4a7c15 + run * 0xd1342543de82ef95ULL);
      random.next();
      const std::vector<TpdsJob> jobs = tpds_jobs(model, random);
      const Random choices(random.next());
      for (std::size_t m = 0; m < kMethods.size(); ++m)
        all[run][m] = tpds_run(model, kMethods[m], jobs, choices);
    }
  };
  std::vector<std::thread> workers;
  for (unsigned t = 1; t < threads; ++t) workers.emplace_back(work);
  work();
  for (std::thread& w : workers) w.join();
  // Summed in the order of the runs, so that threads do not change the last digit.
  std::array<TpdsResult, kMethods.size()> results;
  for (std::size_t m = 0; m < kMethods.size(); ++m) {
    double sum = 0, finished = 0, jobs = 0, moves = 0, means = 0, squares = 0;
    for (const auto& run : all) {
      const TpdsRun& r = run[m];
      const double mean = r.slowdown_sum / std::max(1U, r.finished);
      sum += r.slowdown_sum;
      finished += r.finished;
      jobs += r.jobs;
      moves += r.moves;
      means += mean;
      squares += mean * mean;
    }
    const double n = std::max(1U, runs);
    const double variance = std::max(0.0, squares / n - means / n * means / n);
    results[m] = {sum / std::max(1.0, finished), means / n, std::sqrt(variance / n),
                  finished / std::max(1.0, jobs), moves / std::max(1.0, jobs)};
  }
  return results;
}

}  // namespace hpcvmm::balancer::sim
