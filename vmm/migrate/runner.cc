// A remote's vCPU threads and what they leave the guest for.
#include <pthread.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include <csignal>
#include <cstring>

#include "vmm/engine/direct/direct.hh"
#include "vmm/mem/arena.hh"
#include "vmm/mem/user_copy.hh"
#include "vmm/migrate/asked.hh"
#include "vmm/migrate/home.hh"
#include "vmm/migrate/host.hh"
#include "vmm/migrate/local_calls.hh"
#include "vmm/migrate/remote_impl.hh"
#include "vmm/migrate/step_out.hh"
#include "vmm/sys/call_gate.hh"
#include "vmm/sys/passthrough.hh"

namespace hpcvmm::migrate {
namespace {

thread_local Runner* t_runner = nullptr;

constexpr int kForced[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS};

void on_signal(int signo, siginfo_t* info, void* context) {
  auto* gregs = static_cast<ucontext_t*>(context)->uc_mcontext.gregs;
  if (is_kick(signo, *info)) {
    if (t_runner == nullptr) return;
    t_runner->interrupted();
    auto result = static_cast<std::uint64_t>(gregs[REG_RAX]);
    gregs[REG_RIP] = static_cast<greg_t>(sys::leave_gate(static_cast<std::uint64_t>(gregs[REG_RIP]), result));
    gregs[REG_RAX] = static_cast<greg_t>(result);
    return;
  }
  if (signo == SIGSEGV || signo == SIGBUS) {
    if (const std::uint64_t go = mem::fix_user_copy(static_cast<std::uint64_t>(gregs[REG_RIP]))) {
      gregs[REG_RIP] = static_cast<greg_t>(go);
      return;
    }
  }
  host().say("hpc-vmm remote: signal %d at 0x%llx, address 0x%llx\n", signo,
             static_cast<unsigned long long>(gregs[REG_RIP]),
             static_cast<unsigned long long>(reinterpret_cast<std::uint64_t>(info->si_addr)));
  ::_exit(1);
}

}  // namespace

void install_remote_signals(bool direct) {
  for (const int signo : kForced) {
    if (direct) {
      static_cast<void>(engine::install_host_handler(signo, 0, on_signal));
      continue;
    }
    struct sigaction a {};
    a.sa_sigaction = on_signal;
    a.sa_flags = SA_SIGINFO;
    ::sigfillset(&a.sa_mask);
    ::sigaction(signo, &a, nullptr);
  }
}

bool Runner::start() {
  constexpr std::size_t kStack = std::size_t{128} << 10;
  void* const stack = mem::arena_map(kStack);
  if (stack == nullptr) return false;
  sigset_t wanted;
  sigset_t before;
  ::sigfillset(&wanted);
  for (const int signo : kForced) ::sigdelset(&wanted, signo);
  ::pthread_sigmask(SIG_SETMASK, &wanted, &before);
  pthread_attr_t attr;
  pthread_attr_init(&attr);
  pthread_attr_setstack(&attr, stack, kStack);
  pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
  pthread_t thread{};
  const int rc = ::pthread_create(&thread, &attr, main, this);
  pthread_attr_destroy(&attr);
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return rc == 0;
}

void Runner::order(const Run& run, const std::byte* extra, std::size_t bytes) {
  vcpu_->regs() = run.regs;
  pid_ = run.pid;
  guest_tid_ = run.tid;
  may_look_ = run.names != 0;
  remote_.names().require(run.names);
  remote_.names().returned(run.regs);
  constexpr std::size_t kTlsBytes = kTlsCount * sizeof(std::uint64_t);
  if ((run.head.flags & kHasTls) != 0 && bytes >= kTlsBytes) {
    for (unsigned i = 0; i < kTlsCount; ++i) {
      std::uint64_t d = 0;
      std::memcpy(&d, extra + i * sizeof d, sizeof d);
      vcpu_->set_tls(i, d);
    }
    extra += kTlsBytes;
    bytes -= kTlsBytes;
  }
  if ((run.head.flags & kHasFp) != 0 && bytes >= FpState::kMaxBytes) {
    FpState fp;
    vcpu_->get_fp(fp);  // for the size this host uses
    std::memcpy(fp.area.data(), extra, FpState::kMaxBytes);
    vcpu_->set_fp(fp);
    extra += FpState::kMaxBytes;
    bytes -= FpState::kMaxBytes;
  }
  if ((run.head.flags & kHasData) != 0) results_.assign(extra, extra + bytes);
  has_results_ = (run.head.flags & (kHasData | kDataBefore)) != 0;
  share_.give(remote_.call_budget());
  orders_.store(1, std::memory_order_release);
  futex_wake(&orders_);
}

void Runner::kick() {
  kicked_.store(1);
  vcpu_->request_stop();
  if (const int tid = tid_.load()) send_kick(static_cast<int>(::getpid()), tid);
}

void* Runner::main(void* self) {
  static_cast<Runner*>(self)->loop();
  return nullptr;
}

void Runner::loop() {
  t_runner = this;
  static_cast<void>(remote_);
  tid_ = static_cast<int>(::syscall(SYS_gettid));
  for (;;) {
    if (has_run_)
      remote_.attend_until(patience_, [this] { return orders_.load(std::memory_order_acquire) != 0; });
    while (orders_.load(std::memory_order_acquire) == 0) futex_wait(&orders_, 0);
    orders_.store(0);
    waited_us_ = called_us_ != 0 ? now_us() - called_us_ : 0;
    has_run_ = true;
    if (has_results_ && !forward::apply_results(results_)) forward::fail_call(vcpu_->regs());
    begin_use();
    remote_.began();
    run_guest();
  }
}

void Runner::begin_use() {
  began_ = thread_cpu();
  started_us_.store(began_.sum() + 1, std::memory_order_seq_cst);
}

void Runner::end_use() {
  const CpuTime now = thread_cpu();
  // In this order: who looks meanwhile misses this piece, and does not count it twice.
  started_us_.store(0, std::memory_order_seq_cst);
  used_user_us_.fetch_add(now.user - began_.user, std::memory_order_seq_cst);
  used_system_us_.fetch_add(now.system - began_.system, std::memory_order_seq_cst);
}

CpuTime Runner::used() const {
  CpuTime u{used_user_us_.load(std::memory_order_seq_cst), used_system_us_.load(std::memory_order_seq_cst)};
  const std::uint64_t started = started_us_.load(std::memory_order_seq_cst);
  if (started == 0) return u;
  // Nobody but the thread itself can tell user from system time: nearly all is the guest's own.
  const std::uint64_t now = thread_cpu_us(tid_.load());
  if (now >= started) u.user += now + 1 - started;
  return u;
}

void Runner::run_guest() {
  constexpr std::uint32_t kWrite = 2;
  constexpr std::uint32_t kFetch = 16;
  unsigned host_faults = 0;
  for (;;) {
    engine::Exit e;
    if (kicked_.load() == 0) e = vcpu_->run();
    if (e.kind == engine::ExitKind::Interrupted && kicked_.load() == 0) continue;
    if (e.kind == engine::ExitKind::Exception && e.vector == 14 && e.host_info.si_signo == 0) {
      const mem::Touch touch = remote_.mm().touch_copy(e.fault_address, (e.error_code & kWrite) != 0,
                                                       (e.error_code & kFetch) != 0);
      if (touch == mem::Touch::Retry) continue;
    }
    const bool call = e.kind == engine::ExitKind::Syscall64 || e.kind == engine::ExitKind::Syscall32;
    if (call && remote_.local_calls()) {
      const Abi abi = e.kind == engine::ExitKind::Syscall64 ? Abi::X64 : Abi::Ia32;
      if (abi == remote_.abi() && may_look_) {
        std::int64_t result = 0;
        if (remote_.names().answer(asked_of(vcpu_->regs(), abi), result, remote_.one_thread())) {
          sys::set_result(vcpu_->regs(), abi, sys::SysRet::raw(result));
          continue;
        }
      }
      const LocalCall done = call_here(vcpu_->regs(), abi, *this, remote_);
      if (done == LocalCall::Done) continue;
      if (done != LocalCall::Home) {
        engine::Exit interrupted;
        interrupted.kind = engine::ExitKind::Interrupted;
        return leave(interrupted, done == LocalCall::InWait ? kInWait : kInTimedWait);
      }
    }
    if (e.kind == engine::ExitKind::Interrupted)
      e = step_out(*vcpu_, {remote_.vdso_begin(), remote_.vdso_end()}, guest_vdso(remote_.vdso_table()));
    // Mappings are changing under us; if not, home has to judge.
    if (e.kind == engine::ExitKind::HostFault && ++host_faults < 16) {
      sleep_us(50);
      continue;
    }
    return leave(e, 0);
  }
}

/// The data of a call, unless somebody watches calls.
void Runner::pack(const engine::Exit& e, Left& l) {
  call_.clear();
  if (!remote_.local_calls()) return;
  const forward::Owns owns = [this](std::uint64_t page) { return remote_.owns(page); };
  if (e.kind == engine::ExitKind::Syscall64) forward::pack_call(vcpu_->regs(), Abi::X64, owns, call_);
  if (e.kind == engine::ExitKind::Syscall32) forward::pack_call(vcpu_->regs(), Abi::Ia32, owns, call_);
  if (call_.empty() || !share_.take(remote_.call_budget(), call_.size())) return call_.clear();
  const auto send = [this](std::initializer_list<Part> parts) { return remote_.send(Stream::Urgent, parts); };
  const bool ahead = forward::send_ahead(id_, call_, send);
  l.head.flags |= ahead ? kDataBefore : kHasData;
  if (ahead) call_.clear();
}

/// Returns whether home shall say which descriptors are in use.
bool Runner::before_leaving(const engine::Exit& e, const GuestRegs& regs) {
  if (e.kind != engine::ExitKind::Syscall64 && e.kind != engine::ExitKind::Syscall32)
    return remote_.names().before_leaving(nullptr, regs);
  const Abi abi = e.kind == engine::ExitKind::Syscall64 ? Abi::X64 : Abi::Ia32;
  // A call of the other ABI than the process's may do anything.
  const names::Asked asked = abi == remote_.abi() ? asked_of(regs, abi) : names::Asked{};
  return remote_.names().before_leaving(&asked, regs);
}

void Runner::leave(const engine::Exit& e, std::uint16_t flags) {
  Left l{};
  l.head.flags = flags;
  l.head.id = id_;
  l.kind = static_cast<std::uint8_t>(e.kind);
  l.vector = e.vector;
  l.error_code = e.error_code;
  l.fault_address = e.fault_address;
  l.host_info = e.host_info;
  l.regs = vcpu_->regs();
  end_use();
  l.cpu_us = process_cpu_us();
  l.used = remote_.used();
  l.used_here = used();
  remote_.told_of(l.used);
  l.waited_us = waited_us_;
  waited_us_ = called_us_ = 0;
  kicked_.store(0);
  if (before_leaving(e, l.regs)) l.head.flags |= kWantsDescriptors;
  remote_.tell_grown();
  FpState fp;
  Part fp_part{fp.area.data(), 0};
  if (e.kind == engine::ExitKind::Interrupted || e.kind == engine::ExitKind::Exception) {
    vcpu_->get_fp(fp);
    l.head.flags |= kHasFp;
    fp_part.bytes = fp.area.size();
  }
  pack(e, l);
  if (e.kind == engine::ExitKind::Syscall64 || e.kind == engine::ExitKind::Syscall32) called_us_ = now_us();
  remote_.send(Stream::Urgent, {{&l, sizeof l}, fp_part, {call_.data(), call_.size()}});
}

}  // namespace hpcvmm::migrate
