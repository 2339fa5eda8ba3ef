#include "daemon/cpu_ranges.hh"

#include <algorithm>
#include <utility>

namespace hpcvmm::daemon {

namespace {
/// Closer than this two nodes have started together: the smaller number decides.
constexpr std::uint64_t kTogetherMs = 2000;

bool overlap(std::uint32_t a, std::uint32_t a_cpus, std::uint32_t b, std::uint32_t b_cpus) {
  return a < b + b_cpus && b < a + a_cpus;
}
}  // namespace

const CpuRange* CpuRanges::find(Node node) const {
  const auto found = ranges_.find(node);
  return found == ranges_.end() ? nullptr : &found->second;
}

bool CpuRanges::wins(Node a, const CpuRange& x, Node b, const CpuRange& y) const {
  if (x.online != y.online) return x.online;
  const std::uint64_t older = std::min(x.since_ms, y.since_ms);
  if (std::max(x.since_ms, y.since_ms) - older > kTogetherMs) return x.since_ms == older;
  return a < b;
}

void CpuRanges::on_claim(Node from, std::uint32_t first, std::uint32_t cpus, std::uint64_t held_ms,
                         std::uint64_t now_ms) {
  if (from == self_) return;
  heard_[from] = first != kNone;
  if (first == kNone || cpus == 0) return;
  const CpuRange claim{first, cpus, now_ms - std::min(held_ms, now_ms), true};
  std::vector<Node> losers;
  for (const auto& [id, r] : ranges_) {
    if (id == from || !overlap(first, cpus, r.first, r.cpus)) continue;
    // It will hear of that range, too, and choose another.
    if (wins(id, r, from, claim)) {
      ranges_.erase(from);
      return;
    }
    losers.push_back(id);
  }
  for (const Node id : losers) {
    if (id == self_) lost_ = true;
    ranges_.erase(id);
  }
  ranges_[from] = claim;
}

void CpuRanges::on_memory(std::uint32_t our_first, std::uint32_t our_cpus) {
  if (our_first != kNone && our_cpus == cpus_) remembered_ = our_first;
}

void CpuRanges::on_down(Node node) {
  heard_.erase(node);
  if (const auto found = ranges_.find(node); found != ranges_.end() && node != self_)
    found->second.online = false;
}

bool CpuRanges::may_choose(std::uint64_t now_ms) const {
  if (lost_ || now_ms - start_ms_ > kPatienceMs) return true;
  return std::all_of(seeds_.begin(), seeds_.end(), [this](Node id) {
    const auto found = heard_.find(id);
    return found != heard_.end() && (found->second || id > self_);
  });
}

bool CpuRanges::is_free(std::uint32_t first, std::uint32_t cpus) const {
  return std::none_of(ranges_.begin(), ranges_.end(), [&](const auto& r) {
    return r.first != self_ && overlap(first, cpus, r.second.first, r.second.cpus);
  });
}

void CpuRanges::choose(std::uint64_t now_ms) {
  std::uint32_t first = 0;
  if (remembered_ != kNone && is_free(remembered_, cpus_)) {
    first = remembered_;
  } else {
    std::vector<std::uint32_t> ends{0};
    for (const auto& [id, r] : ranges_) ends.push_back(r.first + r.cpus);
    std::sort(ends.begin(), ends.end());
    first = *std::find_if(ends.begin(), ends.end(), [this](std::uint32_t at) { return is_free(at, cpus_); });
  }
  ranges_[self_] = {first, cpus_, now_ms, true};
  lost_ = false;
}

bool CpuRanges::tick(std::uint64_t now_ms) {
  if (!std::exchange(started_, true)) start_ms_ = now_ms;
  if (own() != nullptr || !may_choose(now_ms)) return false;
  choose(now_ms);
  return true;
}

}  // namespace hpcvmm::daemon
