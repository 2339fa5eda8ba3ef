#include "vmm/deputy/accounts.hh"

#include <fcntl.h>
#include <linux/memfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <cerrno>

#include "vmm/deputy/gate.hh"
#include "vmm/deputy/home.hh"
#include "vmm/deputy/host.hh"
#include "vmm/deputy/task.hh"
#include "vmm/mem/arena.hh"
#include "vmm/mem/lock.hh"

namespace hpcvmm::deputy {
namespace {

int g_fd = -1;  // NOLINT: set at start; host.cc moves it when the guest wants the number
struct {
  mem::Lock lock;  // a fork holds none: whoever has it makes no call that waits, and is not in one
  std::atomic<TimeTable*> table{nullptr};
  bool tried = false;
  // This process's, not a sharing child's.
  std::atomic<std::int32_t> pid{0};
  std::atomic<TimeRow*> row{nullptr};
  CpuTime before_exec;
  TimeRow alone;  // where there is no place in the table
} g;              // NOLINT: as its comments say

std::int32_t own_pid() { return static_cast<std::int32_t>(raw_call(SYS_getpid)); }

TimeTable* table() {
  if (TimeTable* const there = g.table.load(std::memory_order_acquire)) return there;
  if (g_fd < 0) return nullptr;
  const mem::LockGuard guard(g.lock);
  if (!g.tried) {
    g.tried = true;
    g.table = static_cast<TimeTable*>(mem::arena_map_fd(g_fd, sizeof(TimeTable)));
  }
  return g.table.load();
}

bool is_gone(std::int32_t pid) { return raw_call(SYS_kill, word(pid), 0) == -ESRCH; }

/// Whether this process's numbers are the table's: not in a process namespace of its own.
bool has_its_numbers(TimeTable& t) {
  struct stat s {};
  const bool seen = raw_call(SYS_newfstatat, word(AT_FDCWD), word("/proc/self/ns/pid"), word(&s), 0) == 0;
  return t.is_of_namespace(seen ? s.st_ino : 1) || !seen;
}

/// Its row; with `make`, one is made.
TimeRow* row_of(std::int32_t pid, bool make) {
  const bool own = pid == g.pid.load(std::memory_order_acquire);
  if (TimeRow* const row = g.row.load(std::memory_order_acquire); own && row != nullptr) return row;
  TimeTable* const t = table();
  TimeRow* row = nullptr;
  if (t != nullptr && (make || t->is_used()) && has_its_numbers(*t))
    row = make ? t->find_or_make(pid, is_gone) : t->find(pid);
  if (row == nullptr && make && own) row = &g.alone;
  if (row == nullptr) return nullptr;
  row->parent = static_cast<std::int32_t>(raw_call(SYS_getppid));
  if (own) g.row.store(row, std::memory_order_release);
  return row;
}

/// A child that shares its parent's memory has nothing of its own but its thread's.
bool shares(const Task& t, std::int32_t pid) { return t.vfork_child || pid != g.pid.load(); }

}  // namespace

void make_accounts() {
  g.pid = own_pid();
  const int fd = static_cast<int>(raw_call(SYS_memfd_create, word("hpc-vmm-times"), MFD_CLOEXEC));
  if (fd < 0) return;
  if (raw_call(SYS_ftruncate, word(fd), page_up(sizeof(TimeTable))) == 0)
    hide_fd(fd, &g_fd);
  else
    raw_call(SYS_close, word(fd));
}

void set_accounts(int fd) {
  g.pid = own_pid();
  if (fd < 0) return;
  hide_fd(fd, &g_fd);
  // What the former program of this process has used.
  if (const TimeRow* const row = row_of(g.pid, false)) g.before_exec = row->own();
}

int accounts_fd() { return g_fd; }

bool accounts_count() {
  TimeTable* const t = table();
  return t != nullptr && t->is_used();
}

void accounts_of_fork_child() {
  new (&g.lock) mem::Lock;  // another thread of the parent may have held it
  g.row = nullptr;
  g.pid = own_pid();
  g.before_exec = {};
  new (&g.alone) TimeRow;
  if (accounts_count() && has_its_numbers(*table())) table()->forget(g.pid);
}

void accounts_of_sharing_child(std::int32_t pid) {
  if (accounts_count() && has_its_numbers(*table())) table()->forget(pid);
}

void note_used_away(const CpuTime& all) {
  const std::int32_t pid = g.pid.load();
  if (TimeRow* const row = row_of(pid, true)) {
    row->set_own(g.before_exec + all);
    row->parent = static_cast<std::int32_t>(raw_call(SYS_getppid));
  }
}

CpuTime thread_used_away(const Task& t) {
  const CpuTime all = t.used_before_exec + static_cast<migrate::MobileVcpu&>(*t.vcpu).used_away();
  // A vfork child runs its parent's vCPU.
  return {all.user - t.used_before.user, all.system - t.used_before.system};
}

CpuTime process_used_away(const Task& t) {
  const std::int32_t pid = own_pid();
  if (shares(t, pid)) return thread_used_away(t);
  const TimeRow* const row = row_of(pid, false);
  return row != nullptr ? row->own() : CpuTime{};
}

CpuTime children_used_away(const Task& t) {
  static_cast<void>(t);
  const TimeRow* const row = row_of(own_pid(), false);
  return row != nullptr ? row->children() : CpuTime{};
}

bool others_used_away(std::int32_t pid, CpuTime& own, CpuTime& children) {
  TimeTable* const t = table();
  if (t == nullptr || !t->is_used() || !has_its_numbers(*t)) return false;
  const TimeRow* const row = t->find(pid);
  if (row == nullptr) return false;
  own = row->own();
  children = row->children();
  return true;
}

CpuTime child_used_away(const Task& t, std::int32_t pid, bool reaped) {
  static_cast<void>(t);
  TimeTable* const table_of_all = table();
  if (table_of_all == nullptr || !table_of_all->is_used()) return {};
  // Before anything costs a call: most children have never been away.
  const TimeRow* const row = table_of_all->find(pid);
  if (row == nullptr || !has_its_numbers(*table_of_all)) return {};
  if (!reaped) return row->own() + row->children();
  const std::int32_t self = own_pid();
  const CpuTime all = table_of_all->take(pid, self);
  if (all.sum() == 0) return {};
  if (TimeRow* const mine = row_of(self, true)) mine->add_children(all);
  return all;
}

}  // namespace hpcvmm::deputy
