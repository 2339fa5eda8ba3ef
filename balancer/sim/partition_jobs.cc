// What jobs do in a Partition: they start, ask for a place, move, end, and die with a node.
#include <algorithm>
#include <cmath>
#include <limits>

#include "balancer/decide.hh"
#include "balancer/rules.hh"
#include "balancer/sim/partition.hh"

namespace hpcvmm::balancer::sim {

namespace {

constexpr double kInfinite = std::numeric_limits<double>::infinity();
constexpr double kRebootSeconds = 60;  // until a crashed node is back

}  // namespace

void Partition::schedule_end(std::uint32_t i) {
  Node& n = nodes_[i];
  ++n.ends;
  if (!n.jobs().empty()) push(std::max(now_, to_ns(n.end_s(now_s_, knobs()))), What::End, i, n.ends);
}

void Partition::enter(std::uint32_t i, const Job& job) {
  nodes_[i].enter(job, now_s_, knobs());
  wake(i);
  schedule_end(i);
}

Job Partition::leave(std::uint32_t i, ProcessId job) {
  const Job left = nodes_[i].leave(job, now_s_, knobs());
  wake(i);
  schedule_end(i);
  return left;
}

void Partition::lose(std::size_t jobs) {
  tally_.lost += jobs;
  open_ -= static_cast<std::int64_t>(jobs);
}

void Partition::end(std::uint32_t i) {
  const Job job = leave(i, nodes_[i].first_to_end().job.id);
  const double slowdown = (now_s_ - job.arrival_s) / (job.work_s / s_.fastest);
  tally_.slowdowns.push_back(static_cast<float>(slowdown));
  tally_.slowdown_sum += static_cast<std::uint64_t>(std::llround(slowdown / Tally::kSlowdownUnit));
  ++tally_.finished;
  --open_;
  tally_.last_end = now_;
}

void Partition::arrive(std::uint32_t i, const Workload::Arrival& arrival) {
  Node& n = nodes_[i];
  const TraceJob is = s_.workload.job(arrival, n.random);
  --arriving_;
  expect(i, s_.workload.after(n.load.node - 1, arrival, n.random));
  ++tally_.jobs;
  ++open_;
  if (!n.up) return lose(1);  // nobody is there to start it
  Job job;
  // Unique whoever simulates the node.
  job.id = (ProcessId{n.load.node} << 32) + ++n.started;
  job.home = n.load.node;
  job.memory_mib = is.memory_mib;
  job.home_calls_ps = is.home_calls_ps;
  job.arrival_s = is.arrival_s;
  job.work_s = job.left_s = is.work_s;
  if (s_.o.talkers > 0 && is.home_calls_ps > 0) job.traffic = {job.home, is.home_calls_ps};
  const Process p = process_of(job, 0, 0);
  const NodeLoad own = n.measured(now_s_, knobs());
  const Decision d = place(view_of(n, own), p, s_.o.policy, knobs(), n.random, n.turn);
  if (!d.moves()) return enter(i, job);
  double stay = kInfinite;  // the other policies do not compare
  if (s_.o.policy == Policy::Mosix) stay = d.stay_cost;
  n.waiting.push_back(job);
  send_offer(n, d.to, Kind::Ask, {job, stay});
}

void Partition::answer_ask(Node& n, const Letter& letter, const Offer& offer) {
  const NodeLoad own = n.bare(now_s_, knobs());
  const Process p = process_of(offer.job, offer.cpu_used_s, offer.resident_s);
  if (n.promises.ask(own, p, offer.stay_cost, now_s_, knobs()) == Forbidden::Nothing)
    return send(bag_for(letter.from), n, letter.from, Kind::Granted, 0, letter.job);
  ++tally_.refused;
  Bag& bag = bag_for(letter.from);
  bag.loads.push_back(own);
  send(bag, n, letter.from, Kind::Refused, bag.loads.size() - 1, letter.job);
}

void Partition::granted(Node& n, const Letter& letter) {
  const auto starts =
      std::find_if(n.waiting.begin(), n.waiting.end(), [&](const Job& j) { return j.id == letter.job; });
  if (starts != n.waiting.end()) {
    ++tally_.placements;
    send_offer(n, letter.from, Kind::Land, {*starts});
    n.waiting.erase(starts);
    return;
  }
  if (!n.set_asked(letter.job, false)) {
    // It has ended or died meanwhile; the promise lapses.
    --n.in_flight;
    return;
  }
  const std::uint32_t i = place_of(letter.to);
  Job job = leave(i, letter.job);
  ++job.moves;
  tally_.most_moves = std::max(tally_.most_moves, job.moves);
  ++tally_.migrations;
  tally_.moved_bytes += static_cast<std::uint64_t>(job.memory_mib * 1048576.0);
  const double seconds = knobs().freeze_s + job.memory_mib / knobs().bandwidth_mib_ps;
  // The letter that brings it takes the rest of the time.
  push(later(now_, std::max<Ns>(0, to_ns(seconds) - latency_)), What::Sent, i, job.id);
  n.leaving.push_back({job, letter.from});
}

void Partition::not_granted(Node& n, const Letter& letter) {
  const auto starts =
      std::find_if(n.waiting.begin(), n.waiting.end(), [&](const Job& j) { return j.id == letter.job; });
  if (starts == n.waiting.end()) {
    n.set_asked(letter.job, false);
    --n.in_flight;
    return;
  }
  const Job job = *starts;
  n.waiting.erase(starts);
  enter(place_of(letter.to), job);
}

void Partition::land(std::uint32_t i, const Letter& letter, const Offer& offer) {
  nodes_[i].promises.settle(letter.job);
  const Job& job = offer.job;
  // Its home may have died while it was under way.
  if (!heard_death_.empty() && to_s(heard_death_[job.home - 1]) >= job.arrival_s) return lose(1);
  enter(i, job);
}

void Partition::crash(std::uint32_t i) {
  Node& n = nodes_[i];
  push(later(now_, to_ns(kRebootSeconds)), What::Boot, i);
  push(later(now_, to_ns(kRebootSeconds + n.random.exponential(3600 / s_.o.churn_per_hour))), What::Crash, i);
  lose(n.crash());
  for (std::uint32_t p = 0; p < post_.partitions(); ++p)
    send(post_.to_fill(index_, p), n, kNoNode, Kind::HomeDied);
}

void Partition::home_died(NodeId home) {
  heard_death_[home - 1] = now_;
  std::vector<ProcessId> dead;
  for (std::uint32_t i = 0; i < nodes_.size(); ++i) {
    dead.clear();
    for (const Running& r : nodes_[i].jobs())
      if (r.job.home == home) dead.push_back(r.job.id);
    for (const ProcessId job : dead) leave(i, job);
    lose(dead.size());
  }
}

/// When rules.cc lets the first of processes_ leave, at the earliest; now or before: nothing is known.  The
/// round that has found nobody need not be repeated until then, which spares most of them.
double Partition::first_may_leave(const Node& n) const {
  constexpr double kRounding = 1e-3;  // of the floats of a Process
  if (n.used_mib() > knobs().memory_high * n.load.total_mib) return 0;
  double first = kInfinite;
  for (const Process& p : processes_) {
    double at = now_s_ - p.resident_s + least_stay_s(p, knobs());
    const double old_s = now_s_ + (knobs().min_age_s - p.cpu_used_s) / n.load.speed;
    const double starved = now_s_ + starved_s(knobs()) - p.resident_s;
    at = std::max(at, std::min(old_s, starved));
    if (p.home != n.load.node && is_losing(p, knobs()))
      at = std::min(at, now_s_ - p.resident_s + knobs().losing_after_s);
    first = std::min(first, at - kRounding);
  }
  return first;
}

void Partition::start_moves(Node& n, const NodeLoad& own) {
  processes_.clear();
  for (const Running& r : n.jobs()) processes_.push_back(n.process(r, now_s_));
  View view = view_of(n, own);
  view.processes = processes_;
  const std::vector<Decision> moves = decide(view, s_.o.policy, knobs());
  if (moves.empty()) n.still_until_s = first_may_leave(n);
  for (const Decision& d : moves) {
    const std::size_t at =
        static_cast<std::size_t>(std::find_if(processes_.begin(), processes_.end(),
                                              [&](const Process& p) { return p.id == d.process; }) -
                                 processes_.begin());
    const Process& p = processes_[at];
    double stay = kInfinite;  // it must leave
    if (d.reason == Reason::LowerCost) stay = d.stay_cost;
    n.set_asked(p.id, true);
    ++n.in_flight;
    send_offer(n, d.to, Kind::Ask, {n.jobs()[at].job, stay, p.cpu_used_s, p.resident_s});
  }
}

}  // namespace hpcvmm::balancer::sim
