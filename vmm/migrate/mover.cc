// The mover: carries out one move after the other, and listens to hpcd.
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>

#include "vmm/mem/arena.hh"
#include "vmm/mem/host_maps.hh"
#include "vmm/migrate/cpu.hh"
#include "vmm/migrate/home.hh"
#include "vmm/migrate/host.hh"
#include "vmm/migrate/mobile.hh"
#include "vmm/migrate/trial.hh"

#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif

namespace hpcvmm::migrate {
namespace {

namespace local = wire::local;

constexpr std::uint64_t kOpenLimitMs = 10'000;
// Stashes lie in the zone above the arena.
constexpr std::uint64_t kStashBegin = kArenaEnd;
constexpr std::uint64_t kStashEnd = kZoneEnd;
constexpr std::uint64_t kMostAnonymous = std::uint64_t{64} << 30;

void* pointer(std::uint64_t at) { return reinterpret_cast<void*>(at); }  // NOLINT(performance-no-int-to-ptr)

void copy_text(char* to, std::size_t room, const std::string& from) {
  const std::size_t n = std::min(room - 1, from.size());
  std::memcpy(to, from.data(), n);
  to[n] = 0;
}

}  // namespace

// --- beginning

Status Home::start(mem::Mm& mm, const Identity& who) {
  mm_ = &mm;
  who_ = who;
  const int socket = host().cluster_fd();
  if (socket < 0) return Error::of(ENOENT, "hpcd's socket");
  if (poke_ < 0) host().hide_fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), &poke_);
  if (pager_poke_ < 0) host().hide_fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), &pager_poke_);
  // By descriptor: it stays reachable after chroot.
  std::array<char, 32> path{};
  std::snprintf(path.data(), path.size(), "/proc/self/fd/%d", socket);
  HPCVMM_CHECK_OK(link_.connect(path.data()));
  local::Register r{};
  r.engine = engine_.kind() == engine::Kind::Kvm ? local::EngineKind::Kvm : local::EngineKind::Direct;
  r.ia32 = who.ia32 ? 1 : 0;
  r.keeps = who.same_process ? 1 : 0;
  r.pid = static_cast<std::int32_t>(::syscall(SYS_getpid));
  copy_text(r.comm, sizeof r.comm, who.comm);
  copy_text(r.exe, sizeof r.exe, who.exe);
  link_.send_control(&r, sizeof r);
  wanted_ = who.node;
  started_there_ = who.node == 0 ? 1 : 0;
  // While the heap's and the kernel's thread lists are still ours alone to change.
  if (!start_thread(mover_main, this, "hpc-vmm-mover")) return Error::of(EAGAIN, "a thread for moves");
  started_ = true;
  return Unit{};
}

bool Home::start_there(std::string& why) {
  if (!started_) return true;
  while (started_there_.load() == 0) futex_wait(&started_there_, 0);
  why = start_why_;
  return why.empty();
}

void Home::inherit(Home& parent) {
  mm_ = parent.mm_;
  who_ = parent.who_;
  who_.same_process = false;
  who_.node = parent.wanted_.load();
  hold_ = 1;  // the thread that forks holds at home, and lets go in the child as well
  parent.link_.close();
  parent.uffd_.close();
  for (int* fd : {&parent.poke_, &parent.pager_poke_}) {
    if (*fd >= 0) host().close_fd(*fd);
    *fd = -1;
  }
  forget_pagemap();
}

