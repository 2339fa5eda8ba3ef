// Warming: pages go to the remote while the process still runs here.
//
// The remote keeps anonymous ones aside (its attic) and takes one into use when home says, after the switch,
// that it has not been written since (kPageSame).  So the stop lasts no longer for pages that were sent in
// vain, and a page counts only by the home's word.
#include <algorithm>
#include <array>
#include <cerrno>

#include "vmm/migrate/bytes.hh"
#include "vmm/migrate/home.hh"
#include "vmm/migrate/host.hh"

namespace hpcvmm::migrate {
namespace {

using wire::local::Mode;

// What the stop grows by, for tracked memory, is 3 us a MiB (measured on 6.18), 20 us when a thread is in a
// host call.
constexpr std::uint64_t kHybridBytes = std::uint64_t{64} << 20;
constexpr unsigned kMostPasses = 8;
constexpr std::uint64_t kFewPages = 256;  // not worth another pass

}  // namespace

/// Which mappings are warmed, smallest first: stacks, data and small heaps are what a process touches next.
void Home::choose_warm_locked(std::uint64_t most) {
  std::vector<MapEntry> all;
  for (const MapEntry& e : told_)
    if (e.kind == PageKind::Held) all.push_back(e);
  std::sort(all.begin(), all.end(),
            [](const MapEntry& a, const MapEntry& b) { return a.end - a.begin < b.end - b.begin; });
  for (const MapEntry& e : all) {
    const std::uint64_t bytes = e.end - e.begin;
    if (bytes > most) break;
    if (!written_.track(e.begin, e.end)) continue;  // it has gone meanwhile
    most -= bytes;
    tracked_.push_back({e.begin, e.end});
  }
}

int Home::warm_up(Mode mode, std::string& why) {
  warm_.clear();
  tracked_.clear();
  if (mode == Mode::Postcopy) return 0;
  const auto tracker = [this] {
    const OwnNumbers low;
    return written_.open();
  };
  if (auto ok = tracker(); !ok) {
    if (mode == Mode::Hybrid) return 0;
    why = "pre-copy needs Linux 6.7 or later on its home node; --mode hybrid works without";
    return EOPNOTSUPP;
  }
  {
    const mem::LockGuard guard(mm_->lock());
    choose_warm_locked(mode == Mode::Hybrid ? kHybridBytes : ~std::uint64_t{0});
  }
  bool sent = true;
  for (const MapEntry& e : told_)
    if (e.kind == PageKind::Shared && (e.prot & PROT_READ) != 0 && !(e.file != 0 && files_.there(e.file)))
      sent = sent && send_warm(e.begin, e.end, false);
  for (const auto& r : tracked_) sent = sent && send_warm(r.begin, r.end, true);
  if (mode == Mode::Precopy) sent = sent && repeat_warm();
  // All of it has to be there before a mapping changes at the switch.
  if (sent) return wait_prepared(Stream::Bulk, why);
  why = lost_.load() != 0 ? lost_why_ : "the hpcd of its home node has ended";
  return ETIMEDOUT;
}

/// Sends what has been written meanwhile, until that is little or does not get less.
bool Home::repeat_warm() {
  std::uint64_t before = ~std::uint64_t{0};
  for (unsigned pass = 0; pass < kMostPasses; ++pass) {
    const std::vector<WrittenPages::Range> runs = written_since(true);
    std::uint64_t pages = 0;
    for (const auto& r : runs) pages += (r.end - r.begin) / kPageSize;
    if (pages <= kFewPages || pages > before - before / 5) return true;
    before = pages;
    for (const auto& r : runs)
      if (!send_warm(r.begin, r.end, true)) return false;
  }
  return true;
}

/// Forgets which warm pages have been written, and returns them.
std::vector<WrittenPages::Range> Home::written_since(bool again) {
  std::vector<WrittenPages::Range> runs;
  for (const auto& r : tracked_) {
    const std::size_t known = runs.size();
    if (!written_.collect(r.begin, r.end, again, runs)) {
      runs.resize(known);
      runs.push_back(r);
    }
  }
  for (const auto& r : runs) warm_.clear(r.begin, r.end);
  return runs;
}

bool Home::send_warm(std::uint64_t begin, std::uint64_t end, bool anonymous) {
  constexpr std::size_t kStep = 512;
  std::array<std::uint8_t, kStep> present{};
  static std::array<std::array<std::byte, kPageSize>, kPagesPerMessage> content;  // the mover's alone
  std::array<std::uint64_t, kPagesPerMessage> entries{};
  std::array<const std::byte*, kPagesPerMessage> data{};
  unsigned count = 0;
  unsigned with_data = 0;
  for (std::uint64_t at = begin; at < end; at += kStep * kPageSize) {
    const std::size_t n = std::min<std::uint64_t>(kStep, (end - at) / kPageSize);
    pages_present(at, std::span(present).first(n));
    for (std::size_t i = 0; i < n; ++i) {
      const std::uint64_t page = at + i * kPageSize;
      std::byte* const copy = content[with_data].data();
      if (present[i] == 0 || !read_page(page, copy) || is_zero_page(copy)) continue;
      if (anonymous) warm_.set(page);
      const int slot = recent_.find_or_add(copy);
      entries[count] = page | bulk_flag(slot, true);
      if (slot < 0) data[with_data++] = copy;
      ++figures_.pages_warm;
      if (++count < kPagesPerMessage) continue;
      if (!push_pages(entries.data(), count, data.data(), with_data)) return false;
      count = with_data = 0;
    }
  }
  return count == 0 || push_pages(entries.data(), count, data.data(), with_data);
}

}  // namespace hpcvmm::migrate
