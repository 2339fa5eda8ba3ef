#include "balancer/sim/workload.hh"

#include <algorithm>
#include <cmath>
#include <limits>

namespace hpcvmm::balancer::sim {

namespace {

constexpr double kParetoTop = 200;  // largest job over the smallest
constexpr std::uint32_t kNone = std::numeric_limits<std::uint32_t>::max();

double gap_s(double arrivals_ps) {
  return arrivals_ps > 0 ? 1 / arrivals_ps : std::numeric_limits<double>::infinity();
}

}  // namespace

Workload::Workload(const ScaleOptions& options, double total_speed) : o_(options) {
  // Bounded Pareto with exponent 1: its mean is smallest x ln(top) / (1 - 1/top).
  smallest_work_s_ = o_.mean_work_s * (1 - 1 / kParetoTop) / std::log(kParetoTop);
  // Every tenth node is a busy one, so that it is of all kinds.
  busy_ = std::max(1U, o_.nodes / 10);
  busy_every_ = o_.nodes / busy_;
  const double all_ps = o_.load * total_speed / o_.mean_work_s;
  const double anywhere_ps = (1 - o_.skew) * all_ps / o_.nodes;
  other_gap_s_ = gap_s(anywhere_ps);
  busy_gap_s_ = gap_s(anywhere_ps + o_.skew * all_ps / busy_);
  if (!recorded()) return;
  first_of_.assign(o_.nodes, kNone);
  next_.assign(o_.trace.size(), kNone);
  for (auto i = static_cast<std::uint32_t>(o_.trace.size()); i-- > 0;) {
    std::uint32_t& first = first_of_[(o_.trace[i].home - 1) % o_.nodes];
    next_[i] = first;
    first = i;
  }
}

Workload::Arrival Workload::recorded_at(std::uint32_t index) const {
  return index == kNone ? Arrival{} : Arrival{to_ns(o_.trace[index].arrival_s), index};
}

Workload::Arrival Workload::drawn_after(std::uint32_t node, Ns last, Random& random) const {
  const bool busy = node % busy_every_ == 0 && node / busy_every_ < busy_;
  const Ns at = later(last, to_ns(random.exponential(busy ? busy_gap_s_ : other_gap_s_)));
  return at < to_ns(o_.length_s) ? Arrival{at, 0} : Arrival{};
}

Workload::Arrival Workload::first(std::uint32_t node, Random& random) const {
  return recorded() ? recorded_at(first_of_[node]) : drawn_after(node, 0, random);
}

Workload::Arrival Workload::after(std::uint32_t node, const Arrival& last, Random& random) const {
  return recorded() ? recorded_at(next_[last.index]) : drawn_after(node, last.at, random);
}

TraceJob Workload::job(const Arrival& arrival, Random& random) const {
  if (recorded()) return o_.trace[arrival.index];
  TraceJob t;
  t.arrival_s = to_s(arrival.at);
  t.work_s = smallest_work_s_ / (1 - random.uniform() * (1 - 1 / kParetoTop));
  t.memory_mib = static_cast<float>(std::min(2000.0, random.exponential(o_.mean_memory_mib)));
  if (o_.talkers > 0 && random.uniform() < o_.talkers) t.home_calls_ps = static_cast<float>(o_.talk_ps);
  return t;
}

}  // namespace hpcvmm::balancer::sim
