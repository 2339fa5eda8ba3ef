#include "vmm/migrate/mobile.hh"

#include <sched.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <new>
#include <utility>

#include "vmm/migrate/asked.hh"
#include "vmm/migrate/home.hh"
#include "vmm/migrate/host.hh"
#include "vmm/migrate/local_calls.hh"
#include "vmm/migrate/step_out.hh"
#include "vmm/migrate/trial.hh"

namespace hpcvmm::migrate {
namespace {

// mail_: what the thread inside run_away() or fetch_fp() waits for.
constexpr std::uint32_t kAnswer = 1;    // left_ is there
constexpr std::uint32_t kStop = 2;      // request_stop()
constexpr std::uint32_t kFpAnswer = 4;  // fp_ is there
constexpr std::uint32_t kLook = 8;      // something else has changed
constexpr std::uint32_t kKick = 16;     // on_kick(); void once the thread has left the guest

// inside_
constexpr std::uint32_t kOutside = 0;
constexpr std::uint32_t kInside = 1;
constexpr std::uint32_t kKicked = 2;  // inside, and a kick is on its way

/// True for a child process that has ended, whether or not somebody has waited for it.
bool is_dead_child(int pid) {
  if (pid == static_cast<int>(::syscall(SYS_getpid))) return false;
  siginfo_t info{};
  const int rc = ::waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOHANG | WNOWAIT | __WALL);
  return rc != 0 ? errno == ECHILD : info.si_pid == pid;
}

Abi abi_of(engine::ExitKind call) { return call == engine::ExitKind::Syscall32 ? Abi::Ia32 : Abi::X64; }

}  // namespace

engine::Exit MobileVcpu::run() {
  mem::set_overlay(nullptr);
  overlay_.drop_areas();
  const engine::Exit e = run_somewhere();
  const bool call = e.kind == engine::ExitKind::Syscall64 || e.kind == engine::ExitKind::Syscall32;
  if (call && trial::first_calls() != 0) home_->visit_next();
  if (call && !overlay_.empty()) mem::set_overlay(&overlay_);
  return e;
}

engine::Exit MobileVcpu::run_somewhere() {
  if (const int tid = host().thread_id(); tid != tid_) {
    tid_ = tid;
    pid_ = host().process_id();
  }
  while (!kick_dead()) sleep_us(20);
  for (;;) {
    // At home, what a call has written goes to memory before a move can want this thread to be still.
    if (!away_ && overlay_.pieces() != 0 && !overlay_.flush()) forward::fail_call(local_->regs());
    inside_.store(kInside, std::memory_order_seq_cst);
    const bool stopping = home_->stopping();
    if (!stopping && (away_ || overlay_.pieces() == 0)) break;
    leave_guest();
    if (!stopping) continue;
    parked_.store(true, std::memory_order_release);
    home_->park();
    parked_.store(false, std::memory_order_release);
  }
  wait_ = Wait::None;
  home_->note_entry();
  const bool away = away_.load(std::memory_order_acquire);
  engine::Exit e = away ? run_away() : local_->run();
  if (!away && e.kind == engine::ExitKind::Interrupted && home_->stopping())
    e = step_out(*local_, {home_->who().host_vdso_begin, home_->who().host_vdso_end},
                 guest_vdso(home_->who().vdso_table));
  leave_guest();
  // Whoever asked for that is heard before the next run().
  mail_.fetch_and(~kStop, std::memory_order_seq_cst);
  const bool call = e.kind == engine::ExitKind::Syscall64 || e.kind == engine::ExitKind::Syscall32;
  // Away, what its node makes by itself does not come here.
  if (call && (away || !is_local_call(abi_of(e.kind), local_->regs().rax))) home_->count_call(away);
  return e;
}

/// A kick that is on its way must not strike in a host call later: it is waited for.
void MobileVcpu::leave_guest() {
  if (inside_.exchange(kOutside, std::memory_order_seq_cst) != kKicked) return;
  while (kick_seen_.load(std::memory_order_acquire) == 0) ::sched_yield();
  kick_seen_.store(0, std::memory_order_relaxed);
  mail_.fetch_and(~kKick, std::memory_order_seq_cst);
}

void MobileVcpu::on_kick() {
  kick_seen_.store(1, std::memory_order_release);
  local_->request_stop();
  mail_.fetch_or(kKick, std::memory_order_seq_cst);
}

