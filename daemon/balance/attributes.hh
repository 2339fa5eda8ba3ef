// What people have said about one process: mosrun's and the /proc/PID files' settings.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "balancer/decay.hh"
#include "balancer/types.hh"
#include "daemon/peer_message.hh"
#include "hpcvmm/wire/local.hh"

namespace hpcvmm::daemon {

/// How fast its statistics forget; Default: the node's fast decay, but for a young process.
enum class DecayChoice : std::uint8_t { Default, Slow, Fast, None };

/// Children inherit it at fork and exec.
struct Attributes {
  bool locked = false, home_only = false;
  balancer::NodeId run_on = balancer::kNoNode;
  balancer::Kind kind = balancer::Kind::Measured;
  DecayChoice decay = DecayChoice::Default;
  balancer::MaskMode mask_mode = balancer::MaskMode::None;
  std::vector<balancer::NodeId> mask;  ///< ascending, at most peer::kMostMasked

  bool operator==(const Attributes&) const = default;
};

/// `a` for a process that is bound to the CPUs of the nodes `bound` (ascending; empty: it is not).  A mask
/// never keeps home from taking its own, so a process that is bound to CPUs of other nodes only is locked,
/// too.  Pure.
Attributes narrowed(const Attributes& a, const std::vector<balancer::NodeId>& bound, balancer::NodeId home);

/// What the balancer's rules go by; the mask stays where it is in `a`.
void put_attributes(const Attributes& a, balancer::Process& to);
/// Fills the keys locked, home_only, run_on, kind, decay and mask of `to`.
void put_attributes(const Attributes& a, nlohmann::json& to);
/// Takes any subset of those keys.  Empty: done; else what is wrong, and `a` is as it was.
std::string take_attributes(const nlohmann::json& set, Attributes& a);

/// As they travel with a process, and back.
void put_attributes(const Attributes& a, peer::Guest& to);
Attributes attributes_of(const peer::Guest& g);
/// What launch was told; `s` has been checked (parse_local).
Attributes attributes_of(const wire::local::Settings& s);

balancer::Decay decay_of(DecayChoice choice);

}  // namespace hpcvmm::daemon
