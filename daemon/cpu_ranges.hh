// Which node owns which cluster-wide CPU numbers.  Pure state: no clock, no network.
//
// Every node chooses its own range among those it has heard of and tells the others; nobody assigns.  A range
// stays with its node while that is up and is kept for it when it is down.  Where two have chosen the same
// numbers (both were alone, or started together) the one that has held them for longer keeps them.
#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "daemon/config.hh"

namespace hpcvmm::daemon {

struct CpuRange {
  std::uint32_t first = 0, cpus = 0;
  std::uint64_t since_ms = 0;  ///< held since then, on this node's clock
  bool online = false;
};

/// Threads: one.  Times are milliseconds of any one clock.
class CpuRanges {
 public:
  /// A node waits for so long for others, which may have numbers already, before it chooses.
  static constexpr std::uint64_t kPatienceMs = 1500;
  static constexpr std::uint32_t kNone = ~std::uint32_t{0};

  CpuRanges(Node self, std::uint32_t cpus, std::vector<Node> seeds)
      : self_(self), cpus_(cpus), seeds_(std::move(seeds)) {}

  /// What another node says of itself: `first` may be kNone.  `yours`: the range it remembers as ours, or
  /// kNone.
  void on_claim(Node from, std::uint32_t first, std::uint32_t cpus, std::uint64_t held_ms,
                std::uint64_t now_ms);
  void on_memory(std::uint32_t our_first, std::uint32_t our_cpus);
  void on_down(Node node);
  /// True: this node's own range is another than before; the others should hear of it.
  bool tick(std::uint64_t now_ms);

  /// This node's own range; nullptr: not chosen yet.
  [[nodiscard]] const CpuRange* own() const { return find(self_); }
  [[nodiscard]] const CpuRange* find(Node node) const;
  [[nodiscard]] const std::map<Node, CpuRange>& all() const { return ranges_; }

 private:
  [[nodiscard]] bool may_choose(std::uint64_t now_ms) const;
  [[nodiscard]] bool is_free(std::uint32_t first, std::uint32_t cpus) const;
  [[nodiscard]] bool wins(Node a, const CpuRange& x, Node b, const CpuRange& y) const;
  void choose(std::uint64_t now_ms);

  Node self_;
  std::uint32_t cpus_;
  std::vector<Node> seeds_;
  std::map<Node, CpuRange> ranges_;
  std::map<Node, bool> heard_;  // true: it has chosen
  std::uint64_t start_ms_ = 0;
  bool started_ = false, lost_ = false;
  std::uint32_t remembered_ = kNone;
};

}  // namespace hpcvmm::daemon