bool MobileVcpu::kick_out() {
  if (away_.load()) return call_back();
  std::uint32_t seen = kInside;
  if (inside_.compare_exchange_strong(seen, kKicked)) {
    send_kick(pid_, tid_);
    return false;
  }
  return seen == kOutside || (is_dead_child(pid_) && kick_dead());
}

bool MobileVcpu::has_answer() const {
  return inside_.load(std::memory_order_seq_cst) == kOutside ||
         (mail_.load(std::memory_order_seq_cst) & kAnswer) != 0;
}

/// kick_out() of a vCPU that runs on the other node: that one is told by the mover itself, and is stopped as
/// soon as its answer is here, whatever its thread here has seen of that.
bool MobileVcpu::call_back() {
  if (has_answer())
    return inside_.load(std::memory_order_seq_cst) == kOutside || !is_dead_child(pid_) || kick_dead();
  const Head kick{Msg::Kick, 0, id_};
  if (!std::exchange(called_back_, true)) home_->send(Stream::Urgent, {{&kick, sizeof kick}});
  return is_dead_child(pid_) && kick_dead();
}

/// A child that shared this memory has been killed inside run(): nobody is there to leave it, and on another
/// node its vCPU runs on.  True: nobody is inside.  By the thread that has the vCPU now, or by the mover, who
/// has stopped that thread.
bool MobileVcpu::kick_dead() {
  if (inside_.load(std::memory_order_seq_cst) == kOutside) return true;
  const mem::LockGuard guard(dead_lock_);
  if (inside_.load(std::memory_order_seq_cst) == kOutside) return true;
  if (away_.load()) {
    if ((mail_.load(std::memory_order_seq_cst) & kAnswer) == 0) {
      home_->die_if_lost();
      const Head kick{Msg::Kick, 0, id_};
      if (!std::exchange(dead_kicked_, true)) home_->send(Stream::Urgent, {{&kick, sizeof kick}});
      return false;
    }
    overlay_.clear();
  }
  dead_kicked_ = false;
  mail_.store(0, std::memory_order_seq_cst);
  kick_seen_.store(0);
  inside_.store(kOutside, std::memory_order_seq_cst);
  return true;
}

void MobileVcpu::request_stop() {
  local_->request_stop();
  mail_.fetch_or(kStop, std::memory_order_seq_cst);
}

void MobileVcpu::wake() {
  mail_.fetch_or(kLook, std::memory_order_seq_cst);
  futex_wake(&mail_, 8);
}

void MobileVcpu::add_results(Run& run) {
  results_.clear();
  if (overlay_.pieces() == 0) return;
  forward::pack_results(overlay_, results_);
  if (!share_.take(home_->result_budget(), results_.size())) {
    // Much is on its way: by way of the pages.
    results_.clear();
    if (!overlay_.flush()) forward::fail_call(run.regs);
    return;
  }
  overlay_.drop_pieces();
  const auto send = [this](std::initializer_list<Part> parts) { return home_->send(Stream::Urgent, parts); };
  const bool ahead = forward::send_ahead(id_, results_, send);
  run.head.flags |= ahead ? kDataBefore : kHasData;
  if (ahead) results_.clear();
}

/// What the remote may go by when it looks names up, as of now: the call has been made.
void MobileVcpu::add_names(Run& run) {
  names::Home& names = home_->names();
  const bool descriptors = (left_.head.flags & kWantsDescriptors) != 0;
  left_.head.flags &= static_cast<std::uint16_t>(~kWantsDescriptors);
  if (call_ != 0 && names.changes(call_ - 1)) tell_names_ = true;
  call_ = 0;
  if (tell_names_ || descriptors) {
    names::Circumstances c;
    names.describe(c, descriptors);
    const Head head{Msg::Names, 0, id_};
    home_->send(Stream::Urgent, {{&head, sizeof head}, {&c, sizeof c}});
    tell_names_ = false;
  }
  run.names = names.epoch();
}

