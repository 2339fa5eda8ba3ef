#include "balancer/rules.hh"

#include <algorithm>

namespace hpcvmm::balancer {

namespace {

bool masked(NodeId node, const Process& process) {
  // Home is never masked: a process must be able to come home when its node shuts down.
  if (process.mask_mode == MaskMode::None || node == process.home) return false;
  const bool listed = std::binary_search(process.mask.begin(), process.mask.end(), node);
  return listed == (process.mask_mode == MaskMode::Deny);
}

}  // namespace

const NodeLoad* find(const View& view, NodeId node) {
  for (const NodeLoad& other : view.others)
    if (other.node == node) return &other;
  return nullptr;
}

const NodeLoad* home_of(const View& view, const Process& process) {
  return process.home == view.own.node ? &view.own : find(view, process.home);
}

Forbidden may_enter(const NodeLoad& target, const Process& process, double now_s, const Knobs& knobs) {
  const bool guest = target.node != process.home;
  if ((target.orders & kDrain) != 0) return Forbidden::Blocked;
  if (guest && (target.orders & (kBlock | kExpel)) != 0) return Forbidden::Blocked;
  if (guest && knobs.owner_priority && target.owner_active) return Forbidden::Owner;
  if (masked(target.node, process)) return Forbidden::Masked;
  if (now_s - target.measured_s > knobs.stale_after_s) return Forbidden::Stale;
  return Forbidden::Nothing;
}

double least_stay_s(const Process& process, const Knobs& knobs) {
  if (process.moves == 0) return 0;
  // Who works little never gets old: its moves themselves make its stays longer.
  constexpr std::uint32_t kMost = 12;
  double grown = knobs.residency_s;
  for (std::uint32_t i = 1; i < std::min(process.moves, kMost); ++i) grown *= knobs.residency_growth;
  return std::max(grown, knobs.residency_share * process.cpu_used_s);
}

bool is_losing(const Process& process, const Knobs& knobs) {
  const double round_trip_s = process.round_trip_s > 0 ? process.round_trip_s : knobs.round_trip_s;
  return process.kind != Kind::CpuJob && process.home_calls_ps * round_trip_s > knobs.losing;
}

double starved_s(const Knobs& knobs) {
  constexpr double kShare = 3;  // less than a third of a CPU
  return kShare * knobs.min_age_s;
}

Forbidden may_leave(const View& view, const Process& process, NodeId to, const Knobs& knobs) {
  if (process.moving) return Forbidden::Moving;
  if (process.cannot_move) return Forbidden::CannotMove;
  if (process.locked || process.run_on == view.own.node) return Forbidden::Locked;
  if ((view.own.orders & kStay) != 0) return Forbidden::NodeStays;
  const bool local = process.home == view.own.node;
  if (local && (view.own.orders & (kLocalStay | kBring)) != 0) return Forbidden::LocalStays;
  if (!local && to == process.home && process.resident_s >= knobs.losing_after_s && is_losing(process, knobs))
    return Forbidden::Nothing;
  // At home it has been since it started, or since it was sent away from elsewhere; both damp.
  if (process.resident_s < least_stay_s(process, knobs)) return Forbidden::Residency;
  if (process.cpu_used_s < knobs.min_age_s && process.resident_s < starved_s(knobs))
    return Forbidden::TooYoung;
  return Forbidden::Nothing;
}

Command command_for(const View& view, const Process& process, const Knobs& knobs) {
  const bool guest = process.home != view.own.node;
  if (process.moving || process.cannot_move) return {};
  if ((view.own.orders & kDrain) != 0) return {Reason::Drained, kNoNode};
  if (guest && (view.own.orders & kExpel) != 0) return {Reason::Expelled, kNoNode};
  if (guest && knobs.owner_priority && view.own.owner_active) return {Reason::Owner, kNoNode};
  if (process.run_on != kNoNode)
    return process.run_on == view.own.node ? Command{} : Command{Reason::RunOn, process.run_on};
  if (!guest) return {};
  const NodeLoad* const home = find(view, process.home);
  if (home != nullptr && (home->orders & kBring) != 0) return {Reason::Brought, process.home};
  if (process.home_only) return {Reason::HomeOnly, process.home};
  return {};
}

}  // namespace hpcvmm::balancer
