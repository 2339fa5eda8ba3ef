#include "daemon/balance/track.hh"

#include <algorithm>
#include <cmath>

namespace hpcvmm::daemon {

void Track::sample(double now_s, std::uint64_t cpu_us, balancer::Decay decay,
                   const balancer::DecayKnobs& knobs) {
  const double elapsed = now_s - sampled_s_;
  if (elapsed <= 0) return;
  const bool first = !counted_;
  const std::uint64_t used = first || cpu_us < cpu_us_ ? 0 : cpu_us - cpu_us_;
  cpu_us_ = cpu_us;
  counted_ = true;
  sampled_s_ = now_s;
  busy_ = static_cast<float>(static_cast<double>(used) / 1e6 / elapsed);
  // Threads that want a CPU; one that uses it without having been seen waiting counts, too.
  double wanted = busy_;
  if (looks_ != 0) wanted = std::max(wanted, static_cast<double>(runnable_sum_) / looks_);
  const bool seen = looks_ != 0 && runnable_sum_ != 0;
  active_ = first || used != 0 || seen;
  runnable_sum_ = looks_ = 0;
  if (first && !seen) return;  // what it has used before it came says nothing
  // What was assumed weighs nothing against what is measured, and a young average less than an old one.
  known_s_ += elapsed;
  const double share = elapsed / known_s_;
  const auto blend = [&](double average, double value) {
    if (decay == balancer::Decay::None) return known_s_ > elapsed ? std::max(average, value) : value;
    const double aged = balancer::decayed(average, value, elapsed, decay, knobs);
    const double young = average + (value - average) * share;
    // Whichever follows the new value faster.
    return std::abs(young - value) < std::abs(aged - value) ? young : aged;
  };
  cpu_use_ = static_cast<float>(blend(cpu_use_, wanted));
}

void Track::forget(double now_s) {
  known_s_ = 0;
  counted_ = false;
  sampled_s_ = now_s;
}

void CallTime::sample(std::uint64_t calls, std::uint64_t us) {
  constexpr std::uint64_t kLeast = 20;
  fresh_ = 0;
  if (calls < calls_ || us < us_) {  // another process by now
    calls_ = calls;
    us_ = us;
    return;
  }
  const std::uint64_t more = calls - calls_;
  if (more < kLeast) return;
  fresh_ = more;
  fresh_s_ = static_cast<double>(us - us_) / 1e6 / static_cast<double>(more);
  calls_ = calls;
  us_ = us;
  add(fresh_, fresh_s_);
}

void CallTime::add(std::uint64_t calls, double seconds) {
  // Nothing is faster than a sleeping thread woken on the same machine, and a second is not the way's.
  constexpr double kLeastS = 10e-6;
  constexpr double kMostS = 20e-3;
  constexpr double kMemory = 1000;  // calls
  const double now = std::clamp(seconds, kLeastS, kMostS);
  const double share = seconds_ > 0 ? std::min(0.5, static_cast<double>(calls) / kMemory) : 1;
  seconds_ = static_cast<float>(seconds_ + (now - seconds_) * share);
}

void CallRate::sample(std::uint64_t calls, std::uint64_t cpu_us) {
  constexpr std::uint64_t kLeastCpuUs = 50'000;
  constexpr std::uint64_t kLeastCalls = 500;
  if (!counted_ || calls < calls_ || cpu_us < cpu_us_) {
    counted_ = true;
    calls_ = calls;
    cpu_us_ = cpu_us;
    return;
  }
  const std::uint64_t called = calls - calls_;
  const std::uint64_t used = cpu_us - cpu_us_;
  if (used < kLeastCpuUs && called < kLeastCalls) return;  // too little to tell
  const double rate =
      static_cast<double>(called) * 1e6 / static_cast<double>(std::max<std::uint64_t>(used, 1000));
  per_s_ = static_cast<float>(per_s_ * 0.5 + rate * 0.5);
  known_ = true;
  calls_ = calls;
  cpu_us_ = cpu_us;
}

}  // namespace hpcvmm::daemon
