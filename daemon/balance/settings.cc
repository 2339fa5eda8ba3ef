#include "daemon/balance/settings.hh"

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iterator>

namespace hpcvmm::daemon {

using balancer::Knobs;
using balancer::Policy;
using nlohmann::json;

namespace {

struct OrderName {
  const char* name;
  std::uint8_t bit;
};
constexpr std::array kOrders{
    OrderName{"stay", balancer::kStay},   OrderName{"lstay", balancer::kLocalStay},
    OrderName{"block", balancer::kBlock}, OrderName{"quiet", balancer::kQuiet},
    OrderName{"expel", balancer::kExpel}, OrderName{"bring", balancer::kBring},
};

struct KnobName {
  const char* name;
  double Knobs::*value;
  double least, most;
};
constexpr std::array kKnobs{
    KnobName{"hysteresis", &Knobs::hysteresis, 0, 1},
    KnobName{"min_gain_stretch", &Knobs::min_gain_stretch, 0, 1000},
    KnobName{"residency_s", &Knobs::residency_s, 0, 1e6},
    KnobName{"residency_share", &Knobs::residency_share, 0, 100},
    KnobName{"residency_growth", &Knobs::residency_growth, 1, 100},
    KnobName{"min_age_s", &Knobs::min_age_s, 0, 1e6},
    KnobName{"stale_after_s", &Knobs::stale_after_s, 1, 1e6},
    KnobName{"staleness_per_s", &Knobs::staleness_per_s, 0, 100},
    KnobName{"urgency_floor_s", &Knobs::urgency_floor_s, 0.001, 1e6},
    KnobName{"thrash_factor", &Knobs::thrash_factor, 1, 1e6},
    KnobName{"memory_high", &Knobs::memory_high, 0.01, 0.999},
    KnobName{"memory_log_base", &Knobs::memory_log_base, 0, 20},
    KnobName{"memory_weight", &Knobs::memory_weight, 0, 1000},
    KnobName{"paging_high", &Knobs::paging_high, 0, 1},
    KnobName{"reserve_mib", &Knobs::reserve_mib, 0, 1e9},
    KnobName{"round_trip_s", &Knobs::round_trip_s, 0, 10},
    KnobName{"call_cpu_s", &Knobs::call_cpu_s, 0, 1},
    KnobName{"losing", &Knobs::losing, 0, 1e6},
    KnobName{"losing_after_s", &Knobs::losing_after_s, 0, 86400},
    KnobName{"partner_weight", &Knobs::partner_weight, 0, 1000},
    KnobName{"io_weight", &Knobs::io_weight, 0, 1000},
    KnobName{"bandwidth_mib_ps", &Knobs::bandwidth_mib_ps, 0, 1e9},
    KnobName{"freeze_s", &Knobs::freeze_s, 0, 100},
    KnobName{"io_job_calls_ps", &Knobs::io_job_calls_ps, 0, 1e9},
    KnobName{"reservation_s", &Knobs::reservation_s, 0, 1000},
};

std::string take_number(const std::string& key, const json& value, double least, double most, double& to) {
  if (!value.is_number() || !(value.get<double>() >= least) || !(value.get<double>() <= most)) {
    std::array<char, 96> range{};
    std::snprintf(range.data(), range.size(), "` must be a number from %g to %g", least, most);
    return "`" + key + range.data();
  }
  to = value.get<double>();
  return {};
}

template <class T> std::string take_count(const std::string& key, const json& value, int most, T& to) {
  if (!value.is_number_integer() || value < 0 || value > most)
    return "`" + key + "` must be a whole number from 0 to " + std::to_string(most);
  to = value.get<T>();
  return {};
}

std::string take_flag(const std::string& key, const json& value, bool& to) {
  if (!value.is_boolean()) return "`" + key + "` must be true or false";
  to = value.get<bool>();
  return {};
}

std::string take_text(const std::string& key, const json& value, Settings& s) {
  if (key == "owner_active") {
    if (value == "auto") {
      s.owner_active.reset();
      return {};
    }
    if (!value.is_boolean()) return "`owner_active` must be true, false or \"auto\"";
    s.owner_active = value.get<bool>();
    return {};
  }
  if (key == "record") {
    if (!value.is_string()) return "`record` must be the path of a file, or \"\" for none";
    s.record = value.get<std::string>();
    return s.record.empty() || s.record[0] == '/' ? "" : "`record` must be an absolute path";
  }
  const std::optional<Policy> policy = value.is_string() ? policy_of(value.get<std::string>()) : std::nullopt;
  if (!policy) return "`policy` must be mosix, static, round-robin or random";
  s.policy = *policy;
  return {};
}

std::string take_one(const std::string& key, const json& value, Settings& s) {
  for (const OrderName& o : kOrders) {
    if (key != o.name) continue;
    bool on = false;
    if (std::string wrong = take_flag(key, value, on); !wrong.empty()) return wrong;
    s.orders = static_cast<std::uint8_t>(on ? s.orders | o.bit : s.orders & ~o.bit);
    return {};
  }
  for (const KnobName& k : kKnobs)
    if (key == k.name) return take_number(key, value, k.least, k.most, s.knobs.*k.value);
  if (key == "max_out") return take_count(key, value, 1000, s.knobs.max_out);
  if (key == "max_in") return take_count(key, value, 1000, s.knobs.max_in);
  if (key == "owner_priority") return take_flag(key, value, s.knobs.owner_priority);
  if (key == "decay_interval") return take_number(key, value, 0.1, 3600, s.decay.interval_s);
  if (key == "slow_decay") return take_count(key, value, 999, s.decay.slow_permille);
  if (key == "fast_decay") return take_count(key, value, 999, s.decay.fast_permille);
  if (key == "speed") return take_number(key, value, 0, 1e6, s.speed);
  if (key == "owner_active" || key == "record" || key == "policy") return take_text(key, value, s);
  return "unknown setting `" + key.substr(0, 64) + "`; hpc-vmm ctl lists those that are";
}

}  // namespace

std::optional<Policy> policy_of(const std::string& name) {
  for (const Policy p : {Policy::Mosix, Policy::Static, Policy::RoundRobin, Policy::Random})
    if (balancer::name(p) == name) return p;
  return std::nullopt;
}

json orders_json(std::uint8_t orders) {
  json out = json::array();
  for (const OrderName& o : kOrders)
    if ((orders & o.bit) != 0) out.push_back(o.name);
  if ((orders & balancer::kDrain) != 0) out.push_back("drain");
  return out;
}

json settings_json(const Settings& s) {
  json out;
  for (const OrderName& o : kOrders) out[o.name] = (s.orders & o.bit) != 0;
  for (const KnobName& k : kKnobs) out[k.name] = s.knobs.*k.value;
  out["max_out"] = s.knobs.max_out;
  out["max_in"] = s.knobs.max_in;
  out["owner_priority"] = s.knobs.owner_priority;
  out["decay_interval"] = s.decay.interval_s;
  out["slow_decay"] = s.decay.slow_permille;
  out["fast_decay"] = s.decay.fast_permille;
  out["speed"] = s.speed;
  out["policy"] = std::string(balancer::name(s.policy));
  out["record"] = s.record;
  if (s.owner_active)
    out["owner_active"] = *s.owner_active;
  else
    out["owner_active"] = "auto";
  return out;
}

std::string take_settings(const json& set, Settings& s) {
  if (!set.is_object()) return "`set` must be an object";
  Settings changed = s;
  for (const auto& [key, value] : set.items())
    if (std::string wrong = take_one(key, value, changed); !wrong.empty()) return wrong;
  s = std::move(changed);
  return {};
}

std::string read_settings(const std::string& path, Settings& s) {
  std::ifstream in(path, std::ios::binary);
  if (!in) return {};
  const std::string text{std::istreambuf_iterator<char>(in), {}};
  json j = json::parse(text, nullptr, false);
  if (!j.is_object()) return path + ": not a JSON object";
  const bool drain = j.value("drain", false);
  j.erase("drain");
  if (std::string wrong = take_settings(j, s); !wrong.empty()) return path + ": " + wrong;
  if (drain) s.orders |= balancer::kDrain;
  return {};
}

std::string write_settings(const std::string& path, const Settings& s) {
  json j = settings_json(s);
  j["drain"] = (s.orders & balancer::kDrain) != 0;
  const std::string fresh = path + ".new";
  {
    std::ofstream out(fresh, std::ios::binary | std::ios::trunc);
    out << j.dump(2, ' ', true, json::error_handler_t::replace) << "\n";
    if (!out.flush()) return fresh + ": " + std::strerror(errno);
  }
  return std::rename(fresh.c_str(), path.c_str()) == 0 ? "" : path + ": " + std::strerror(errno);
}

}  // namespace hpcvmm::daemon
