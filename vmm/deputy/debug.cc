#include "vmm/deputy/debug.hh"

#include <sys/syscall.h>

#include <cstring>

#include "vmm/deputy/gate.hh"
#include "vmm/deputy/host.hh"
#include "vmm/deputy/signals.hh"
#include "vmm/gdb/server.hh"
#include "vmm/mem/arena.hh"
#include "vmm/mem/user_copy.hh"

namespace hpcvmm::deputy {
namespace {

bool g_signals = false;  // NOLINT: set once, before there are other threads

/// A signal that gdb sends comes from nobody in particular, like one of ptrace(2).
siginfo_t invented(int signo) {
  siginfo_t info{};
  info.si_signo = signo;
  info.si_code = SI_USER;
  info.si_pid = static_cast<pid_t>(raw_call(SYS_getpid));
  return info;
}

/// As if the host handler had recorded it: everything blocked until it is delivered.
void record(Task& t, int signo) {
  std::uint64_t mask = 0;
  if (!block_all(t, mask)) {
    t.debug->inject = signo;  // another one was quicker; after it
    return;
  }
  t.recorded_mask = mask;
  t.recorded_info = invented(signo);
  t.signal_recorded = 1;
  t.debug->approved = true;
}

}  // namespace

bool debug_signals() { return g_signals; }

void debug_start(Task& t, std::uint64_t auxv, std::uint64_t auxv_bytes) {
  const Options& o = t.process->options;
  gdb::Config config;
  config.abi = t.process->abi;
  config.port = o.gdb_port;
  config.path = o.gdb_path;
  config.exe = t.process->exe;
  config.hidden_traps = t.process->engine_kind == engine::Kind::Kvm;
  config.auxv.resize(auxv_bytes);
  static_cast<void>(mem::copy_in(config.auxv.data(), auxv, auxv_bytes));
  config.hide_fd = [](int fd) { return hide_fd(fd); };
  config.track_fd = track_fd;
  config.stack = [](std::size_t bytes) { return mem::arena_map(bytes); };
  if (o.gdb_port != 0) {
    say("hpc-vmm: pid %d waits for gdb: target remote 127.0.0.1:%u\n", t.tid, unsigned{o.gdb_port});
  } else {
    say("hpc-vmm: pid %d waits for gdb: target remote %s\n", t.tid, o.gdb_path.c_str());
  }
  auto debug = std::make_unique<gdb::Thread>();
  debug->tid = t.tid;
  debug->vcpu = t.vcpu;
  if (const auto ok = gdb::start(config, *debug); !ok) {
    // NOLINTNEXTLINE(concurrency-mt-unsafe): there is no second thread yet
    say("hpc-vmm: %s: %s; choose another port or path\n", ok.error().op, std::strerror(ok.error().code));
    raw_call(SYS_exit_group, 125);
  }
  t.debug = std::move(debug);
  g_signals = true;
  watch_signals(*t.process->signals);
}

void debug_attach(Task& t, const gdb::Thread& creator) {
  t.debug = std::make_unique<gdb::Thread>();
  t.debug->tid = t.tid;
  t.debug->vcpu = t.vcpu;
  gdb::add_thread(*t.debug, creator);
}

void debug_detach(Task& t) {
  gdb::remove_thread(*t.debug);
  t.debug = nullptr;
}

bool debug_signal(Task& t) {
  gdb::Thread& d = *t.debug;
  if (d.approved) {
    d.approved = false;
    return true;
  }
  const int signo = t.recorded_info.si_signo;
  int chosen = 0;
  while ((chosen = gdb::report_signal(d, t.recorded_info)) < 0) gdb::park(d);
  if (chosen == signo) return true;
  const std::uint64_t mask = t.recorded_mask;
  t.has_call_mask = false;
  t.signal_recorded = 0;
  set_guest_mask(t, mask);
  if (chosen != 0) record(t, chosen);
  return false;
}

bool debug_fault(Task& t, const siginfo_t& info, bool breakpoint) {
  const int chosen = gdb::report_signal(*t.debug, info);
  if (chosen == info.si_signo) return true;
  if (chosen > 0) record(t, chosen);
  // Another event is being reported: the instruction will do it again.
  if (chosen < 0 && breakpoint) t.vcpu->regs().rip -= 1;
  return false;
}

bool debug_before_run(Task& t) {
  if (gdb::before_run(*t.debug)) return true;
  const int signo = t.debug->inject;
  t.debug->inject = 0;
  record(t, signo);
  return false;
}

bool debug_after_run(Task& t, const engine::Exit& e) { return gdb::after_run(*t.debug, e); }

void debug_handler_entered(Task& t) { gdb::handler_entered(*t.debug); }

void debug_end(Task& t, int status, int signo) { gdb::report_end(*t.debug, status, signo); }

void debug_after_fork_child(Task& t) {
  gdb::after_fork(true);
  t.debug = nullptr;
}

}  // namespace hpcvmm::deputy