void MobileVcpu::send_run() {
  Run run{};
  run.head.id = id_;
  run.pid = pid_;
  run.tid = tid_;
  run.regs = local_->regs();
  add_names(run);
  add_results(run);
  std::uint64_t tls[kTlsCount];
  Part tls_part{tls, 0};
  Part fp_part{fp_.area.data(), 0};
  const mem::LockGuard guard(fp_lock_);
  if (tls_dirty_) {
    run.head.flags |= kHasTls;
    for (unsigned i = 0; i < kTlsCount; ++i) tls[i] = local_->get_tls(i);
    tls_part.bytes = sizeof tls;
  }
  if (fp_dirty_) {
    run.head.flags |= kHasFp;
    fp_part.bytes = home_->fp_bytes();
  }
  tls_dirty_ = false;
  fp_dirty_ = fp_known_ = false;
  home_->send(Stream::Urgent, {{&run, sizeof run}, tls_part, fp_part, {results_.data(), results_.size()}});
}

engine::Exit MobileVcpu::run_away() {
  const std::uint64_t served_us = came_us_ != 0 ? now_us() - came_us_ : 0;
  const bool answers = came_us_ != 0;
  came_us_ = 0;
  out_.store(true, std::memory_order_release);
  send_run();
  // A child that shares this memory may be killed at any time, and whoever has the pager's turn must not be.
  if (pid_ == home_->process())
    home_->attend_until(patience_, [this] { return mail_.load(std::memory_order_acquire) != 0; });
  bool kicked = false;
  for (;;) {
    const std::uint32_t mail = mail_.load(std::memory_order_seq_cst);
    if ((mail & kAnswer) != 0) break;
    home_->die_if_lost();
    if ((mail & (kStop | kKick)) != 0 && !kicked) {
      kicked = true;
      const Head kick{Msg::Kick, 0, id_};
      home_->send(Stream::Urgent, {{&kick, sizeof kick}});
      continue;
    }
    futex_wait(&mail_, mail);
  }
  // While the answer is still to be seen: a mover that has the mm lock goes by it.
  home_->take_grown(limits_change_);
  // Not kFpAnswer: from the answer on the mover may ask for the FP state.
  mail_.fetch_and(~(kAnswer | kStop | kKick | kLook), std::memory_order_seq_cst);
  out_.store(false, std::memory_order_release);
  local_->regs() = left_.regs;
  if ((left_.head.flags & kInWait) != 0) wait_ = Wait::Plain;
  if ((left_.head.flags & kInTimedWait) != 0) wait_ = Wait::Timed;
  engine::Exit e;
  e.kind = static_cast<engine::ExitKind>(left_.kind);
  e.vector = left_.vector;
  e.error_code = left_.error_code;
  e.fault_address = left_.fault_address;
  e.host_info = left_.host_info;
  // What being away cost the last call: all that the remote waited but the time the call itself took here.
  if (answers && left_.waited_us > served_us) home_->note_call_time(left_.waited_us - served_us);
  if (e.kind == engine::ExitKind::Syscall64 || e.kind == engine::ExitKind::Syscall32) came_us_ = now_us();
  if (e.kind == engine::ExitKind::Broken) e.detail = "the vCPU on the other node cannot go on";
  return e;
}

void MobileVcpu::take_fp(const std::byte* fp, std::uint32_t bytes) {
  // Set meanwhile: what a killed child had is not wanted.
  if (bytes > fp_.area.size() || fp_dirty_) return;
  std::memcpy(fp_.area.data(), fp, bytes);
  fp_.bytes = bytes;
  fp_known_ = true;
}

/// By the pager, while the thread that wants it waits: holding fp_lock_ (fetch) or inside run_away().
void MobileVcpu::answered(const Left& left, const std::byte* rest, std::uint32_t bytes) {
  left_ = left;
  static_cast<void>(used_.note(left.used_here));
  const auto kind = static_cast<engine::ExitKind>(left.kind);
  call_ = 0;
  limits_change_ = false;
  if (kind == engine::ExitKind::Syscall64 || kind == engine::ExitKind::Syscall32) {
    call_ = asked_of(left.regs, abi_of(kind)).number + 1;
    limits_change_ = call_ == SYS_setrlimit + 1 || call_ == SYS_prlimit64 + 1;
    // A program that mixes the ABIs: calls that nobody has looked at.
    if (abi_of(kind) != (home_->who().ia32 ? Abi::Ia32 : Abi::X64)) home_->names().forbid();
  }
  share_.give(home_->result_budget());
  overlay_.clear();
  if ((left.head.flags & kHasFp) != 0) take_fp(rest, bytes);
  if ((left.head.flags & kHasData) != 0) forward::unpack_call(left, rest, bytes, room_, overlay_);
  if ((left.head.flags & kDataBefore) != 0)
    forward::unpack_call(left, ahead_.data(), ahead_.size(), room_, overlay_);
  mail_.fetch_or(kAnswer, std::memory_order_seq_cst);
  futex_wake(&mail_, 8);
}

