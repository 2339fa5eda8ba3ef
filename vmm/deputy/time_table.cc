#include "vmm/deputy/time_table.hh"

namespace hpcvmm::deputy {

void TimeTable::clear(TimeRow& row) {
  row.set_own({});
  row.children_user_us = row.children_system_us = 0;
  row.parent = 0;
}

TimeRow* TimeTable::find(std::int32_t pid) {
  for (std::size_t i = 0; i < kNear; ++i)
    if (at(pid, i).pid.load(std::memory_order_acquire) == pid) return &at(pid, i);
  return nullptr;
}

TimeRow* TimeTable::find_or_make(std::int32_t pid, bool (*is_gone)(std::int32_t pid)) {
  if (TimeRow* const there = find(pid)) return there;
  for (std::size_t i = 0; i < kNear; ++i) {
    std::int32_t nobody = 0;
    if (at(pid, i).pid.compare_exchange_strong(nobody, pid)) return &at(pid, i);
  }
  for (std::size_t i = 0; i < kNear; ++i) {
    TimeRow& row = at(pid, i);
    std::int32_t other = row.pid.load();
    if (other == 0 || !is_gone(other) || !row.pid.compare_exchange_strong(other, pid)) continue;
    clear(row);
    return &row;
  }
  return nullptr;
}

void TimeTable::forget(std::int32_t pid) {
  TimeRow* const row = find(pid);
  if (row == nullptr) return;
  clear(*row);
  row->pid.store(0, std::memory_order_release);
}

CpuTime TimeTable::take(std::int32_t pid, std::int32_t parent) {
  TimeRow* const row = find(pid);
  if (row == nullptr) return {};
  const CpuTime all = row->parent.load() == parent ? row->own() + row->children() : CpuTime{};
  forget(pid);
  return all;
}

}  // namespace hpcvmm::deputy
