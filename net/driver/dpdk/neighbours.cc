#include "net/driver/dpdk/neighbours.hh"

#include <algorithm>

namespace hpcvmm::net::dpdk {

Neighbours::Answer Neighbours::find(std::uint32_t ip, Nanos now) {
  auto it = entries_.find(ip);
  if (it == entries_.end()) {
    if (entries_.size() >= kMaxNeighbours) expire(now);
    if (entries_.size() >= kMaxNeighbours) return {};
    it = entries_.emplace(ip, Entry{.heard = now}).first;
  }
  Entry& entry = it->second;
  if (entry.mac && now - entry.heard > kForget) entry.mac.reset();
  const bool wanted = !entry.mac || now - entry.heard > kFresh;
  const bool ask = wanted && (!entry.was_asked || now - entry.asked >= kAskAgain);
  if (ask) {
    entry.asked = now;
    entry.was_asked = true;
  }
  return {entry.mac, ask};
}

bool Neighbours::learn(std::uint32_t ip, const Mac& mac, bool of_interest, Nanos now) {
  auto it = entries_.find(ip);
  if (it == entries_.end()) {
    if (!of_interest) return false;
    if (entries_.size() >= kMaxNeighbours) expire(now);
    if (entries_.size() >= kMaxNeighbours) return false;
    it = entries_.emplace(ip, Entry{}).first;
  }
  Entry& entry = it->second;
  const bool news = entry.mac != mac;
  entry.mac = mac;
  entry.heard = now;
  entry.was_asked = false;
  return news;
}

void Neighbours::expire(Nanos now) {
  std::erase_if(entries_, [now](const auto& item) {
    const Entry& entry = item.second;
    return now - std::max(entry.heard, entry.asked) > kForget;
  });
}

}  // namespace hpcvmm::net::dpdk
