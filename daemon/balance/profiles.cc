#include "daemon/balance/profiles.hh"

#include <algorithm>

namespace hpcvmm::daemon {

namespace {
std::string key_of(const std::string& exe, bool forked) { return forked ? exe + "\nfork" : exe; }
}  // namespace

void Profiles::ended(const std::string& exe, bool forked, const Run& run, double now_s) {
  const std::string key = key_of(exe, forked);
  if (all_.size() >= kMost && !all_.contains(key)) {
    const auto oldest = std::min_element(all_.begin(), all_.end(), [](const auto& a, const auto& b) {
      return a.second.used_s < b.second.used_s;
    });
    all_.erase(oldest);
  }
  Profile& p = all_[key];
  p.runs = std::min(p.runs + 1, kMemory);
  // A rate of what hardly ran is noise.
  constexpr double kLeastS = 0.001;
  const double cpu_s = run.home_cpu_s + run.away_cpu_s;
  p.cpu_s += (cpu_s - p.cpu_s) / p.runs;
  if (run.home_cpu_s >= kLeastS || run.away_cpu_s < kLeastS) {
    p.home_runs = std::min(p.home_runs + 1, kMemory);
    const double rate = static_cast<double>(run.home_calls) / std::max(run.home_cpu_s, kLeastS);
    p.calls_ps += (rate - p.calls_ps) / p.home_runs;
  }
  if (run.away_cpu_s >= kLeastS) {
    p.away_runs = std::min(p.away_runs + 1, kMemory);
    const double rate = static_cast<double>(run.away_calls) / run.away_cpu_s;
    p.away_calls_ps += (rate - p.away_calls_ps) / p.away_runs;
  }
  if (run.cpu_use >= 0) {
    p.use_runs = std::min(p.use_runs + 1, kMemory);
    p.cpu_use += (run.cpu_use - p.cpu_use) / p.use_runs;
  }
  p.used_s = now_s;
}

const Profile* Profiles::find(const std::string& exe, bool forked) const {
  const auto found = all_.find(key_of(exe, forked));
  return found == all_.end() ? nullptr : &found->second;
}

}  // namespace hpcvmm::daemon
