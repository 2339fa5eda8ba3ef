#include "balancer/sim/node.hh"

namespace hpcvmm::balancer::sim {

Process process_of(const Job& job, double cpu_used_s, double resident_s) {
  Process p;
  p.id = job.id;
  p.home = job.home;
  p.cpu_used_s = static_cast<float>(cpu_used_s);
  p.moves = job.moves;
  p.resident_s = static_cast<float>(resident_s);
  p.working_set_mib = job.memory_mib;
  p.home_calls_ps = job.home_calls_ps;
  if (job.traffic.node != kNoNode) p.partners = {&job.traffic, 1};
  return p;
}

void Node::advance(double now_s, const Knobs& knobs) {
  if (!jobs_.empty()) service_ += rate(knobs) * (now_s - at_s_);
  at_s_ = now_s;
}

void Node::enter(Job job, double now_s, const Knobs& knobs) {
  advance(now_s, knobs);
  used_mib_ += job.memory_mib;
  double drag = 1;
  if (job.home != load.node) drag += job.home_calls_ps * knobs.round_trip_s;
  jobs_.push_back({job, service_ + job.left_s * drag, drag, now_s});
  still_until_s = 0;
}

Job Node::leave(ProcessId id, double now_s, const Knobs& knobs) {
  advance(now_s, knobs);
  const auto at = std::find_if(jobs_.begin(), jobs_.end(), [id](const Running& r) { return r.job.id == id; });
  Job job = at->job;
  job.left_s = left(*at);
  jobs_.erase(at);
  used_mib_ = jobs_.empty() ? 0 : used_mib_ - job.memory_mib;
  return job;
}

const Running& Node::first_to_end() const {
  return *std::min_element(jobs_.begin(), jobs_.end(),
                           [](const Running& a, const Running& b) { return a.end_v < b.end_v; });
}

double Node::end_s(double now_s, const Knobs& knobs) const {
  return now_s + served(first_to_end()) / rate(knobs);
}

bool Node::set_asked(ProcessId id, bool asked) {
  const auto at = std::find_if(jobs_.begin(), jobs_.end(), [id](const Running& r) { return r.job.id == id; });
  if (at == jobs_.end()) return false;
  at->asked = asked;
  return true;
}

Process Node::process(const Running& r, double now_s) const {
  Process p = process_of(r.job, r.job.work_s - left(r), now_s - r.came_s);
  p.moving = r.asked;
  return p;
}

NodeLoad Node::bare(double now_s, const Knobs& knobs) {
  advance(now_s, knobs);
  NodeLoad l = load;
  l.measured_s = now_s;
  l.run_queue = static_cast<float>(jobs_.size());
  double sum = 0;
  for (const Running& r : jobs_) sum += balancer::urgency(r.job.work_s - left(r), knobs);
  l.urgency = static_cast<float>(sum);
  l.utilisation = std::min(1.0F, l.run_queue / static_cast<float>(l.cpus));
  l.free_mib = static_cast<float>(l.total_mib - used_mib_);
  l.paging = used_mib_ > l.total_mib ? 1.0F : 0.0F;
  return l;
}

NodeLoad Node::measured(double now_s, const Knobs& knobs) {
  const NodeLoad l = bare(now_s, knobs);
  return promises.count() == 0 ? l : promises.with_promises(l, now_s, knobs);
}

std::size_t Node::crash() {
  const std::size_t lost = jobs_.size() + waiting.size() + leaving.size();
  up = false;
  ++ends;
  in_flight = 0;
  jobs_.clear();
  waiting.clear();
  leaving.clear();
  used_mib_ = 0;
  promises = Reservations{};
  return lost;
}

void Node::boot(const std::vector<NodeLoad>& seeds, double now_s) {
  up = true;
  ++load.epoch;
  at_s_ = now_s;
  gossip = Gossip{};
  for (NodeLoad seed : seeds) {
    if (seed.node == load.node) continue;
    seed.measured_s = now_s;
    gossip.learn(seed);
  }
}

}  // namespace hpcvmm::balancer::sim
