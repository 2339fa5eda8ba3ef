#include "vmm/deputy/signals.hh"

#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "vmm/deputy/core.hh"
#include "vmm/deputy/debug.hh"
#include "vmm/deputy/gate.hh"
#include "vmm/deputy/home.hh"
#include "vmm/deputy/host.hh"
#include "vmm/mem/user_copy.hh"
#include "vmm/migrate/home.hh"
#include "vmm/migrate/mobile.hh"
#include "vmm/sys/call_gate.hh"
#include "vmm/sys/passthrough.hh"

namespace hpcvmm::deputy {
namespace {

thread_local Task* t_self = nullptr;

/// The kernel's own sigaction(2) record on x86-64.
struct KernelAction {
  std::uint64_t handler, flags, restorer, mask;
};
constexpr std::uint64_t kRestorer = 0x0400'0000;  // SA_RESTORER

extern "C" void hpcvmm_restorer();

std::int64_t host_sigaction(int signo, const KernelAction* action, KernelAction* old) {
  return raw_call(SYS_rt_sigaction, word(signo), word(action), word(old), 8);
}

void install_plain(int signo, unsigned long sa_flags, HostHandler handler) {
  // Everything blocked while the handler runs: it is short, and it decides itself what is blocked behind it.
  // Forced signals stay possible even so: the kernel would kill the process for a fault in a blocked handler,
  // and nothing in it can fault.
  const KernelAction action{reinterpret_cast<std::uint64_t>(handler), sa_flags | SA_SIGINFO | kRestorer,
                            reinterpret_cast<std::uint64_t>(&hpcvmm_restorer), ~std::uint64_t{0}};
  host_sigaction(signo, &action, nullptr);
}

Installer g_installer = install_plain;  // NOLINT: set once at start

bool is_forced(int signo) { return (kForcedSignals & bit(signo)) != 0; }

/// Index into held_info.
unsigned held_slot(int signo) {
  switch (signo) {
    case SIGSEGV: return 0;
    case SIGBUS: return 1;
    case SIGFPE: return 2;
    case SIGILL: return 3;
    case SIGTRAP: return 4;
    default: return 5;
  }
}

void set_host_mask(std::uint64_t mask) {
  const std::uint64_t allowed = mask & ~kForcedSignals;
  raw_call(SYS_rt_sigprocmask, SIG_SETMASK, word(&allowed), 0, 8);
}

/// True for the default actions that do nothing.  Source: signal(7).
bool default_ignores(int signo) {
  return signo == SIGCHLD || signo == SIGURG || signo == SIGWINCH || signo == SIGCONT;
}
bool default_stops(int signo) {
  return signo == SIGSTOP || signo == SIGTSTP || signo == SIGTTIN || signo == SIGTTOU;
}

/// True when death by this signal leaves a core file.  Source: signal(7), core(5).
bool dumps_core(int signo) {
  constexpr std::uint64_t kCore = bit(SIGQUIT) | bit(SIGILL) | bit(SIGTRAP) | bit(SIGABRT) | bit(SIGFPE) |
                                  bit(SIGSEGV) | bit(SIGBUS) | bit(SIGSYS) | bit(SIGXCPU) | bit(SIGXFSZ);
  rlimit limit{};
  return (kCore & bit(signo)) != 0 && ::getrlimit(RLIMIT_CORE, &limit) == 0 && limit.rlim_cur != 0;
}

/// True for signals that a debugged process sees itself where others leave the default to the kernel.
bool debugger_wants(int signo, const SigAction& a) {
  if (signo == SIGKILL || signo == SIGSTOP) return false;
  return signo == gdb::kKickSignal || (a.handler == 0 && !default_ignores(signo));
}

/// Takes the action a signal gets now; with SA_RESETHAND it is gone afterwards, as for the kernel.
SigAction take_action(SignalTable& table, int signo) {
  const mem::LockGuard guard(table.lock);
  SigAction& a = table.actions[signo];
  const SigAction taken = a;
  if (a.handler > 1 && (a.flags & SA_RESETHAND) != 0) a.handler = 0;
  return taken;
}

/// Builds the frame and the handler's mask.  False: no frame could be written.
bool run_handler(Task& t, const siginfo_t& info, const SigAction& a, std::uint64_t old_mask,
                 std::uint64_t call_mask) {
  sys::Delivery d;
  d.signo = info.si_signo;
  d.info = info;
  d.handler = a.handler;
  d.flags = a.flags;
  d.restorer = a.restorer;
  d.mask = a.mask;
  d.old_mask = old_mask;
  d.altstack_sp = t.altstack.sp;
  d.altstack_size = t.altstack.size;
  d.altstack_flags = t.altstack.flags;
  d.trapno = t.last_trap;
  d.error_code = t.last_error;
  d.cr2 = t.last_cr2;
  d.action_abi = a.abi;
  d.vdso_sigreturn = t.process->vdso_sigreturn;
  d.vdso_rt_sigreturn = t.process->vdso_rt_sigreturn;
  FpState fp;
  t.vcpu->get_fp(fp);
  if (!sys::push_frame(t.vcpu->regs(), fp, d, host_gate())) return false;
  ++t.count.signals;
  if ((t.altstack.flags & (1U << 31)) != 0) t.altstack = {};  // SS_AUTODISARM
  sys::init_fp(fp, fp.bytes);
  t.vcpu->set_fp(fp);
  std::uint64_t mask = call_mask | a.mask;
  if ((a.flags & SA_NODEFER) == 0) mask |= bit(info.si_signo);
  // A signal recorded meanwhile keeps everything blocked until it has its own frame, on top of this one.
  if (t.signal_recorded != 0) {
    t.recorded_mask = mask;
  } else {
    set_guest_mask(t, mask);
  }
  return true;
}

}  // namespace

Task& self() { return *t_self; }
Task* find_self() { return t_self; }
void set_self(Task* t) { t_self = t; }

void set_installer(Installer installer) { g_installer = installer; }

void on_host_signal(int signo, siginfo_t* info, void* context) {
  auto* uc = static_cast<ucontext_t*>(context);
  auto* gregs = uc->uc_mcontext.gregs;
  const auto rip = static_cast<std::uint64_t>(gregs[REG_RIP]);
  if (gdb::is_kick(signo, *info)) {
    if (t_self == nullptr || t_self->vcpu == nullptr) return;
    t_self->vcpu->request_stop();
    auto result = static_cast<std::uint64_t>(gregs[REG_RAX]);
    gregs[REG_RIP] = static_cast<greg_t>(sys::leave_gate(rip, result));
    gregs[REG_RAX] = static_cast<greg_t>(result);
    return;
  }
  if (migrate::is_kick(signo, *info)) {
    if (t_self != nullptr && t_self->vcpu != nullptr)
      static_cast<migrate::MobileVcpu*>(t_self->vcpu)->on_kick();
    return;
  }
  if ((signo == SIGSEGV || signo == SIGBUS) && info->si_code > 0) {
    if (const std::uint64_t go = mem::fix_user_copy(rip)) {
      gregs[REG_RIP] = static_cast<greg_t>(go);
      return;
    }
    die_of_own_fault(signo, info, rip);
  }
  Task* const t = t_self;
  if (t == nullptr) return;
  std::uint64_t mask = 0;
  std::memcpy(&mask, &uc->uc_sigmask, sizeof mask);
  if (t->signal_recorded != 0 || (t->forced_blocked & bit(signo)) != 0) {
    // Only a forced signal sent by kill(2) gets here: it cannot be blocked on the host, so it waits in the
    // task.
    t->held_forced |= bit(signo);
    t->held_info[held_slot(signo)] = *info;
    return;
  }
  t->recorded_info = *info;
  t->recorded_mask = mask | t->forced_blocked;
  t->signal_recorded = 1;
  std::uint64_t all = ~kForcedSignals;
  std::memcpy(&uc->uc_sigmask, &all, sizeof all);
  if (t->vcpu != nullptr) t->vcpu->request_stop();
  auto rax = static_cast<std::uint64_t>(gregs[REG_RAX]);
  gregs[REG_RIP] = static_cast<greg_t>(sys::leave_gate(rip, rax));
  gregs[REG_RAX] = static_cast<greg_t>(rax);
}

void start_signals(SignalTable& table) {
  for (int s = 1; s <= 64; ++s) {
    KernelAction now{};
    if (host_sigaction(s, nullptr, &now) == 0 && now.handler == 1) table.actions[s].handler = 1;
  }
  for (int s = 1; s <= 31; ++s)
    if (is_forced(s)) g_installer(s, 0, on_host_signal);
}

void watch_signals(SignalTable& table) {
  const mem::LockGuard guard(table.lock);
  for (int s = 1; s <= 64; ++s)
    if (!is_forced(s) && debugger_wants(s, table.actions[s])) g_installer(s, SA_RESTART, on_host_signal);
}

namespace {
/// Makes the host's disposition match the guest's.
void install(int signo, const SigAction& stored) {
  const auto host_flags =
      static_cast<unsigned long>(stored.flags & (SA_RESTART | SA_NOCLDSTOP | SA_NOCLDWAIT | SA_RESETHAND));
  if (is_forced(signo)) {
    g_installer(signo, host_flags & SA_RESTART, on_host_signal);
  } else if (debug_signals() && debugger_wants(signo, stored)) {
    g_installer(signo, stored.handler > 1 ? host_flags & ~std::uint64_t{SA_RESETHAND} : SA_RESTART,
                on_host_signal);
  } else if (stored.handler > 1) {
    g_installer(signo, host_flags, on_host_signal);
  } else {
    const KernelAction plain{stored.handler, host_flags, 0, 0};
    host_sigaction(signo, &plain, nullptr);
  }
}
}  // namespace

int set_action(SignalTable& table, int signo, const SigAction* action, SigAction* old) {
  if (signo < 1 || signo > 64) return EINVAL;
  if (action != nullptr && (signo == SIGKILL || signo == SIGSTOP)) return EINVAL;
  const mem::LockGuard guard(table.lock);
  if (old != nullptr) *old = table.actions[signo];
  if (action == nullptr) return 0;
  SigAction stored = *action;
  stored.mask &= ~(bit(SIGKILL) | bit(SIGSTOP));
  table.actions[signo] = stored;
  install(signo, stored);
  return 0;
}

void reinstall(SignalTable& table, int signo) {
  const mem::LockGuard guard(table.lock);
  install(signo, table.actions[signo]);
}

std::uint64_t guest_mask(Task& t) {
  if (t.signal_recorded != 0) return t.recorded_mask;
  std::uint64_t now = 0;
  raw_call(SYS_rt_sigprocmask, SIG_BLOCK, 0, word(&now), 8);
  return now | t.forced_blocked;
}

void set_guest_mask(Task& t, std::uint64_t mask) {
  t.forced_blocked = mask & kForcedSignals;
  const std::uint64_t free_now = t.held_forced & ~t.forced_blocked;
  if (free_now != 0 && t.signal_recorded == 0) {
    const int signo = __builtin_ctzll(free_now) + 1;
    t.held_forced &= ~bit(signo);
    t.recorded_info = t.held_info[held_slot(signo)];
    t.recorded_mask = mask;
    t.signal_recorded = 1;
    return;
  }
  set_host_mask(mask);
}

bool block_all(Task& t, std::uint64_t& mask) {
  const std::uint64_t all = ~kForcedSignals;
  std::uint64_t old = 0;
  const sys::SysRet rc = gate64(SYS_rt_sigprocmask, {SIG_SETMASK, word(&all), word(&old), 8, 0, 0});
  if (rc.is_restart()) return false;
  mask = old | t.forced_blocked;
  return true;
}

namespace {

/// What Linux does at the end of a wait that a handler interrupts, for one that was on another node: its
/// registers are still those of the call.  Source: handle_signal() in arch/x86/kernel/signal.c.
void end_wait_elsewhere(Task& t, const SigAction& a) {
  const auto wait = static_cast<migrate::MobileVcpu&>(*t.vcpu).interrupted_wait();
  if (wait == migrate::Wait::None || (wait == migrate::Wait::Plain && (a.flags & SA_RESTART) != 0)) return;
  GuestRegs& r = t.vcpu->regs();
  r.rip += sys::kCallBytes;
  sys::set_result(r, r.is_compat() ? Abi::Ia32 : Abi::X64, sys::SysRet::fail(EINTR));
}

}  // namespace

void deliver_recorded(Task& t) {
  const siginfo_t info = t.recorded_info;
  const int signo = info.si_signo;
  const std::uint64_t mask = t.recorded_mask;
  const std::uint64_t during = t.has_call_mask ? t.call_mask : mask;
  t.has_call_mask = false;
  t.signal_recorded = 0;
  const SigAction a = take_action(*t.process->signals, signo);
  if (a.handler > 1) {
    end_wait_elsewhere(t, a);
    if (run_handler(t, info, a, mask, during)) return;
    siginfo_t segv{};
    segv.si_signo = SIGSEGV;
    segv.si_code = SI_KERNEL;
    set_guest_mask(t, mask);
    force_signal(t, segv);
    return;
  }
  if (a.handler == 0 && !default_ignores(signo)) {
    if (default_stops(signo)) {
      set_guest_mask(t, mask);
      raw_call(SYS_kill, word(static_cast<int>(raw_call(SYS_getpid))), SIGSTOP);
      return;
    }
    die_by_signal(t, info);
  }
  set_guest_mask(t, mask);
}

void force_signal(Task& t, const siginfo_t& info) {
  const int signo = info.si_signo;
  const std::uint64_t mask = guest_mask(t);
  SigAction a = take_action(*t.process->signals, signo);
  if (a.handler <= 1 || (mask & bit(signo)) != 0) die_by_signal(t, info);
  if (run_handler(t, info, a, mask, mask)) return;
  if (signo == SIGSEGV) die_by_signal(t, info);
  siginfo_t segv{};
  segv.si_signo = SIGSEGV;
  segv.si_code = SI_KERNEL;
  force_signal(t, segv);
}

void die_by_signal(Task& t, const siginfo_t& info) {
  end_summary(t, 128 + info.si_signo, info.si_signo);
  if (t.debug != nullptr) debug_end(t, 0, info.si_signo);
  // The kernel does not wait for pages of a process that it dumps.  (A vfork child's memory is its parent's.)
  if (!t.vfork_child && dumps_core(info.si_signo)) home_of(t).hold_at_home();
  die_with_core(t, info);
}

}  // namespace hpcvmm::deputy
