#include "daemon/balance/partners.hh"

#include <dirent.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <map>
#include <sstream>
#include <string>
#include <unordered_map>

namespace hpcvmm::daemon {

namespace {

constexpr unsigned kMostLooked = 64;

/// The number in "pipe:[123]"; 0: it is not one.
std::uint64_t inode_of(std::string_view link, std::string_view kind) {
  if (!link.starts_with(kind) || !link.substr(kind.size()).starts_with(":[")) return 0;
  std::uint64_t n = 0;
  std::from_chars(link.data() + kind.size() + 2, link.data() + link.size(), n);
  return n;
}

}  // namespace

Held held_by(pid_t pid) {
  Held h;
  h.pid = pid;
  const std::string folder = "/proc/" + std::to_string(pid) + "/fd";
  DIR* const dir = ::opendir(folder.c_str());
  if (dir == nullptr) return h;
  unsigned looked = 0;
  while (const dirent* const entry = ::readdir(dir)) {  // NOLINT(concurrency-mt-unsafe): a DIR of our own
    if (entry->d_name[0] == '.') continue;
    if (++looked > kMostLooked) break;
    std::array<char, 128> text{};
    const ssize_t n = ::readlinkat(::dirfd(dir), entry->d_name, text.data(), text.size());
    if (n <= 0) continue;
    const std::string_view link(text.data(), static_cast<std::size_t>(n));
    const std::uint64_t inode = std::max(inode_of(link, "pipe"), inode_of(link, "socket"));
    if (inode != 0) {
      h.ends.push_back(inode);
    } else if (link.starts_with('/') && !link.starts_with("/dev/")) {
      ++h.files;
    }
  }
  ::closedir(dir);
  std::sort(h.ends.begin(), h.ends.end());
  h.ends.erase(std::unique(h.ends.begin(), h.ends.end()), h.ends.end());
  return h;
}

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
