// The cluster as its programs see it: a page that hpcd publishes in run_dir/view/page, which every deputy of
// that node maps read-only.  Beside it lie the files that programs read (guest-agent/view).
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <cstring>

namespace hpcvmm::wire::view {

inline constexpr std::uint32_t kMagic = 0x57565048;  // "HPVW"
inline constexpr std::uint32_t kVersion = 1;
inline constexpr unsigned kMostNodes = 128;
inline constexpr unsigned kMostCpus = 4096;
inline constexpr unsigned kMostProcesses = 1024;
/// A page that has not been renewed for so long belongs to an hpcd that is no more.
inline constexpr std::uint64_t kStaleMs = 10'000;

/// Cluster-wide CPU numbers.
struct CpuSet {
  std::array<std::uint64_t, kMostCpus / 64> words{};

  [[nodiscard]] bool has(unsigned cpu) const {
    return cpu < kMostCpus && (words[cpu / 64] >> (cpu % 64) & 1) != 0;
  }
  void add(unsigned cpu) {
    if (cpu < kMostCpus) words[cpu / 64] |= std::uint64_t{1} << (cpu % 64);
  }
  void add(unsigned first, unsigned count) {
    for (unsigned i = 0; i < count; ++i) add(first + i);
  }
  [[nodiscard]] bool empty() const { return *this == CpuSet{}; }
  [[nodiscard]] bool meets(unsigned first, unsigned count) const {
    for (unsigned i = 0; i < count; ++i)
      if (has(first + i)) return true;
    return false;
  }
  /// CPUs of both.
  [[nodiscard]] CpuSet with(const CpuSet& other) const {
    CpuSet both;
    for (std::size_t i = 0; i < words.size(); ++i) both.words[i] = words[i] & other.words[i];
    return both;
  }
  bool operator==(const CpuSet&) const = default;
};

/// One node with its range of CPU numbers.
struct Node {
  std::uint32_t id;
  std::uint32_t online;  ///< 0: it is down; its numbers are kept for it
  std::uint32_t first_cpu;
  std::uint32_t cpus;
};

/// A process of this node that is, or has been, away.
struct Process {
  std::int32_t pid;
  std::uint32_t where;          ///< node it runs on
  std::uint64_t remote_cpu_us;  ///< CPU time it has used away from here
};

struct Cluster {
  std::uint32_t magic, version;
  std::uint32_t own_node;
  std::uint32_t cpu_ids;     ///< highest CPU number that a node owns, plus one
  std::uint64_t renewed_ms;  ///< CLOCK_MONOTONIC
  // sysinfo(2): sums over the nodes that are up, bytes
  std::uint64_t memory_total, memory_free, memory_shared, memory_buffers, swap_total, swap_free;
  std::uint64_t loads[3];  ///< 65536: 1.0
  std::uint64_t idle_cs;   ///< time idle, of all CPUs, in 1/100 s
  std::uint32_t processes;
  std::uint32_t node_count, process_count, reserved;
  Node nodes[kMostNodes];  ///< ascending by id
};

struct Page {
  Cluster cluster;
  Process process[kMostProcesses];  ///< ascending by pid
};

/// What lies in the file.  The writer makes `sequence` odd, changes the page, and makes it even again.
struct Shared {
  std::atomic<std::uint32_t> sequence;
  std::uint32_t reserved;
  Page page;
};

inline void publish(Shared& shared, const Page& page) {
  const std::uint32_t now = shared.sequence.load(std::memory_order_relaxed);
  shared.sequence.store(now | 1, std::memory_order_relaxed);
  std::atomic_thread_fence(std::memory_order_release);
  std::memcpy(&shared.page, &page, sizeof page);
  shared.sequence.store((now | 1) + 1, std::memory_order_release);
}

/// Runs `look` on the page until it has seen one state of it.  `look` may see nonsense meanwhile: it checks
/// counts before it follows them.  False: nobody has published, or the publisher stopped in the middle.
template <class Look> bool look_at(const Shared& shared, Look look) {
  for (int attempt = 0; attempt < 1'000'000; ++attempt) {
    const std::uint32_t before = shared.sequence.load(std::memory_order_acquire);
    if (before == 0) return false;
    if ((before & 1) != 0) continue;
    look(shared.page);
    std::atomic_thread_fence(std::memory_order_acquire);
    if (shared.sequence.load(std::memory_order_relaxed) == before) return true;
  }
  return false;
}

}  // namespace hpcvmm::wire::view
