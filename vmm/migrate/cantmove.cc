// Why a process cannot move, known before anybody asks it to.
#include <cstdio>
#include <cstring>
#include <string>
#include <string_view>

#include "vmm/mem/host_maps.hh"
#include "vmm/migrate/home.hh"

namespace hpcvmm::migrate {
namespace {

constexpr std::uint64_t kMostAnonymous = std::uint64_t{64} << 30;

std::string size_text(std::uint64_t bytes) {
  if (bytes >= std::uint64_t{10} << 20) return std::to_string(bytes >> 20) + " MiB";
  return std::to_string(bytes >> 10) + " KiB";
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

/// By the mover: `ps` shows the reason at once, not after the first attempt.
void Home::tell_cantmove() {
  if (!shared_news_.exchange(false)) return;
  std::string why;
  {
    const mem::LockGuard guard(mm_->lock());
    why = cannot_move_locked();
  }
  if (why != cantmove_) report(why);
}

}  // namespace hpcvmm::migrate
