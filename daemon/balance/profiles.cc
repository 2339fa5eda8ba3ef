#include "daemon/balance/profiles.hh"

#include <algorithm>

namespace hpcvmm::daemon {

namespace {
std::string key_of(const std::string& exe, bool forked) { return forked ? exe + "\nfork" : exe; }
}  // namespace

void Profiles::ended(const std::string& exe, bool forked, double cpu_s, std::uint64_t calls, double now_s) {
  const std::string key = key_of(exe, forked);
  if (all_.size() >= kMost && !all_.contains(key)) {
    const auto oldest = std::min_element(all_.begin(), all_.end(), [](const auto& a, const auto& b) {
      return a.second.used_s < b.second.used_s;
    });
    all_.erase(oldest);
  }
  Profile& p = all_[key];
  p.runs = std::min(p.runs + 1, kMemory);
  const double share = 1 / p.runs;
  // A rate of what hardly ran is noise.
  const double rate = static_cast<double>(calls) / std::max(cpu_s, 0.001);
  p.cpu_s += (cpu_s - p.cpu_s) * share;
  p.calls_ps += (rate - p.calls_ps) * share;
  p.used_s = now_s;
}

const Profile* Profiles::find(const std::string& exe, bool forked) const {
  const auto found = all_.find(key_of(exe, forked));
  return found == all_.end() ? nullptr : &found->second;
}

}  // namespace hpcvmm::daemon
