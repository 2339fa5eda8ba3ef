// What guest threads call, on their own host threads.
#include <fcntl.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <ctime>

#include "hpcvmm/base/layout.hh"
#include "vmm/gdb/server_impl.hh"

namespace hpcvmm::gdb {
namespace {

std::atomic<Server*> g_server{nullptr};  // NOLINT: set before guest threads run, cleared in a fork's child

constexpr std::uint64_t kTrapFlag = 0x100;
constexpr std::uint64_t kCallBytes = 2;  // `syscall` and `int $0x80` alike
constexpr std::uint8_t kVectorDebug = 1, kVectorBreakpoint = 3;
constexpr std::uint64_t kKickBit = std::uint64_t{1} << (kKickSignal - 1);
constexpr std::int64_t kEndPatienceNs =
    2'000'000'000;  // a gdb that does not read must not keep a dead program

/// A kick that came while the thread was on its way to the park must not interrupt a later call.
void drop_late_kick() {
  const timespec now{0, 0};
  ::syscall(SYS_rt_sigtimedwait, &kKickBit, nullptr, &now, 8);
}

/// The program may have it blocked; see README, "What the program can notice".
void unblock_kick() { ::syscall(SYS_rt_sigprocmask, SIG_UNBLOCK, &kKickBit, nullptr, 8); }

bool is_pushf(Server& s, const GuestRegs& r) {
  std::array<std::uint8_t, 4> code{};
  const std::size_t n = s.read(r.rip, code.data(), code.size());
  for (std::size_t i = 0; i < n; ++i) {
    if (code[i] == 0x9c) return true;
    const bool rex = !r.is_compat() && (code[i] & 0xf0) == 0x40;
    if (code[i] != 0x66 && !rex) return false;
  }
  return false;
}

void set_trap(Server& s, Thread& t) {
  GuestRegs& r = t.vcpu->regs();
  t.trap_set = t.step && (r.rflags & kTrapFlag) == 0;
  if (!t.trap_set) return;
  t.pushes_flags = is_pushf(s, r);
  r.rflags |= kTrapFlag;
}

void clear_trap(Server& s, Thread& t, const engine::Exit& e) {
  if (!t.trap_set) return;
  t.trap_set = false;
  GuestRegs& r = t.vcpu->regs();
  r.rflags &= ~kTrapFlag;
  // `syscall` has copied the flags.
  if (e.kind == engine::ExitKind::Syscall64) r.r11 &= ~kTrapFlag;
  if (!t.pushes_flags || e.kind != engine::ExitKind::Exception || e.vector != kVectorDebug) return;
  std::uint8_t high = 0;
  if (s.read(r.rsp + 1, &high, 1) != 1) return;
  high = static_cast<std::uint8_t>(high & ~1U);
  s.write(r.rsp + 1, &high, 1);
}

/// True if the trap behind `rip` cannot have come from what memory holds now: a breakpoint that gdb took with
/// it.
bool stale_breakpoint(Server& s, std::uint64_t rip) {
  std::array<std::uint8_t, 2> code{};
  if (s.read(rip - 2, code.data(), code.size()) != code.size()) return false;
  return code[1] != 0xcc && !(code[0] == 0xcd && code[1] == 0x03);
}

siginfo_t trap_info(const Thread& t, int code) {
  siginfo_t info{};
  info.si_signo = SIGTRAP;
  info.si_code = code;
  info.si_addr = reinterpret_cast<void*>(t.vcpu->regs().rip);
  return info;
}

bool own_breakpoint(Server& s, std::uint64_t at) {
  const mem::LockGuard guard(s.lock);
  return s.breakpoints.contains(at);
}

}  // namespace

Server* server() { return g_server.load(); }
void set_server(Server* s) { g_server.store(s); }

void futex_wait(std::atomic<std::uint32_t>& word, std::uint32_t value, std::int64_t most_ns) {
  constexpr std::int64_t kSecond = 1'000'000'000;
  const timespec most{most_ns / kSecond, most_ns % kSecond};
  ::syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, value, most_ns >= 0 ? &most : nullptr);
}

