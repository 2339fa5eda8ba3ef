// The mover: carries out one move after the other, and listens to hpcd.
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <optional>

#include "vmm/mem/arena.hh"
#include "vmm/mem/host_maps.hh"
#include "vmm/migrate/bytes.hh"
#include "vmm/migrate/cpu.hh"
#include "vmm/migrate/home.hh"
#include "vmm/migrate/host.hh"
#include "vmm/migrate/mobile.hh"
#include "vmm/migrate/own_facts.hh"
#include "vmm/migrate/trial.hh"

namespace hpcvmm::migrate {
namespace local = wire::local;

namespace {
constexpr std::uint64_t kWelcomeUs = 20'000;
}  // namespace

// --- beginning

void Home::make_bells() {
  for (int* const bell : {&poke_, &pager_poke_})
    if (*bell < 0) host().hide_fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), bell);
}

Status Home::start(mem::Mm& mm, const Identity& who) {
  mm_ = &mm;
  who_ = who;
  const int socket = host().cluster_fd();
  if (socket < 0) return Error::of(ENOENT, "hpcd's socket");
  make_bells();
  keep_maps();
  keep_own_facts();
  // By descriptor: it stays reachable after chroot.
  std::array<char, 32> path{};
  std::snprintf(path.data(), path.size(), "/proc/self/fd/%d", socket);
  HPCVMM_CHECK_OK(link_.connect(path.data()));
  local::Register r{};
  r.engine = engine_.kind() == engine::Kind::Kvm ? local::EngineKind::Kvm : local::EngineKind::Direct;
  r.ia32 = who.ia32 ? 1 : 0;
  r.keeps = who.same_process ? 1 : 0;
  r.pid = process_ = static_cast<std::int32_t>(::syscall(SYS_getpid));
  r.settings = who.settings;
  copy_text(r.comm, sizeof r.comm, who.comm);
  copy_text(r.exe, sizeof r.exe, who.exe);
  r.wants = who.node;
  r.parent = static_cast<std::int32_t>(::syscall(SYS_getppid));
  r.forked = who.forked ? 1 : 0;
  r.fixed = who.node != 0 && !who.same_process && !who.forked ? 1 : 0;
  link_.send_control(&r, sizeof r);
  wanted_ = who.node;
  started_there_ = 0;
  // Nobody waits for a fork child's first move: it runs.
  begin_ = who.forked ? Begin::Runs : Begin::Waits;
  {
    const mem::LockGuard guard(mm.lock());
    mm.set_shared_watch_locked(this);
  }
  // While the heap's and the kernel's thread lists are still ours alone to change.
  if (!start_thread(mover_main, this, "hpc-vmm-mover")) return Error::of(EAGAIN, "a thread for moves");
  started_ = true;
  return Unit{};
}

