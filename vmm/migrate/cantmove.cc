// Why a process cannot move, known before anybody asks it to.
#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>
#include <string>
#include <string_view>

#include "vmm/mem/host_maps.hh"
#include "vmm/migrate/home.hh"
#include "vmm/migrate/mappings.hh"

namespace hpcvmm::migrate {

namespace local = wire::local;

namespace {

constexpr std::uint64_t kMostAnonymous = std::uint64_t{64} << 30;

std::string size_text(std::uint64_t bytes) {
  if (bytes >= std::uint64_t{10} << 20) return std::to_string(bytes >> 20) + " MiB";
  return std::to_string(bytes >> 10) + " KiB";
}

/// FNV-1a.
std::uint64_t hash_of(const void* data, std::size_t bytes) {
  std::uint64_t h = 0xcbf29ce484222325;
  for (std::size_t i = 0; i < bytes; ++i)
    h = (h ^ static_cast<const unsigned char*>(data)[i]) * 0x100000001b3;
  return h;
}

/// What people call the memory that is mapped at `at`.
std::string name_of(std::uint64_t at) {
  mem::HostFile f;
  if (!mem::host_file_at(at, f)) return "anonymous";
  const std::string_view path = f.path.data();
  if (path.starts_with("/dev/zero")) return "anonymous";
  if (path.starts_with("/SYSV")) return "SysV segment, key 0x" + std::string(path.substr(5, 8));
  return std::string(path);
}

}  // namespace

std::string Home::cannot_move_locked() const {
  std::uint64_t private_bytes = 0;
  for (const auto& [begin, v] : mm_->vmas_locked())
    if (!v.file && !v.shared) private_bytes += v.end - begin;
  if (std::string why = why_not_shared_locked(); !why.empty()) return why;
  if (private_bytes > kMostAnonymous) return "more than 64 GiB of address space";
  return {};
}

/// Of the shared mappings that keep it at home the largest, and why.
std::string Home::why_not_shared_locked() const {
  std::uint64_t largest = 0;
  std::uint64_t largest_at = 0;
  std::string largest_why;
  unsigned count = 0;
  for (const auto& [begin, v] : mm_->vmas_locked()) {
    if (!v.shared || v.steady) continue;
    share_.pieces(begin, v.end, [&](std::uint64_t from, std::uint64_t to, const share::Client::Range* r) {
      if (r != nullptr && r->why.empty()) return;
      ++count;
      if (to - from <= largest) return;
      largest = to - from;
      largest_at = from;
      largest_why = r != nullptr ? r->why : share_failed_;
    });
  }
  if (count == 0) return {};
  std::string why = "shared memory mapping (" + name_of(largest_at) + ", " + size_text(largest);
  if (count > 1) why += "; " + std::to_string(count - 1) + " more";
  why += ")";
  return largest_why.empty() ? why : why + ": " + largest_why;
}

/// Those that are not as good as private, in order of address; how many there are.
std::uint32_t Home::shared_mappings_locked(local::Mapping* list, std::uint32_t room) const {
  std::uint32_t total = 0;
  for (const auto& [begin, v] : mm_->vmas_locked()) {
    if (!v.shared || v.steady) continue;
    share_.pieces(begin, v.end, [&](std::uint64_t from, std::uint64_t to, const share::Client::Range* r) {
      if (total++ >= room) return;
      local::Mapping& m = list[total - 1];
      m.begin = from;
      m.end = to;
      m.coherent = r != nullptr && r->why.empty() ? 1 : 0;
      mem::HostFile f;
      name_mapping(mem::host_file_at(from, f) ? std::string_view(f.path.data()) : std::string_view(), m);
      const std::string& why = r != nullptr ? r->why : share_failed_;
      m.why[why.copy(m.why, sizeof m.why - 1)] = 0;
    });
  }
  return total;
}

/// By the mover: told when it changes, so that a process that is stopped is known as well.
void Home::tell_mappings() {
  constexpr std::uint32_t kAll = local::kMostMappings;
  constexpr std::uint32_t kOne = local::kMappingsInOne;
  std::array<local::Mappings, kAll / kOne> messages{};
  std::array<local::Mapping, kAll> list{};
  std::uint32_t total = 0;
  {
    const mem::LockGuard guard(mm_->lock());
    total = shared_mappings_locked(list.data(), kAll);
  }
  const std::uint32_t told = std::min(total, kAll);
  const std::uint64_t hash = total == 0 ? 0 : hash_of(list.data(), told * sizeof list[0]) ^ total;
  if (hash == mappings_told_) return;
  mappings_told_ = hash;
  std::uint32_t first = 0;
  for (local::Mappings& m : messages) {
    if (first != 0 && first >= told) return;
    m.first = first;
    m.count = std::min(told - first, kOne);
    m.total = total;
    std::copy_n(list.data() + first, m.count, m.list);
    link_.send_control(&m, sizeof m);
    first += m.count;
  }
}

/// By the mover: `ps` shows the reason at once, not after the first attempt.
void Home::tell_cantmove() {
  if (!shared_news_.exchange(false)) return;
  std::string why;
  {
    const mem::LockGuard guard(mm_->lock());
    why = cannot_move_locked();
  }
  if (why != cantmove_) report(why);
  tell_mappings();
}

}  // namespace hpcvmm::migrate
