#include "daemon/balance/partners.hh"

#include <algorithm>
#include <array>
#include <charconv>
#include <map>
#include <sstream>
#include <string>
#include <unordered_map>

namespace hpcvmm::daemon {

std::vector<std::pair<std::uint64_t, std::uint64_t>> connected(std::string_view text) {
  std::vector<std::pair<std::uint64_t, std::uint64_t>> out;
  std::unordered_map<std::string, std::uint64_t> by_ends;  // "local remote" -> inode
  std::istringstream lines{std::string(text)};
  for (std::string line; std::getline(lines, line);) {
    // sl local remote state queues timer retransmits uid timeout inode
    std::istringstream words(line);
    std::array<std::string, 10> w;
    bool whole = true;
    for (std::string& word : w) whole = whole && static_cast<bool>(words >> word);
    if (!whole || w[3] != "01") continue;  // ESTABLISHED
    std::uint64_t inode = 0;
    std::from_chars(w[9].data(), w[9].data() + w[9].size(), inode);
    if (inode == 0) continue;
    if (const auto other = by_ends.find(w[2] + " " + w[1]); other != by_ends.end())
      out.emplace_back(other->second, inode);
    by_ends[w[1] + " " + w[2]] = inode;
  }
  return out;
}

std::vector<Joined> joined(const std::vector<Held>& all,
                           const std::vector<std::pair<std::uint64_t, std::uint64_t>>& connections) {
  std::map<std::uint64_t, std::vector<pid_t>> holders;
  for (const Held& h : all)
    for (const std::uint64_t end : h.ends) holders[end].push_back(h.pid);
  // Both ends of a connection are one object.
  for (const auto& [a, b] : connections) {
    const auto first = holders.find(a);
    const auto second = holders.find(b);
    if (first == holders.end() || second == holders.end()) continue;
    first->second.insert(first->second.end(), second->second.begin(), second->second.end());
    holders.erase(second);
  }
  std::map<std::pair<pid_t, pid_t>, unsigned> count;
  for (auto& [end, pids] : holders) {
    std::sort(pids.begin(), pids.end());
    pids.erase(std::unique(pids.begin(), pids.end()), pids.end());
    if (pids.size() > kMostHolders) continue;
    for (std::size_t i = 0; i < pids.size(); ++i)
      for (std::size_t j = i + 1; j < pids.size(); ++j) ++count[{pids[i], pids[j]}];
  }
  std::vector<Joined> out;
  out.reserve(count.size());
  for (const auto& [pair, n] : count) out.push_back({pair.first, pair.second, n});
  return out;
}

}  // namespace hpcvmm::daemon