void Home::start_child() {
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

void Home::set_phase(Phase p) {
  phase_.store(static_cast<std::uint32_t>(p), std::memory_order_seq_cst);
  futex_wake(&phase_, 64);
  ring_bell(pager_poke_);
}

// --- hearing

/// Waits for one message of hpcd's, or a poke.  False: hpcd has gone.
bool Home::hear(int timeout_ms) {
  pollfd p[2] = {{link_.control_fd(), POLLIN, 0}, {poke_, POLLIN, 0}};
  if (::poll(p, 2, timeout_ms) <= 0) return true;
  std::uint64_t count = 0;
  if (p[1].revents != 0) static_cast<void>(!::read(poke_, &count, sizeof count));
  if (p[0].revents == 0) return true;
  alignas(8) std::array<char, local::kMaxMessage> room{};
  int fds[3] = {-1, -1, -1};
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
      if (w.start_on != 0 && w.start_on != w.node && wanted_.load() == 0) wanted_ = w.start_on;
      if (wanted_.load() == w.node) wanted_ = 0;
      return;
    }
    case local::Type::Attach: {
      local::Attach a{};
      if (!as(a, message, bytes) || link_.attached()) return;
      if (auto ok = link_.attach(a, fds); ok && !pager_runs_)
        pager_runs_ = start_thread(pager_main, this, "hpc-vmm-pager");
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

void Home::report(const char* cantmove) {
  local::State s{};
  s.where = where_.load();
  s.migrations = migrations_;
  s.remote_cpu_us = remote_cpu_before_us_ + remote_cpu_us_;
  copy_text(s.cantmove, sizeof s.cantmove, cantmove);
  link_.send_control(&s, sizeof s);
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
    const std::uint32_t target = hold_.load() != 0 ? 0 : wanted_.load();
    if (lost_.load() != 0 && where_.load() != 0) die(lost_why_);
    if (target != where_.load() || asked_) {
      go(target, mode_, request_);
      continue;
    }
    if (started_there_.load() == 0) {
      started_there_ = 1;
      futex_wake(&started_there_, 8);
    }
    if (!hear(-1)) {
      if (where_.load() != 0) die("the hpcd of its home node has ended");
      return;  // it runs on without a cluster
    }
  }
}

void Home::go(std::uint32_t node, local::Mode mode, std::uint64_t request) {
  static_cast<void>(mode);
  std::string why;
  int rc = 0;
  const std::uint64_t began = now_us();
  figures_ = {};
  if (where_.load() != 0 && where_.load() != node) rc = come_back(why);
  if (rc == 0 && node != 0 && where_.load() != node) rc = go_out(node, why);
  figures_.total_us = now_us() - began;
  if (rc != 0) {
    wanted_ = where_.load();
    if (started_there_.load() == 0) start_why_ = why;
  }
  report(rc == EPERM ? why.c_str() : "");
  if (asked_) {
    asked_ = false;
    refuse(request, rc, why);
  }
}

const char* Home::cannot_move_locked() const {
  std::uint64_t anonymous = 0;
  for (const auto& [begin, v] : mm_->vmas_locked()) {
    if (v.shared && !v.steady) return "shared memory mapping";
    if (!v.file) anonymous += v.end - begin;
  }
  if (anonymous > kMostAnonymous) return "more than 64 GiB of address space";
  return nullptr;
}

bool Home::wait_for(const std::atomic<std::uint32_t>& word, std::uint32_t until_not, std::uint64_t limit_ms) {
  const std::uint64_t end = now_us() + limit_ms * 1000;
  while (word.load() == until_not && lost_.load() == 0) {
    if (now_us() > end) return false;
    if (!hear(50)) lose_own_hpcd();
  }
  return lost_.load() == 0;
}

int Home::open_channel(std::uint32_t node, std::string& why) {
  channel_ = next_channel_;
  there_ = node;
  next_channel_ = next_channel_ % 65535 + 1;
  lost_ = 0;
  opened_ = ready_ = 1;
  acked_ = next_ack_;
  drained_ = 0;
  left_stack_ = 0;
  began_us_ = 0;
  bulk_sent_ = bulk_credited_ = 0;
  bulk_eaten_ = 0;
  local::Open o{};
  o.channel = channel_;
  o.node = node;
  o.epoch = ++epoch_;
  o.engine = engine_.kind() == engine::Kind::Kvm ? local::EngineKind::Kvm : local::EngineKind::Direct;
  o.ia32 = who_.ia32 ? 1 : 0;
  copy_text(o.comm, sizeof o.comm, who_.comm);
  link_.send_control(&o, sizeof o);
  if (!wait_for(opened_, 1, kOpenLimitMs)) {
    why = lost_.load() != 0 ? lost_why_ : "node " + std::to_string(node) + " does not answer";
    return ETIMEDOUT;
  }
  if (opened_.load() != 2 || !pager_runs_) {
    why = opened_.load() != 2 ? refused_why_ : "no thread for page faults";
    return refused_ != 0 ? refused_ : EAGAIN;
  }
  Init i{};
  i.engine = static_cast<std::uint8_t>(engine_.kind());
  i.ia32 = who_.ia32 ? 1 : 0;
  fp_bytes_ = FpState::kMaxBytes;
  i.fp_bytes = fp_bytes_;
  i.vdso_table = who_.vdso_table;
  read_cpu_features(i.cpu_features);
  send(Stream::Urgent, {{&i, sizeof i}});
  if (!wait_for(ready_, 1, kOpenLimitMs)) {
    why = lost_.load() != 0 ? lost_why_ : "node " + std::to_string(node) + " does not answer";
    return ETIMEDOUT;
  }
  if (ready_.load() == 2) return 0;
  why = refused_why_;
  return refused_ != 0 ? refused_ : EAGAIN;
}

void Home::close_channel() {
  const std::uint32_t closing = channel_;
  channel_ = 0;
  local::Close c{};
  c.channel = closing;
  link_.send_control(&c, sizeof c);
}

void Home::stop_all() {
  stop_.store(1, std::memory_order_seq_cst);
  const mem::LockGuard guard(mm_->lock());
  for (;;) {
    bool all = true;
    for (MobileVcpu* v : engine_.vcpus()) all = v->kick_out() && all;
    if (all) return;
    // Who is away is waited for; what is lost does not answer.
    if (runs_away() && lost_until_now()) die(lost_why_);
    sleep_us(5);
  }
}

void Home::release_all() {
  stop_.store(0, std::memory_order_seq_cst);
  futex_wake(&stop_, 1 << 20);
}

int Home::go_out(std::uint32_t node, std::string& why) {
  {
    const mem::LockGuard guard(mm_->lock());
    if (const char* const c = cannot_move_locked()) {
      why = c;
      return EPERM;
    }
  }
  set_phase(Phase::Ask);
  trial::hold("ask");
  int rc = 0;
  open_pagemap();
  if (auto ok = uffd_.open(-1); !ok) {
    why = std::string("cannot watch its memory (") + ok.error().op + "): give it access to /dev/userfaultfd";
    rc = EPERM;
  }
  if (rc == 0) rc = open_channel(node, why);
  trial::hold("ready");
  std::uint64_t stopped = 0;
  if (rc == 0) {
    stopped = now_us();
    stop_all();
    const mem::LockGuard guard(mm_->lock());
    const char* const c = cannot_move_locked();
    if (hold_.load() != 0 || c != nullptr) {
      why = c != nullptr ? c : "it is forking";
      rc = EAGAIN;
    } else {
      set_phase(Phase::Switch);
      trial::hold("switch");
      rc = leave_locked(why);
      trial::hold("sent");
      if (rc == 0 && lost_until_now()) {
        undo_leave_locked();
        why = lost_why_;
        rc = ETIMEDOUT;
      }
    }
    if (rc == 0) {
      where_ = node;
      set_phase(Phase::Fill);
    }
  }
  release_all();
  if (rc != 0) {
    if (channel_ != 0) close_channel();
    close_uffd_ = 1;
    ring_bell(pager_poke_);
    if (!pager_runs_) uffd_.close();
    while (pager_runs_ && close_uffd_.load() != 0) futex_wait(&close_uffd_, 1);
    set_phase(Phase::Home);
    return rc;
  }
  ++migrations_;
  trial::hold("fill");
  push_stash();
  const std::uint64_t began = began_us_.load();
  figures_.downtime_us = (began > stopped ? began : now_us()) - stopped;
  set_phase(Phase::Away);
  trial::hold("away");
  return 0;
}

// --- the stash

std::uint64_t Home::stash_address(std::uint64_t begin, std::uint64_t bytes) {
  // The same place within a page-table page lets the kernel move whole table pages.
  const std::uint64_t unit = std::uint64_t{1} << (bytes >= (std::uint64_t{64} << 20) ? 30 : 21);
  std::uint64_t at = (stash_cursor_ + unit - 1) / unit * unit + begin % unit;
  if (at < stash_cursor_) at += unit;
  stash_cursor_ = at + bytes;
  return stash_cursor_ <= kStashEnd ? at : 0;
}

/// Moves the pages of [begin, end) into the stash; the mapping stays, empty and watched.
bool Home::stash_one(std::uint64_t begin, std::uint64_t end, std::uint32_t prot) {
  if (!uffd_.watch(begin, end)) return false;
  const std::uint64_t to = stash_address(begin, end - begin);
  if (to == 0) return false;
  void* const moved = ::mremap(pointer(begin), end - begin, end - begin,
                               MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP, pointer(to));
  if (moved == MAP_FAILED) return false;
  if ((prot & PROT_READ) == 0) ::mprotect(moved, end - begin, PROT_READ);
  directory_.add_stash(begin, end, to);
  return true;
}

/// The host may have more mappings in a range than the guest made (madvise, mlock), and mremap must see them
/// one by one: since Linux 6.17 it moves several at once, but stops in the middle when userfaultfd watches
/// them.
bool Home::stash_pieces(const MapEntry& e, const std::vector<std::uint64_t>& host_begins) {
  std::uint64_t at = e.begin;
  for (auto it = std::upper_bound(host_begins.begin(), host_begins.end(), e.begin);
       it != host_begins.end() && *it < e.end; ++it) {
    if (!stash_one(at, *it, e.prot)) return false;
    at = *it;
  }
  return stash_one(at, e.end, e.prot);
}

/// Everything between the last instruction here and the first there: the state goes out, the pages into the
/// stash.
int Home::leave_locked(std::string& why) {
  stash_cursor_ = kStashBegin;
  directory_.clear();
  void_.clear();
  std::vector<std::pair<std::uint64_t, mem::Vma>> all(mm_->vmas_locked().begin(), mm_->vmas_locked().end());
  for (auto& [begin, v] : all) {
    if (v.grows_down) {
      mm_->refresh_stack_locked(begin);
      continue;
    }
    if (!v.file || (v.prot & PROT_WRITE) == 0) continue;
    std::vector<MapEntry> e;
    describe(begin, v, e);
    make_anonymous(begin, v.end, v.prot, e.front().end);
  }
  all.assign(mm_->vmas_locked().begin(), mm_->vmas_locked().end());
  std::vector<MapEntry> entries;
  for (const auto& [begin, v] : all) describe(begin, v, entries);
  const std::vector<std::uint64_t> host_begins = mem::host_mapping_begins();
  const mem::LockGuard guard(lock_);
  for (const MapEntry& e : entries) {
    if (e.kind != PageKind::Held) continue;
    if (stash_pieces(e, host_begins)) continue;
    why = "its memory cannot be set aside";
    unstash_locked();
    return ENOMEM;
  }
  send_maps(entries);
  const Head mapped{Msg::Mapped};
  send(Stream::Urgent, {{&mapped, sizeof mapped}});
  for (MobileVcpu* v : engine_.vcpus()) v->depart();
  mm_->set_away_locked(this);
  runs_away_.store(true, std::memory_order_release);
  return 0;
}

void Home::push_stash() {
  for (std::size_t i = 0;; ++i) {
    {
      const mem::LockGuard guard(lock_);
      if (i >= directory_.stashes().size()) break;
    }
    push_range(directory_.stashes()[i]);
  }
  // Said in both streams: pages handed over on demand travel in the urgent one.
  const Head done{Msg::PushDone};
  send(Stream::Bulk, {{&done, sizeof done}});
  const mem::LockGuard guard(lock_);
  send(Stream::Urgent, {{&done, sizeof done}});
  for (const Directory::Stash& s : directory_.stashes()) ::munmap(pointer(s.copy), s.end - s.begin);
  directory_.clear_stashes();
}

void Home::push_range(Directory::Stash& s) {
  constexpr std::size_t kStep = 512;
  std::array<std::uint8_t, kStep> present{};
  std::array<std::uint64_t, kPagesPerMessage> entries{};
  std::array<const std::byte*, kPagesPerMessage> data{};
  unsigned count = 0;
  unsigned with_data = 0;
  const auto flush = [&] {
    if (count != 0) push_pages(entries.data(), count, data.data(), with_data);
    count = with_data = 0;
  };
  for (std::uint64_t at = s.begin; at < s.end; at += kStep * kPageSize) {
    const std::size_t n = std::min<std::uint64_t>(kStep, (s.end - at) / kPageSize);
    pages_present(s.copy + (at - s.begin), std::span(present).first(n));
    for (std::size_t i = 0; i < n; ++i) {
      if (present[i] == 0) continue;
      const std::uint64_t page = at + i * kPageSize;
      {
        const mem::LockGuard guard(lock_);
        if (directory_.where(page) != Whereabouts::Stash) continue;
        directory_.give(page);
        // A page that is dropped from here on must not be newer than the Drop.
        if (count == 0) push_sequence_ = sequence_;
      }
      const auto* const content = static_cast<const std::byte*>(pointer(s.copy + (page - s.begin)));
      const bool zero = is_zero_page(content);
      entries[count] = page | (zero ? kPageZero : kPageData);
      if (!zero) data[with_data++] = content;
      ++(zero ? figures_.pages_zero : figures_.pages_pushed);
      if (++count == kPagesPerMessage) flush();
    }
  }
  flush();
}

void Home::push_pages(const std::uint64_t* entries, unsigned count, const std::byte* const* data,
                      unsigned with_data) {
  Pages p{};
  p.head.id = count;
  p.sequence = push_sequence_;
  const std::size_t bytes = sizeof p + count * sizeof *entries + with_data * kPageSize;
  for (;;) {
    const std::uint32_t news = credit_news_.load();
    if (bulk_sent_.load() + bytes <= bulk_credited_.load() + kBulkWindow) break;
    if (!hear(0) || lost_.load() != 0)
      die(lost_.load() != 0 ? lost_why_ : "the hpcd of its home node has ended");
    futex_wait(&credit_news_, news, 50'000);
  }
  bulk_sent_.fetch_add(bytes);
  figures_.bytes += bytes;
  link_.send_pages(channel_, {&p, sizeof p}, {entries, count * sizeof *entries}, data, with_data);
}

// --- coming back

int Home::come_back(std::string& why) {
  static_cast<void>(why);
  trial::hold("return");
  const std::uint64_t stopped = now_us();
  stop_all();
  {
    const mem::LockGuard guard(mm_->lock());
    set_phase(Phase::Recall);
    trial::hold("recall");
    const Head leave{Msg::Leave};
    send(Stream::Urgent, {{&leave, sizeof leave}});
    for (MobileVcpu* v : engine_.vcpus()) v->arrive();
    for (;;) {
      const std::uint32_t seen = drained_.load();
      if ((seen & kLeaving) != 0) break;
      die_if_lost();
      futex_wait(&drained_, seen, 100'000);
      if (!hear(0)) die("the hpcd of its home node has ended");
    }
    runs_away_.store(false, std::memory_order_release);
    where_ = 0;
    remote_cpu_before_us_ += remote_cpu_us_;
    remote_cpu_us_ = 0;
    set_phase(Phase::Drain);
  }
  // The stack may have grown there by itself; touching it makes the host's mapping grow here.
  if (const std::uint64_t stack = left_stack_.load(); stack + 1 != 0) {
    touch_while_heard(stack);
  }
  began_us_ = 0;
  note_entry_ = true;
  release_all();
  ++migrations_;
  trial::hold("drain");
  while (drained_.load() != kAllDrained) {
    if (lost_.load() != 0) die(lost_why_);
    if (!hear(50)) die("the hpcd of its home node has ended");
  }
  note_entry_ = false;
  const std::uint64_t began = began_us_.load();
  figures_.downtime_us = (began > stopped ? began : now_us()) - stopped;
  {
    const mem::LockGuard guard(mm_->lock());
    mm_->set_away_locked(nullptr);
  }
  close_uffd_ = 1;
  ring_bell(pager_poke_);
  while (close_uffd_.load() != 0) futex_wait(&close_uffd_, 1);
  {
    const mem::LockGuard guard(lock_);
    directory_.clear();
    void_.clear();
    pending_.clear();
  }
  close_channel();
  set_phase(Phase::Home);
  return 0;
}

}  // namespace hpcvmm::migrate