void futex_wake(std::atomic<std::uint32_t>& word) {
  ::syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, 1 << 30);
}

Status ProcMemory::open(int (*hide_fd)(int)) {
  const int fd = ::open("/proc/self/mem", O_RDWR | O_CLOEXEC);
  if (fd < 0) return Error::last("--gdb: /proc/self/mem");
  fd_ = hide_fd != nullptr ? hide_fd(fd) : fd;
  return Unit{};
}

void ProcMemory::close() {
  if (fd_ >= 0) ::close(fd_);
  fd_ = -1;
}

std::size_t ProcMemory::read(std::uint64_t at, void* to, std::size_t bytes) {
  if (at >= kTaskSize64) return 0;
  const std::size_t most = std::min<std::uint64_t>(bytes, kTaskSize64 - at);
  if (touches_zone(at, most)) return 0;
  const ssize_t n = ::pread(fd_, to, most, static_cast<off_t>(at));
  return n > 0 ? static_cast<std::size_t>(n) : 0;
}

bool ProcMemory::write(std::uint64_t at, const void* from, std::size_t bytes) {
  if (at >= kTaskSize64 || bytes > kTaskSize64 - at || touches_zone(at, bytes)) return false;
  return ::pwrite(fd_, from, bytes, static_cast<off_t>(at)) == static_cast<ssize_t>(bytes);
}

void add_thread(Thread& t, const Thread& creator) {
  Server* const s = server();
  if (s == nullptr) return;
  const mem::LockGuard guard(s->lock);
  t.hold.store(creator.hold.load());
  s->list.push_back(&t);
}

void remove_thread(Thread& t) {
  Server* const s = server();
  if (s == nullptr) return;
  for (;;) {
    park(t);
    const mem::LockGuard guard(s->lock);
    if (!s->running) continue;
    std::erase(s->list, &t);
    return;
  }
}

void park(Thread& t) {
  Server* const s = server();
  if (s == nullptr || t.hold.load() == 0) return;
  const std::uint32_t before = t.state.exchange(Thread::Parked);
  s->wake_server();
  while (t.hold.load() != 0) futex_wait(t.hold, 1);
  t.state.store(before);
  drop_late_kick();
}

bool before_run(Thread& t) {
  Server* const s = server();
  if (s == nullptr || s->detached.load()) return true;
  t.call_nr = -1;
  for (;;) {
    t.state.store(Thread::Busy);
    park(t);
    if (t.inject != 0) return false;
    if (t.step_ends && t.vcpu->regs().rip != t.step_from) {
      t.info = trap_info(t, TRAP_TRACE);
      // Busy elsewhere: the hold is set, park again and keep the step's end.
      if (s->claim({Stop::Kind::Signal, t.tid, SIGTRAP})) t.step_ends = false;
      if (s->detached.load()) return true;
      continue;
    }
    t.step_ends = false;
    set_trap(*s, t);
    unblock_kick();
    t.entry_rip = t.vcpu->regs().rip;
    // The order makes one of two sure: this thread sees the hold, or the server sees Running and kicks.
    t.state.store(Thread::Running);
    if (t.hold.load() == 0) return true;
    clear_trap(*s, t, {});
  }
}

