// CPU time that the processes of one tree of guests have used on other nodes: memory that all of them share.
//
// The kernel counts what a process uses at home, and what its reaped children have used there.  The rest is
// here: each process writes its own row, and whoever reaps it takes the row away and adds it to its own.  A
// process that has never been away, and none of whose children has, has no row.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "vmm/migrate/used.hh"

namespace hpcvmm::deputy {

using migrate::CpuTime;

/// A row.  One that is free holds zeros.
struct alignas(64) TimeRow {
  std::atomic<std::int32_t> pid{0};     ///< 0: free
  std::atomic<std::int32_t> parent{0};  ///< its last known
  std::atomic<std::uint64_t> user_us{0}, system_us{0};
  std::atomic<std::uint64_t> children_user_us{0}, children_system_us{0};

  [[nodiscard]] CpuTime own() const { return {user_us.load(), system_us.load()}; }
  [[nodiscard]] CpuTime children() const { return {children_user_us.load(), children_system_us.load()}; }
  void set_own(const CpuTime& t) {
    user_us = t.user;
    system_us = t.system;
  }
  void add_children(const CpuTime& t) {
    children_user_us += t.user;
    children_system_us += t.system;
  }
};

/// Lies in memory that was zero at first.  Any thread of any process of the tree; no call waits.
class TimeTable {
 public:
  /// Whether anybody has ever had a row.
  [[nodiscard]] bool is_used() const { return namespace_.load(std::memory_order_acquire) != 0; }
  /// Process numbers mean what they mean in the process namespace `inode`: the first one's who asks.
  bool is_of_namespace(std::uint64_t inode) {
    std::uint64_t seen = 0;
    return namespace_.compare_exchange_strong(seen, inode) || seen == inode;
  }
  /// nullptr: it has none.
  TimeRow* find(std::int32_t pid);
  /// Makes one where there is none, if need be that of a process for which is_gone() holds, that nobody has
  /// reaped here.  nullptr: there is no place.
  TimeRow* find_or_make(std::int32_t pid, bool (*is_gone)(std::int32_t pid));
  /// `pid` is, or was, another process than the one that has its row: forgets that.
  void forget(std::int32_t pid);
  /// `parent` has reaped `pid`: what it used away, and then its children.  Another's child counts nothing:
  /// its parent ended first, or does not reap.
  CpuTime take(std::int32_t pid, std::int32_t parent);

 private:
  static constexpr std::size_t kRows = 8192;
  static constexpr std::size_t kNear = 64;  // places that a number may have
  [[nodiscard]] TimeRow& at(std::int32_t pid, std::size_t i) {
    return rows_[(static_cast<std::uint32_t>(pid) + i) % kRows];
  }
  static void clear(TimeRow& row);

  alignas(64) std::atomic<std::uint64_t> namespace_{0};
  std::array<TimeRow, kRows> rows_;
};

}  // namespace hpcvmm::deputy
