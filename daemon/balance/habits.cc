// What processes do beside computing: calls that go home, what such a call costs, I/O, partners.
#include <algorithm>
#include <cmath>
#include <string>
#include <unordered_map>

#include "daemon/balance/balance.hh"
#include "daemon/facts.hh"

namespace hpcvmm::daemon {

namespace local = wire::local;
using balancer::Process;

namespace {

constexpr double kPartnersS = 10;
constexpr double kAnswerS = 1;
/// Processes that are asked for their descriptors each time, at most: 64 descriptors of 2 us each.
constexpr std::size_t kMostHeld = 256;
/// Partners shown of one process.
constexpr std::size_t kMostPartners = 8;
constexpr float kCountable = 1e6;  // as 32 bits of thousandths hold

std::uint32_t milli(double value) {
  return static_cast<std::uint32_t>(std::clamp(value, 0.0, double{kCountable}) * 1e3);
}

}  // namespace

/// What the process itself has told of its I/O.
void Balance::learn_io(OwnProcess& p, const Session& s) {
  if (s.state.io_bytes == 0) return;  // not told
  const std::uint64_t used = used_us(p, s);
  p.kib.sample(s.state.io_bytes / 1024, used);
  p.transfers.sample(s.state.io_calls, used);
}

/// Since the last sample, bytes.
double Balance::new_io(OwnProcess& p, const Session& s) {
  const std::uint64_t now = std::max(s.state.io_bytes, p.io_bytes);
  const std::uint64_t more = p.io_bytes != 0 ? now - p.io_bytes : 0;
  p.io_bytes = now;
  return static_cast<double>(more);
}

/// Every ten seconds, of processes that have used CPU time: they are asked, and what they have answered
/// counts a second later.
void Balance::find_partners() {
  if (now_s_ < next_partners_s_) return;
  asked_held_ = !asked_held_;
  if (asked_held_) {
    next_partners_s_ = now_s_ + kAnswerS;
    return ask_held();
  }
  next_partners_s_ = now_s_ + kPartnersS - kAnswerS;
  std::vector<Held> all;
  std::unordered_map<pid_t, unsigned> files;
  for (auto& [pid, p] : own_) {
    p.partners.clear();
    p.traffic = {};
    const Session* const s = parts_.sessions.find(p.session);
    if (s == nullptr || !s->held) continue;
    all.push_back({pid, {s->held->ends, s->held->ends + s->held->count}, s->held->files});
    files[pid] = s->held->files;
  }
  if (all.size() < 2) return;
  // Their network, which may not be ours; the first fifty connections of it.
  const auto connections = connected(read_small("/proc/" + std::to_string(all.front().pid) + "/net/tcp"));
  for (const Joined& j : joined(all, connections)) {
    for (const auto& [one, other] : {std::pair{j.a, j.b}, std::pair{j.b, j.a}}) {
      OwnProcess& p = own_.at(one);
      if (p.partners.size() < kMostPartners) p.partners.push_back({one, other, j.count});
      // Which descriptor a call was for nobody counts: each gets its share.
      const double ends = p.traffic.messages_ps + static_cast<float>(j.count);
      p.traffic = {config_.node, static_cast<float>(ends)};
    }
  }
  for (auto& [pid, p] : own_) {
    if (p.traffic.node == 0) continue;
    const float share = p.traffic.messages_ps / (p.traffic.messages_ps + static_cast<float>(files[pid]));
    p.traffic.messages_ps = share * p.transfers.per_s();
  }
}

void Balance::ask_held() {
  std::size_t asked = 0;
  for (auto& [pid, p] : own_) {
    Session* const s = parts_.sessions.find(p.session);
    if (s == nullptr) continue;
    s->held.reset();
    // Idle ones are not woken.
    if ((!p.track.active() && p.report.cpu_use_milli == 0) || ++asked > kMostHeld) continue;
    parts_.sessions.send(*s, local::Header{local::Type::AskHeld, local::kVersion, sizeof(local::Header)});
  }
}

/// Calls that go home, or would from elsewhere: what was seen elsewhere, of it or of its program, says more
/// than what is seen at home, for a node makes some calls itself.
float Balance::calls_ps(const OwnProcess& p, const Session& s) const {
  if (p.away.known()) return p.away.per_s();
  return runs_here(p, s) ? p.calls.per_s() * p.home_share : p.calls.per_s();
}

void Balance::put_habits(const OwnProcess& p, const Session& s, Process& out) const {
  out.home_calls_ps = calls_ps(p, s);
  out.home_mib_ps = p.kib.per_s() / 1024;
  out.round_trip_s = p.way.seconds() > 0 ? p.way.seconds() : way_.seconds();
  if (p.traffic.node != 0) out.partners = {&p.traffic, 1};
}

void Balance::put_habits(const GuestProcess& g, Process& out) const {
  out.home_calls_ps = g.calls_ps;
  out.home_mib_ps = g.home_mib_ps;
  out.round_trip_s = g.round_trip_s;
  if (g.traffic.node != 0) out.partners = {&g.traffic, 1};
}

void Balance::put_habits(const Process& d, peer::Guest& m) {
  m.home_calls_milli = milli(d.home_calls_ps);
  m.home_kib_ps = static_cast<std::uint32_t>(std::clamp(d.home_mib_ps, 0.0F, kCountable) * 1024);
  m.call_us = static_cast<std::uint32_t>(std::clamp(d.round_trip_s, 0.0F, 1.0F) * 1e6F);
  if (!d.partners.empty()) m.partner_milli = milli(d.partners.front().messages_ps);
}

void Balance::learn_habits(GuestProcess& g, const peer::Guest& m) {
  g.calls_ps = static_cast<float>(m.home_calls_milli / 1e3);
  g.home_mib_ps = static_cast<float>(m.home_kib_ps / 1024.0);
  g.round_trip_s = static_cast<float>(m.call_us / 1e6);
  g.traffic = {};
  if (m.partner_milli != 0) g.traffic = {g.home, static_cast<float>(m.partner_milli / 1e3)};
}

/// From what the process itself has counted.
void Balance::learn_calls(OwnProcess& p, const Session& s) {
  learn_io(p, s);
  p.calls.sample(s.state.home_calls, used_us(p, s));
  p.away.sample(s.state.away_calls, s.state.remote_cpu_us);
  p.way.sample(s.state.timed_calls, s.state.call_us);
  if (p.way.fresh() != 0) way_.add(p.way.fresh(), p.way.fresh_s());
}

void Balance::learn_program(const OwnProcess& p, const Session& s) {
  const double speed = settings_.speed > 0 ? settings_.speed : measured_speed_;
  // Who ends by a signal does not tell; a zombie that nobody has waited for still does.  Else what it used
  // since the last sample is lost.
  const std::uint64_t last = s.state.own_cpu_us != 0 ? s.state.own_cpu_us : process_facts(s.pid).cpu_us;
  const std::uint64_t unseen = last > p.track.cpu_us() ? last - p.track.cpu_us() : 0;
  const std::uint64_t all_us = used_us(p, s) + unseen;
  Profiles::Run run;
  std::uint64_t away_us = 0;
  if (p.stated) {
    away_us = std::min(s.state.remote_cpu_us, all_us);
    run.away_calls = s.state.away_calls;
    run.home_calls = s.state.home_calls - std::min(s.state.home_calls, s.state.away_calls);
  }
  run.away_cpu_s = static_cast<double>(away_us) / 1e6 * speed;
  run.home_cpu_s = static_cast<double>(all_us - away_us) / 1e6 * speed;
  // Elsewhere its threads were looked at there.
  run.cpu_use = p.report.cpu_use_milli != 0 ? p.report.cpu_use_milli / 1e3 : p.track.life_mean();
  profiles_.ended(p.exe, p.forked, run, now_s_);
}

}  // namespace hpcvmm::daemon
