#include "vmm/deputy/host.hh"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdarg>
#include <cstdio>

#include "vmm/deputy/accounts.hh"
#include "vmm/deputy/debug.hh"
#include "vmm/deputy/fork_locks.hh"
#include "vmm/deputy/gate.hh"
#include "vmm/deputy/low_memory.hh"
#include "vmm/mem/lock.hh"
#include "vmm/mem/overlay.hh"
#include "vmm/mem/user_copy.hh"

namespace hpcvmm::deputy {
namespace {

std::uint64_t staged(unsigned arg, std::uint64_t guest, std::uint64_t bytes) {
  const mem::Overlay* const over = mem::overlay();
  return over != nullptr ? over->staged(arg, guest, bytes) : 0;
}

bool has_copies() {
  const mem::Overlay* const over = mem::overlay();
  return over != nullptr && !over->empty();
}

constexpr sys::HostGate kGate{gate64, gate32,     mem::copy_in, mem::copy_out, is_hidden,
                              staged, has_copies, take_low,     give_low};

constexpr rlim_t kHighest =
    4096;  // not higher: a process's descriptor table is as long as its largest number
constexpr unsigned kMaxHidden = 1200;

struct Hidden {
  struct Entry {
    std::int32_t fd;
    int* owner;  // the variable that holds the number; nullptr: nobody to tell, so it cannot move
  };
  mem::Lock lock;
  std::array<Entry, kMaxHidden> entries{};
  unsigned count = 0;
} g_hidden;  // NOLINT: guarded by its lock; per process

int duplicate_above(int fd, rlim_t base) {
  return static_cast<int>(raw_call(SYS_fcntl, word(fd), F_DUPFD_CLOEXEC, base));
}

int move_up(int fd) {
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  const rlim_t base = std::min(limit.rlim_cur, kHighest);
  // Numbers above the soft limit stay usable once they exist; only making them needs room for a moment.
  rlimit wider = limit;
  wider.rlim_cur = limit.rlim_max;
  const bool widen = limit.rlim_cur < limit.rlim_max;
  if (widen) ::setrlimit(RLIMIT_NOFILE, &wider);
  int moved = duplicate_above(fd, base);
  if (widen) ::setrlimit(RLIMIT_NOFILE, &limit);
  if (moved < 0) moved = duplicate_above(fd, limit.rlim_cur > 64 ? limit.rlim_cur - 64 : 0);
  return moved;
}

void forget_locked(int fd) {
  for (unsigned i = 0; i < g_hidden.count; ++i)
    if (g_hidden.entries[i].fd == fd) g_hidden.entries[i--] = g_hidden.entries[--g_hidden.count];
}

}  // namespace

mem::Lock& hidden_lock() { return g_hidden.lock; }

const sys::HostGate& host_gate() { return kGate; }

int hide_fd(int fd, int* owner) {
  const mem::LockGuard guard(g_hidden.lock);
  int moved = move_up(fd);
  if (moved < 0) {
    moved = fd;
  } else {
    raw_call(SYS_close, word(fd));
  }
  forget_locked(moved);
  if (g_hidden.count < kMaxHidden) g_hidden.entries[g_hidden.count++] = {moved, owner};
  if (owner != nullptr) *owner = moved;
  return moved;
}

int raise_fd(int fd) {
  const mem::LockGuard guard(g_hidden.lock);
  const int moved = move_up(fd);
  if (moved < 0) return fd;
  raw_call(SYS_close, word(fd));
  return moved;
}

void close_hidden(int fd) {
  if (fd < 0) return;
  const mem::LockGuard guard(g_hidden.lock);
  forget_locked(fd);
  raw_call(SYS_close, word(fd));
}

bool is_hidden(int fd) {
  const unsigned n = g_hidden.count;
  for (unsigned i = 0; i < n; ++i)
    if (g_hidden.entries[i].fd == fd) return true;
  return false;
}

unsigned hidden_fds(int* out, unsigned room) {
  const mem::LockGuard guard(g_hidden.lock);
  const unsigned n = std::min(room, g_hidden.count);
  for (unsigned i = 0; i < n; ++i) out[i] = g_hidden.entries[i].fd;
  std::sort(out, out + n);
  return n;
}

void track_fd(int* owner) {
  const mem::LockGuard guard(g_hidden.lock);
  for (unsigned i = 0; i < g_hidden.count; ++i)
    if (g_hidden.entries[i].fd == *owner) g_hidden.entries[i].owner = owner;
}

bool move_hidden(int fd) {
  const mem::LockGuard guard(g_hidden.lock);
  for (unsigned i = 0; i < g_hidden.count; ++i) {
    Hidden::Entry& e = g_hidden.entries[i];
    if (e.fd != fd || e.owner == nullptr) continue;
    const int moved = move_up(fd);
    if (moved < 0) return false;
    e.fd = *e.owner = moved;
    raw_call(SYS_close, word(fd));
    return true;
  }
  return false;
}

FdRoom::FdRoom() {
  ::getrlimit(RLIMIT_NOFILE, &before_);
  rlimit wider = before_;
  wider.rlim_cur = before_.rlim_max;
  if (before_.rlim_cur < before_.rlim_max) ::setrlimit(RLIMIT_NOFILE, &wider);
}

FdRoom::~FdRoom() {
  if (before_.rlim_cur < before_.rlim_max) ::setrlimit(RLIMIT_NOFILE, &before_);
}

void say(const char* format, ...) {
  std::array<char, 512> line{};
  va_list list;
  va_start(list, format);
  const int n = std::vsnprintf(line.data(), line.size(), format, list);
  va_end(list);
  if (n > 0)
    raw_call(SYS_write, 2, word(line.data()),
             std::min(static_cast<std::uint64_t>(n), static_cast<std::uint64_t>(line.size() - 1)));
}

void die_of_own_fault(int signo, const siginfo_t* info, std::uint64_t rip) {
  say("hpc-vmm: internal error: signal %d at %#lx, address %p: please report it\n", signo,
      static_cast<unsigned long>(rip), info->si_addr);
  raw_call(SYS_exit_group, 125);
  __builtin_unreachable();
}

void die_broken(Task& t, const engine::Exit& exit) {
  const GuestRegs& r = t.vcpu->regs();
  say("hpc-vmm: the micro-VM of pid %d cannot go on: %s (vector %u, code %#x, rip %#lx); ending it\n",
      static_cast<int>(raw_call(SYS_getpid)), exit.detail, exit.vector, exit.error_code,
      static_cast<unsigned long>(r.rip));
  end_summary(t, 128 + SIGKILL, SIGKILL);
  if (t.debug != nullptr) debug_end(t, 0, SIGKILL);
  raw_call(SYS_kill, static_cast<std::uint64_t>(raw_call(SYS_getpid)), SIGKILL);
  raw_call(SYS_exit_group, 125);
  __builtin_unreachable();
}

void end_summary(Task& t, int status, int signo) {
  Process& p = *t.process;
  if (p.options.summary_fd < 0) return;
  const mem::LockGuard guard(p.lock);
  Counters c = p.ended;
  for (const Task* other : p.tasks) {
    c.syscalls += other->count.syscalls;
    c.exits += other->count.exits;
    c.faults += other->count.faults;
    c.signals += other->count.signals;
  }
  rusage own{};
  rusage children{};
  ::getrusage(RUSAGE_SELF, &own);
  ::getrusage(RUSAGE_CHILDREN, &children);
  const CpuTime away = process_used_away(t);
  const CpuTime children_away = children_used_away(t);
  const auto seconds = [](const timeval& v, std::uint64_t more_us) {
    return static_cast<double>(v.tv_sec) + static_cast<double>(v.tv_usec) * 1e-6 +
           static_cast<double>(more_us) * 1e-6;
  };
  std::array<char, 768> line{};
  const int n = std::snprintf(
      line.data(), line.size(),
      "{\"pid\": %d, \"engine\": \"%s\", \"abi\": \"%s\", \"exit_status\": %d, \"signal\": %d, "
      "\"system_calls\": %lu, "
      "\"exits\": %lu, \"faults\": %lu, \"signals_delivered\": %lu, \"user_s\": %.6f, \"system_s\": %.6f, "
      "\"children_user_s\": %.6f, \"children_system_s\": %.6f, \"max_rss_kib\": %ld}\n",
      static_cast<int>(raw_call(SYS_getpid)), p.engine_kind == engine::Kind::Kvm ? "kvm" : "direct",
      p.abi == Abi::X64 ? "x86-64" : "ia32", status, signo, static_cast<unsigned long>(c.syscalls),
      static_cast<unsigned long>(c.exits), static_cast<unsigned long>(c.faults),
      static_cast<unsigned long>(c.signals), seconds(own.ru_utime, away.user),
      seconds(own.ru_stime, away.system), seconds(children.ru_utime, children_away.user),
      seconds(children.ru_stime, children_away.system), own.ru_maxrss);
  if (n > 0)
    raw_call(SYS_write, word(p.options.summary_fd), word(line.data()), static_cast<std::uint64_t>(n));
}

}  // namespace hpcvmm::deputy
