// Who has which page of a process that is away: kept at home, for anonymous memory only.
//
// A page is in the stash (what the process left behind when it went, not yet sent), at home (taken back
// since), or away, which is what nothing is noted about.
#pragma once

#include <bitset>
#include <cstdint>
#include <unordered_map>
#include <vector>

#include "hpcvmm/base/layout.hh"

namespace hpcvmm::migrate {

/// Pages of the window.
class PageSet {
 public:
  void set(std::uint64_t page) { chunks_[page / kChunk][page % kChunk / kPageSize] = true; }
  void clear() { chunks_.clear(); }
  void clear(std::uint64_t begin, std::uint64_t end) {
    if ((end - begin) / kChunk > chunks_.size()) {
      for (auto& [chunk, pages] : chunks_)
        for (std::uint64_t i = 0; i < kPages; ++i)
          if (const std::uint64_t p = chunk * kChunk + i * kPageSize; p >= begin && p < end) pages[i] = false;
      return;
    }
    for (std::uint64_t p = begin; p < end; p += kPageSize) {
      const auto it = chunks_.find(p / kChunk);
      if (it != chunks_.end()) it->second[p % kChunk / kPageSize] = false;
    }
  }
  [[nodiscard]] bool has(std::uint64_t page) const {
    const auto it = chunks_.find(page / kChunk);
    return it != chunks_.end() && it->second[page % kChunk / kPageSize];
  }

 private:
  static constexpr std::uint64_t kChunk = std::uint64_t{2} << 20;
  static constexpr std::uint64_t kPages = kChunk / kPageSize;
  std::unordered_map<std::uint64_t, std::bitset<kPages>> chunks_;
};

enum class Whereabouts : std::uint8_t { Stash, Home, OnItsWay, Away };

/// Pure bookkeeping.  Threads: under the owner's lock.
class Directory {
 public:
  struct Stash {
    std::uint64_t begin, end;  ///< in the window
    std::uint64_t copy;        ///< where the pages are now
    std::vector<bool> given;   ///< handed over, or void
  };

  void add_stash(std::uint64_t begin, std::uint64_t end, std::uint64_t copy) {
    stashes_.push_back({begin, end, copy, std::vector<bool>((end - begin) / kPageSize)});
  }
  std::vector<Stash>& stashes() { return stashes_; }
  void clear_stashes() { stashes_.clear(); }
  void clear() {
    stashes_.clear();
    home_.clear();
  }

  [[nodiscard]] Whereabouts where(std::uint64_t page) const {
    if (at_home(page)) return Whereabouts::Home;
    for (const Stash& s : stashes_)
      if (page >= s.begin && page < s.end)
        return s.given[(page - s.begin) / kPageSize] ? Whereabouts::OnItsWay : Whereabouts::Stash;
    return Whereabouts::Away;
  }
  /// Hands a stashed page over: its copy's address.  Only for a page that where() finds in the stash.
  std::uint64_t give(std::uint64_t page) {
    for (Stash& s : stashes_) {
      if (page < s.begin || page >= s.end) continue;
      s.given[(page - s.begin) / kPageSize] = true;
      return s.copy + (page - s.begin);
    }
    return 0;
  }
  void set_home(std::uint64_t page) { home_.set(page); }
  void set_away(std::uint64_t page) { home_.clear(page, page + kPageSize); }
  [[nodiscard]] bool at_home(std::uint64_t page) const { return home_.has(page); }
  /// The content of [begin, end) is void.
  void forget(std::uint64_t begin, std::uint64_t end) {
    for (Stash& s : stashes_)
      for (std::uint64_t p = begin > s.begin ? begin : s.begin; p < end && p < s.end; p += kPageSize)
        s.given[(p - s.begin) / kPageSize] = true;
    home_.clear(begin, end);
  }

 private:
  std::vector<Stash> stashes_;
  PageSet home_;
};

}  // namespace hpcvmm::migrate
