// What people have said about this node: mosctl's orders and every number of the decision.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "balancer/decay.hh"
#include "balancer/types.hh"

namespace hpcvmm::daemon {

struct Settings {
  std::uint8_t orders = 0;  ///< balancer::kStay to kDrain
  double speed = 0;         ///< of one CPU; 0: as measured
  balancer::Policy policy = balancer::Policy::Mosix;
  balancer::DecayKnobs decay;
  std::optional<bool> owner_active;  ///< nothing: found out
  std::string record;                ///< file for the decisions; empty: none
  balancer::Knobs knobs;
};

/// Every setting by its name.
nlohmann::json settings_json(const Settings& s);
/// Takes any subset of those.  Empty: done; else what is wrong, by name, and `s` is as it was.
std::string take_settings(const nlohmann::json& set, Settings& s);

/// "stay", "expel", ... of the bits that are set.
nlohmann::json orders_json(std::uint8_t orders);
/// Nothing for a name that is none.
std::optional<balancer::Policy> policy_of(const std::string& name);

/// Reads what write_settings() has written over `s`.  Empty: done, or there is no such file; else why not.
std::string read_settings(const std::string& path, Settings& s);
/// Writes a whole file or none.  Empty: done; else why not.
std::string write_settings(const std::string& path, const Settings& s);

}  // namespace hpcvmm::daemon