bool after_run(Thread& t, const engine::Exit& e) {
  using engine::ExitKind;
  Server* const s = server();
  if (s == nullptr) return true;
  const bool detached = s->detached.load();
  if (detached && !t.trap_set && e.kind != ExitKind::Exception) return true;
  clear_trap(*s, t, e);
  GuestRegs& r = t.vcpu->regs();
  if (e.kind == ExitKind::Syscall64 || e.kind == ExitKind::Syscall32) {
    t.call_nr = static_cast<std::int64_t>(r.rax & 0xffff'ffffU);
    t.state.store(Thread::InCall);
    if (t.hold.load() != 0) {
      // Nothing has been done yet: gdb sees the program before the call.
      t.state.store(Thread::Busy);
      t.call_nr = -1;
      r.rip -= kCallBytes;
      return false;
    }
    t.step_ends = t.step;
    t.step_from = r.rip - kCallBytes;
    return true;
  }
  t.state.store(Thread::Busy);
  // KVM does not report a software exception that is on its way (kvm_exception_is_soft()), and drops it when
  // registers are written.  Behind one of our int3 a run cannot come to a halt otherwise: it is inside the
  // program's instruction.
  const bool hidden =
      e.kind == ExitKind::Interrupted && s->hidden_traps() && r.rip != t.entry_rip && !detached;
  if (hidden && own_breakpoint(*s, r.rip - 1)) {
    r.rip -= 1;
    return false;  // it is executed, and hit, again
  }
  if (e.kind != ExitKind::Exception) return true;
  // An event that finds another one being reported is forgotten: the instruction is executed again.
  if (detached) {
    if (e.vector != kVectorBreakpoint || !stale_breakpoint(*s, r.rip)) return true;
    r.rip -= 1;
    return false;
  }
  if (e.vector == kVectorBreakpoint && own_breakpoint(*s, r.rip - 1)) {
    r.rip -= 1;
    t.info = trap_info(t, TRAP_BRKPT);
    static_cast<void>(s->claim({Stop::Kind::Breakpoint, t.tid, SIGTRAP}));
    return false;
  }
  if (e.vector == kVectorDebug && t.step) {
    t.info = trap_info(t, TRAP_TRACE);
    t.step_ends = !s->claim({Stop::Kind::Signal, t.tid, SIGTRAP});
    t.step_from = ~std::uint64_t{0};
    return false;
  }
  return true;
}

int report_signal(Thread& t, const siginfo_t& info) {
  const int signo = info.si_signo;
  Server* const s = server();
  if (s == nullptr || s->detached.load()) return signo;
  if ((s->passed.load() >> (signo - 1) & 1) != 0) return signo;
  t.state.store(Thread::Busy);
  t.inject = 0;
  t.info = info;
  if (!s->claim({Stop::Kind::Signal, t.tid, signo})) return s->detached.load() ? signo : -1;
  park(t);
  const int chosen = t.inject;
  t.inject = 0;
  return chosen;
}

void handler_entered(Thread& t) {
  if (!t.step) return;
  t.step_ends = true;
  t.step_from = ~std::uint64_t{0};
}

void report_end(Thread& t, int status, int signo) {
  Server* const s = server();
  if (s == nullptr) return;
  Stop stop{Stop::Kind::Exited, t.tid, status & 0xff};
  if (signo != 0) stop = {Stop::Kind::Killed, t.tid, signo};
  while (!s->detached.load()) {
    if (!s->claim(stop)) {
      park(t);
      continue;
    }
    if (s->told.load() == 0) futex_wait(s->told, 0, kEndPatienceNs);
    return;
  }
}

void before_fork() {
  if (Server* const s = server()) s->lock.lock();
}

void after_fork(bool child) {
  Server* const s = server();
  if (s == nullptr) return;
  if (child) {
    // The parent's descriptor of /proc/self/mem is the parent's memory.
    ProcMemory own;
    if (own.open(nullptr)) {
      s->breakpoints.clear(own);
      own.close();
    }
    s->close_all();
    set_server(nullptr);
  }
  s->lock.unlock();
}

void lift_breakpoints() {
  Server* const s = server();
  if (s == nullptr) return;
  const mem::LockGuard guard(s->lock);
  s->breakpoints.lift();
}

void put_back_breakpoints() {
  Server* const s = server();
  if (s == nullptr) return;
  const mem::LockGuard guard(s->lock);
  s->breakpoints.put_back();
}

bool is_kick(int signo, const siginfo_t& info) {
  return signo == kKickSignal && info.si_code == SI_QUEUE && info.si_value.sival_ptr != nullptr &&
         info.si_value.sival_ptr == server();
}

}  // namespace hpcvmm::gdb
