#include "balancer/admit.hh"

#include <algorithm>

#include "balancer/cost.hh"
#include "balancer/rules.hh"

namespace hpcvmm::balancer {

void Reservations::lapse(double now_s) {
  std::erase_if(promised_, [&](const Promise& p) { return p.until_s <= now_s; });
}

NodeLoad Reservations::with_promises(const NodeLoad& own, double now_s, const Knobs& knobs) {
  lapse(now_s);
  NodeLoad load = own;
  for (const Promise& p : promised_)
    if (!p.landed) load = with(load, p.process, 1, knobs);
  return load;
}

Forbidden Reservations::ask(const NodeLoad& own, const Process& process, double stay_cost, double now_s,
                            const Knobs& knobs) {
  const NodeLoad load = with_promises(own, now_s, knobs);
  if (const Forbidden closed = may_enter(load, process, now_s, knobs); closed != Forbidden::Nothing)
    return closed;
  // Home takes its own back however full it is: it is where they are when nobody else has room.
  if (process.home != own.node) {
    // What starts here has nothing to bring: it is not in flight.
    if (process.working_set_mib > 0 && in_flight() >= knobs.max_in) return Forbidden::InFlight;
    if (double{load.free_mib} - process.working_set_mib < knobs.reserve_mib) return Forbidden::NoMemory;
    const double cost =
        cost_of_adding(load, process, knobs) + distance_cost(own, process, knobs) + move_cost(process, knobs);
    if (cost >= stay_cost) return Forbidden::Hysteresis;
  }
  Promise promise{process, now_s + knobs.reservation_s, false};
  promise.process.mask = {};
  promise.process.partners = {};
  promised_.push_back(promise);
  return Forbidden::Nothing;
}

std::size_t Reservations::in_flight() const {
  return static_cast<std::size_t>(std::count_if(
      promised_.begin(), promised_.end(), [](const Promise& p) { return p.process.working_set_mib > 0; }));
}

void Reservations::land(ProcessId process, double now_s, const Knobs& knobs) {
  if (knobs.bandwidth_mib_ps <= 0) return settle(process);
  for (Promise& p : promised_) {
    if (p.process.id != process) continue;
    p.landed = true;
    p.until_s = now_s + knobs.freeze_s + 3 * p.process.working_set_mib / knobs.bandwidth_mib_ps;
  }
}

void Reservations::settle(ProcessId process) {
  std::erase_if(promised_, [&](const Promise& p) { return p.process.id == process; });
}

}  // namespace hpcvmm::balancer