void MobileVcpu::answered_fp(const std::byte* fp, std::uint32_t fp_bytes) {
  take_fp(fp, fp_bytes);
  mail_.fetch_or(kFpAnswer, std::memory_order_seq_cst);
  futex_wake(&mail_, 8);
}

void MobileVcpu::fetch_fp_locked() {
  const Head ask{Msg::GetFp, 0, id_};
  home_->send(Stream::Urgent, {{&ask, sizeof ask}});
  for (;;) {
    const std::uint32_t mail = mail_.load(std::memory_order_seq_cst);
    if ((mail & kFpAnswer) != 0) break;
    home_->tick();
    futex_wait(&mail_, mail, 50'000);
  }
  mail_.fetch_and(~kFpAnswer, std::memory_order_seq_cst);
}

void MobileVcpu::get_fp(FpState& out) {
  const mem::LockGuard guard(fp_lock_);
  if (!away_) return local_->get_fp(out);
  if (!fp_known_) fetch_fp_locked();
  out = fp_;
}

void MobileVcpu::set_fp(const FpState& in) {
  const mem::LockGuard guard(fp_lock_);
  if (!away_) return local_->set_fp(in);
  fp_ = in;
  fp_known_ = fp_dirty_ = true;
}

void MobileVcpu::set_tls(unsigned index, std::uint64_t descriptor) {
  local_->set_tls(index, descriptor);
  tls_dirty_ = true;
}

void MobileVcpu::depart() {
  const mem::LockGuard guard(fp_lock_);
  local_->get_fp(fp_);
  tls_dirty_ = true;
  fp_known_ = fp_dirty_ = true;
  tell_names_ = true;
  left_.head.flags = 0;
  came_us_ = 0;
  called_back_ = false;
  used_.begin();
  away_ = true;
}

void MobileVcpu::arrive() {
  const mem::LockGuard guard(fp_lock_);
  if (!fp_known_) fetch_fp_locked();
  local_->set_fp(fp_);
  fp_known_ = fp_dirty_ = false;
  used_.end();
  away_ = false;
}

void MobileVcpu::forget_use() { new (&used_) UsedAway; }

MobileEngine::MobileEngine(std::unique_ptr<engine::Engine> inner)
    : inner_(std::move(inner)), home_(std::make_unique<Home>(*this)) {}

MobileEngine::~MobileEngine() = default;

Result<std::unique_ptr<engine::Vcpu>> MobileEngine::make_vcpu() {
  HPCVMM_TRY(std::unique_ptr<engine::Vcpu> local, inner_->make_vcpu());
  auto v = std::make_unique<MobileVcpu>(*home_, std::move(local), next_id_++);
  if (home_->runs_away()) v->depart();
  const mem::LockGuard guard(registry_);
  vcpus_.push_back(v.get());
  return std::unique_ptr<engine::Vcpu>(std::move(v));
}

void MobileEngine::recycle(std::unique_ptr<engine::Vcpu> vcpu) {
  auto* const v = static_cast<MobileVcpu*>(vcpu.get());
  {
    const mem::LockGuard guard(registry_);
    std::erase(vcpus_, v);
  }
  if (home_->runs_away()) home_->end_vcpu(v->id());
  inner_->recycle(v->release());
}

MobileVcpu* MobileEngine::find(std::uint32_t id) {
  const mem::LockGuard guard(registry_);
  for (MobileVcpu* v : vcpus_)
    if (v->id() == id) return v;
  return nullptr;
}

void MobileEngine::before_fork(engine::Vcpu& self) {
  inner_->before_fork(static_cast<MobileVcpu&>(self).local());
}

Status MobileEngine::after_fork(engine::Vcpu& self) {
  auto& kept = static_cast<MobileVcpu&>(self);
  vcpus_ = {&kept};
  new (&registry_) mem::Lock;  // the pager may have held it
  // The parent's threads do not exist here; what they held is left as it is.
  auto fresh = std::make_unique<Home>(*this);
  fresh->inherit(*home_);
  static_cast<void>(home_.release());
  home_ = std::move(fresh);
  kept.belong_to(*home_);
  kept.forget_use();
  return inner_->after_fork(kept.local());
}

}  // namespace hpcvmm::migrate
