// Ranges: a set of numbers kept as sorted, disjoint, half-open ranges; for sets that are nearly one range.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace hpcvmm::net {

struct Range {
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
  friend bool operator==(const Range&, const Range&) = default;
};

class Ranges {
 public:
  /// Adds [begin, end) and returns how many of these numbers are new.
  std::uint64_t add(std::uint64_t begin, std::uint64_t end) {
    if (begin >= end) return 0;
    if (ranges_.empty() || begin > ranges_.back().end) {
      ranges_.push_back({begin, end});
      return end - begin;
    }
    // The first range that touches or lies behind the new one.
    auto first = ranges_.end() - 1;
    while (first != ranges_.begin() && (first - 1)->end >= begin) --first;
    auto last = first;  // behind the last range that touches
    std::uint64_t known = 0;
    Range merged{begin, end};
    while (last != ranges_.end() && last->begin <= end) {
      known += overlap(*last, begin, end);
      merged.begin = std::min(merged.begin, last->begin);
      merged.end = std::max(merged.end, last->end);
      ++last;
    }
    if (first == last) {
      ranges_.insert(first, merged);
    } else {
      *first = merged;
      ranges_.erase(first + 1, last);
    }
    return end - begin - known;
  }
  [[nodiscard]] bool contains(std::uint64_t n) const {
    return std::any_of(ranges_.begin(), ranges_.end(),
                       [n](const Range& r) { return n >= r.begin && n < r.end; });
  }
  /// The end of the range that holds `n`, or `n` where none does.
  [[nodiscard]] std::uint64_t covered_until(std::uint64_t n) const {
    for (const Range& r : ranges_) {
      if (n >= r.begin && n < r.end) return r.end;
    }
    return n;
  }
  /// The begin of the first range behind `n`, or `otherwise`.
  [[nodiscard]] std::uint64_t next_begin(std::uint64_t n, std::uint64_t otherwise) const {
    for (const Range& r : ranges_) {
      if (r.begin > n) return r.begin;
    }
    return otherwise;
  }
  void drop_below(std::uint64_t n) {
    std::size_t whole = 0;
    while (whole < ranges_.size() && ranges_[whole].end <= n) ++whole;
    ranges_.erase(ranges_.begin(), ranges_.begin() + static_cast<std::ptrdiff_t>(whole));
    if (!ranges_.empty()) ranges_.front().begin = std::max(ranges_.front().begin, n);
  }
  void drop_oldest() { ranges_.erase(ranges_.begin()); }
  void clear() { ranges_.clear(); }
  [[nodiscard]] std::span<const Range> all() const { return ranges_; }
  [[nodiscard]] std::size_t size() const { return ranges_.size(); }
  [[nodiscard]] bool empty() const { return ranges_.empty(); }

 private:
  static std::uint64_t overlap(const Range& r, std::uint64_t begin, std::uint64_t end) {
    const std::uint64_t from = std::max(r.begin, begin);
    const std::uint64_t to = std::min(r.end, end);
    return to > from ? to - from : 0;
  }
  std::vector<Range> ranges_;
};

}  // namespace hpcvmm::net