bool Home::start_there(std::string& why) {
  if (!started_) return true;
  // An hpcd that is slow to answer holds nobody up who has no wish of his own.
  const std::uint64_t end = now_us() + kWelcomeUs;
  while (started_there_.load() == 0) {
    Begin seen = Begin::Waits;
    // Once hpcd has answered, a move may have begun that counts on our waiting.
    if (who_.node == 0 && now_us() > end && begin_.compare_exchange_strong(seen, Begin::Runs)) return true;
    futex_wait(&started_there_, 0, begin_.load() == Begin::Waits ? kWelcomeUs : 100'000);
  }
  why = start_why_;
  return why.empty();
}

void Home::inherit(Home& parent) {
  mm_ = parent.mm_;
  who_ = parent.who_;
  who_.same_process = false;
  who_.forked = true;
  who_.settings = {};
  who_.node = parent.wanted_.load();
  local_calls_ = parent.local_calls_.load();
  vforks_ = 0;
  hold_ = 1;  // the thread that forks holds at home, and lets go in the child as well
  parent.link_.close();
  parent.names_.close();
  parent.uffd_.close();
  share_inherited_ = !parent.share_.empty() && parent.why_not_shared_locked().empty();
  share_.abandon(parent.share_);
  for (int* fd : {&parent.poke_, &parent.pager_poke_}) {
    if (*fd >= 0) host().close_fd(*fd);
    *fd = -1;
  }
  forget_pagemap();
  forget_own_facts();
}

void Home::start_child() {
  if (host().cluster_fd() >= 0) make_bells();
  // Before it touches anything: pages of memory that it shares may be elsewhere.
  if (share_inherited_) {
    const mem::LockGuard guard(mm_->lock());
    share_sync_locked();
    if (const std::string why = why_not_shared_locked(); !why.empty()) die(why.c_str());
  }
  // A child that cannot register runs all the same, at home.
  static_cast<void>(start(*mm_, who_));
}

void Home::hold_at_home() {
  if (!started_) return;
  hold_.fetch_add(1, std::memory_order_seq_cst);
  poke();
  for (;;) {
    const std::uint32_t phase = phase_.load(std::memory_order_seq_cst);
    if (phase == static_cast<std::uint32_t>(Phase::Home)) return;
    futex_wait(&phase_, phase);
  }
}

void Home::let_go() {
  if (!started_) return;
  if (hold_.fetch_sub(1) == 1 && wanted_.load() != 0) poke();
}

bool Home::vfork_begins() {
  if (!started_) return false;
  vforks_.fetch_add(1, std::memory_order_seq_cst);
  for (;;) {
    const std::uint32_t seen = phase_.load(std::memory_order_seq_cst);
    const auto phase = static_cast<Phase>(seen);
    // From Fill on the descriptors of this journey are there.
    if (phase == Phase::Home || phase == Phase::Fill || phase == Phase::Away) return true;
    futex_wait(&phase_, seen);
  }
}

void Home::vfork_ends() {
  if (vforks_.fetch_sub(1) == 1 && wanted_.load() != 0) poke();
}

void Home::set_phase(Phase p) {
  phase_.store(static_cast<std::uint32_t>(p), std::memory_order_seq_cst);
  futex_wake(&phase_, 64);
  ring_bell(pager_poke_);
}

// --- hearing

/// Waits for one message of hpcd's, or a poke.  False: hpcd has gone.
bool Home::hear(int timeout_ms) {
  pollfd p[3] = {{link_.control_fd(), POLLIN, 0}, {poke_, POLLIN, 0}, {share_.socket(), 0, 0}};
  if (::poll(p, 3, timeout_ms) <= 0) return true;
  // Nobody watches over the pages that are elsewhere any more.
  if (p[2].revents != 0 && share_.any_elsewhere()) die("the server of its shared memory has ended");
  if (p[2].revents != 0 && timeout_ms != 0) sleep_us(1000);
  std::uint64_t count = 0;
  if (p[1].revents != 0) static_cast<void>(0 > ::read(poke_, &count, sizeof count));
  if (p[0].revents == 0) return true;
  alignas(8) std::array<char, local::kMaxMessage> room{};
  int fds[3] = {-1, -1, -1};
  std::optional<OwnNumbers> low;
  if (link_.brings_descriptors()) low.emplace();
  const std::ptrdiff_t n = link_.receive_control(room.data(), fds, 0);
  if (n == 0) return false;
  if (n > 0) hear_message(room.data(), static_cast<std::size_t>(n), fds);
  return true;
}

namespace {
template <class T> bool as(T& out, const void* message, std::size_t bytes) {
  if (bytes < sizeof out) return false;
  std::memcpy(&out, message, sizeof out);
  return true;
}
}  // namespace

void Home::hear_message(const void* message, std::size_t bytes, int (&fds)[3]) {
  local::Header h{};
  if (!as(h, message, bytes)) return;
  switch (h.type) {
    case local::Type::Welcome: {
      local::Welcome w{};
      if (!as(w, message, bytes)) return;
      own_node_ = w.node;
      if (w.start_on != 0) wanted_ = w.start_on;
      if (wanted_.load() == w.node) wanted_ = 0;
      Begin seen = Begin::Waits;
      begin_.compare_exchange_strong(seen, Begin::Welcomed);
      return;
    }
    case local::Type::FileTable: return files_.take_table(fds[0]);
    case local::Type::NamesHome:
      return names_.take(
          fds[0], fds[1],
          {host().hide_fd, host().close_fd, host().cluster_fd, who_.ia32 ? host().open_small : nullptr});
    case local::Type::Attach: {
      local::Attach a{};
      if (!as(a, message, bytes) || link_.attached()) return;
      auto attached = link_.attach(a, fds);
      if (attached && !pager_runs_) pager_runs_ = start_thread(pager_main, this, "hpc-vmm-pager");
      no_pager_why_ = attached ? "no thread for page faults"
                               : std::string("no rings to its hpcd (") + attached.error().op + ": errno " +
                                     std::to_string(attached.error().code) + ")";
      return;
    }
    case local::Type::Opened: {
      local::Opened o{};
      if (!as(o, message, bytes) || o.channel != channel_) return;
      refused_ = o.code;
      std::memcpy(refused_why_, o.why, sizeof o.why);
      opened_ = o.code == 0 ? 2 : 3;
      return;
    }
    case local::Type::Closed: {
      local::Closed c{};
      if (!as(c, message, bytes) || c.channel != channel_) return;
      std::snprintf(lost_why_, sizeof lost_why_, "node %u is lost: %s", there_.load(), c.why);
      lost_ = 1;
      return;
    }
    case local::Type::Move: {
      local::Move m{};
      if (!as(m, message, bytes)) return;
      if (asked_) return refuse(m.request, EBUSY, "another move of this process is under way");
      asked_ = true;
      request_ = m.request;
      mode_ = m.mode;
      wanted_ = m.node == own_node_ ? 0 : m.node;
      return;
    }
    case local::Type::Report: return report(cantmove_);
    case local::Type::AskHeld: {
      local::Held held{};
      list_held(held);
      link_.send_control(&held, sizeof held);
      return;
    }
    case local::Type::Affinity: {
      local::Affinity a{};
      if (as(a, message, bytes) && host().affinity != nullptr) host().affinity(a.cpus);
      return;
    }
    default: return;
  }
}

void Home::refuse(std::uint64_t request, int code, const std::string& why) {
  local::MoveDone d{};
  d.request = request;
  d.code = code;
  d.where = where_.load() != 0 ? where_.load() : own_node_;
  d.figures = figures_;
  copy_text(d.why, sizeof d.why, why);
  link_.send_control(&d, sizeof d);
}

void Home::tell_affinity(const wire::view::CpuSet& cpus) {
  if (!joined()) return;
  local::Affinity a{};
  a.cpus = cpus;
  link_.send_control(&a, sizeof a);
}

local::State Home::state() const {
  local::State s{};
  s.where = where_.load();
  s.migrations = migrations_;
  s.remote_cpu_us = remote_cpu_before_us_ + remote_cpu_us_;
  // A page that goes to and fro costs what a call costs that is made at home.
  s.home_calls = home_calls_.load(std::memory_order_relaxed) + share_.transfers();
  s.away_calls = away_calls_.load(std::memory_order_relaxed);
  s.timed_calls = timed_calls_.load(std::memory_order_relaxed);
  s.call_us = call_us_.load(std::memory_order_relaxed);
  return s;
}

void Home::report(const std::string& cantmove) {
  cantmove_ = cantmove;
  local::State s = state();
  const OwnIo io = own_io();
  s.io_bytes = io.bytes;
  s.io_calls = io.calls;
  copy_text(s.cantmove, sizeof s.cantmove, cantmove_);
  link_.send_control(&s, sizeof s);
}

void Home::tell_end() {
  if (!joined()) return;
  local::State s = state();  // without cantmove_, which is the mover's
  rusage used{};
  ::getrusage(RUSAGE_SELF, &used);
  const auto us = [](const timeval& t) {
    return static_cast<std::uint64_t>(t.tv_sec) * 1'000'000 + static_cast<std::uint64_t>(t.tv_usec);
  };
  s.own_cpu_us = us(used.ru_utime) + us(used.ru_stime);
  link_.try_control(&s, sizeof s);
}

// --- moving

void* Home::mover_main(void* self) {
  static_cast<Home*>(self)->mover();
  return nullptr;
}

void Home::tick() {
  if (static_cast<int>(::syscall(SYS_gettid)) == mover_tid_.load() && !hear(0))
    die("the hpcd of its home node has ended");
  die_if_lost();
}

void Home::mover() {
  mover_tid_ = static_cast<int>(::syscall(SYS_gettid));
  while (own_node_ == 0) {
    if (!hear(-1)) {
      started_there_ = 1;
      futex_wake(&started_there_, 8);
      return;
    }
  }
  for (;;) {
    if (where_.load() != 0 && share_.must_come_home()) wanted_ = 0;
    const bool stays = hold_.load() != 0 || (where_.load() == 0 && vforks_.load() != 0);
    const std::uint32_t target = stays ? 0 : wanted_.load();
    if (lost_.load() != 0 && where_.load() != 0) die(lost_why_);
    // While it is held at home a request waits for its turn: "done" must mean that it runs there.
    if (target != where_.load() || (asked_ && target == wanted_.load())) {
      go(target, mode_);
      continue;
    }
    if (started_there_.load() == 0) {
      started_there_ = 1;
      futex_wake(&started_there_, 8);
    }
    tell_cantmove();
    if (!hear(-1)) {
      if (where_.load() != 0) die("the hpcd of its home node has ended");
      return;  // it runs on without a cluster
    }
  }
}

void Home::go(std::uint32_t node, local::Mode mode) {
  std::string why;
  int rc = 0;
  const std::uint64_t began = now_us();
  figures_ = {};
  if (where_.load() != 0 && where_.load() != node) come_back();
  if (node != 0 && vforks_.load() != 0) return;  // its turn comes when the child has gone
  if (rc == 0 && node != 0 && where_.load() != node) rc = go_out(node, mode, why);
  if (rc == EAGAIN && (hold_.load() != 0 || vforks_.load() != 0)) return;  // likewise
  figures_.total_us = now_us() - began;
  // A request that has come meanwhile is answered, too, when it was for this node; for another one it is
  // next.
  const bool meant = node == wanted_.load();
  if (rc != 0) {
    if (meant) wanted_ = where_.load();
    if (started_there_.load() == 0) start_why_ = why;
  }
  if (rc == EPERM) {
    report(why);
  } else {
    shared_news_.store(false);
    {
      const mem::LockGuard guard(mm_->lock());
      report(cannot_move_locked());
    }
    tell_mappings();
  }
  if (asked_ && meant) {
    asked_ = false;
    refuse(request_, rc, why);
  }
}

bool Home::wait_for(const std::atomic<std::uint32_t>& word, std::uint32_t until_not, std::uint64_t limit_ms) {
  const std::uint64_t end = now_us() + limit_ms * 1000;
  while (word.load() == until_not && lost_.load() == 0) {
    if (now_us() > end) return false;
    if (!hear(50)) lose_own_hpcd();
  }
  return lost_.load() == 0;
}

void Home::close_channel() {
  const std::uint32_t closing = channel_;
  channel_ = 0;
  local::Close c{};
  c.channel = closing;
  link_.send_control(&c, sizeof c);
}

void Home::stop_all() {
  answer_soon();
  stopped_us_ = now_us();
  was_running_ = false;
  stop_.store(1, std::memory_order_seq_cst);
  const mem::LockGuard guard(mm_->lock());
  for (;;) {
    bool all = true;
    for (MobileVcpu* v : engine_.vcpus()) all = v->kick_out() && all;
    if (all) return;
    was_running_ = true;
    // Who is away is waited for; what is lost does not answer.
    if (runs_away() && lost_until_now()) die(lost_why_);
    // Their answers come to this thread first, if it has the pager's turn.
    Patience patience;
    const auto stopped = [this] {
      const auto& vcpus = engine_.vcpus();
      return std::all_of(vcpus.begin(), vcpus.end(), [](MobileVcpu* v) { return v->has_answer(); });
    };
    if (runs_away()) attend_until(patience, stopped);
    sleep_us(5);
  }
}

/// Waits shortly for every thread to be parked.  False: some are in host calls, which may touch guest memory.
bool Home::wait_until_quiet() {
  constexpr std::uint64_t kLimitUs = 200;
  const std::uint64_t end = now_us() + kLimitUs;
  for (;;) {
    {
      const mem::LockGuard guard(mm_->lock());
      const auto& all = engine_.vcpus();
      if (std::all_of(all.begin(), all.end(), [](const MobileVcpu* v) { return v->parked(); })) return true;
    }
    if (now_us() > end) return false;
    sleep_us(10);
  }
}

/// Of a process none of whose threads ran, all waiting in calls: how long they could not have gone on.
void Home::note_downtime() {
  const std::uint64_t began = began_us_.load();
  const std::uint64_t end = !was_running_ ? released_us_ : began > stopped_us_ ? began : now_us();
  figures_.downtime_us = end - stopped_us_;
}

void Home::release_all() {
  released_us_ = now_us();
  stop_.store(0, std::memory_order_seq_cst);
  futex_wake(&stop_, 1 << 20);
  answer_soon(false);
}

// --- coming back

/// Nobody sees a clock go back: clocks that have run ahead of ours since it left, by some microseconds an
/// hour, are waited for.
void Home::wait_for_clocks() {
  constexpr std::int64_t kLongestNs = 1'000'000'000;
  const std::int64_t ahead = std::min(clock_ahead_ns_.exchange(0), kLongestNs);
  if (ahead > 0) sleep_us(static_cast<std::uint64_t>(ahead) / 1000 + 1);
}

/// True if a stack here, as far as it is known to have grown, has this page.
bool Home::has_stack_down_to(std::uint64_t page) {
  const mem::LockGuard guard(mm_->lock());
  const auto& vmas = mm_->vmas_locked();
  return std::any_of(vmas.begin(), vmas.end(), [page](const auto& v) {
    return v.second.grows_down && v.first <= page && page < v.second.end;
  });
}

void Home::come_back() {
  trial::hold("return");
  stop_all();
  {
    const mem::LockGuard guard(mm_->lock());
    take_grown_locked();
    {
      // Pages that are being given go out before Leave.
      const mem::LockGuard pages(lock_);
      set_phase(Phase::Recall);
    }
    trial::hold("recall");
    const Head leave{Msg::Leave};
    send(Stream::Urgent, {{&leave, sizeof leave}});
    for (MobileVcpu* v : engine_.vcpus()) v->arrive();
    const auto leaving = [this] { return (drained_.load() & kLeaving) != 0; };
    Patience patience;
    attend_until(patience, leaving);
    while (!leaving()) {
      const std::uint32_t seen = drained_.load();
      if ((seen & kLeaving) != 0) break;
      die_if_lost();
      futex_wait(&drained_, seen, 100'000);
      if (!hear(0)) die("the hpcd of its home node has ended");
    }
    wait_for_clocks();
    granted_ = false;  // nobody is left to be told
    keep_clear();
    runs_away_.store(false, std::memory_order_release);
    futex_wake(&waits_heard_);
    where_ = 0;
    remote_cpu_before_us_ += remote_cpu_us_;
    remote_cpu_us_ = 0;
    used_.end();
    set_phase(Phase::Drain);
  }
  // The stack may have grown there by itself; touching it makes the host's mapping grow here.
  if (const std::uint64_t stack = left_stack_.load(); stack + 1 != 0 && !has_stack_down_to(stack))
    touch_while_heard(stack);
  began_us_ = 0;
  note_entry_ = true;
  release_all();
  ++migrations_;
  trial::hold("drain");
  wait_for_entry();
  const Head entered{Msg::Entered};
  send(Stream::Urgent, {{&entered, sizeof entered}});
  while (drained_.load() != kAllDrained) {
    if (lost_.load() != 0) die(lost_why_);
    if (!hear(50)) die("the hpcd of its home node has ended");
  }
  note_entry_ = false;
  note_downtime();
  {
    const mem::LockGuard guard(mm_->lock());
    mm_->set_away_locked(nullptr);
    unwatch_all_locked();
  }
  close_uffd_ = 1;
  ring_bell(pager_poke_);
  while (close_uffd_.load() != 0) futex_wait(&close_uffd_, 1);
  {
    const mem::LockGuard guard(lock_);
    directory_.clear();
    void_.clear();
    pending_.clear();
    wanted_later_.clear();
  }
  recent_in_.clear();
  close_channel();
  share_back();
  host().is_back();
  set_phase(Phase::Home);
}

}  // namespace hpcvmm::migrate
