// Going out: the remote gets ready, the guest stops, its pages go into the stash and from there to the
// remote.
#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <utility>

#include "vmm/mem/host_maps.hh"
#include "vmm/migrate/bytes.hh"
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

/// Calls `f(begin, end)` for each part of [begin, end) that is one mapping of the host's, until it says
/// false.
template <typename F>
bool each_piece(std::uint64_t begin, std::uint64_t end, const std::vector<std::uint64_t>& host_begins, F f) {
  for (auto it = std::upper_bound(host_begins.begin(), host_begins.end(), begin);
       it != host_begins.end() && *it < end; ++it) {
    if (!f(begin, *it)) return false;
    begin = *it;
  }
  return f(begin, end);
}

}  // namespace

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
  recent_.clear();
  recent_in_.clear();
  {
    const mem::LockGuard guard(mm_->lock());
    files_.start_over();
  }
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
    why = opened_.load() != 2 ? refused_why_ : no_pager_why_;
    return refused_ != 0 ? refused_ : EAGAIN;
  }
  Init i{};
  i.engine = static_cast<std::uint8_t>(engine_.kind());
  i.ia32 = who_.ia32 ? 1 : 0;
  fp_bytes_ = FpState::kMaxBytes;
  i.fp_bytes = fp_bytes_;
  i.vdso_table = who_.vdso_table;
  i.host_vdso_begin = who_.host_vdso_begin;
  i.host_vdso_end = who_.host_vdso_end;
  read_cpu_features(i.cpu_features);
  send(Stream::Urgent, {{&i, sizeof i}});
  if (share_travels_) {
    ShareServer s{};
    copy_text(s.name, sizeof s.name, share_server_);
    send(Stream::Urgent, {{&s, sizeof s}});
  }
  return 0;
}

/// The answer to Init.
int Home::wait_ready(std::string& why) {
  if (!wait_for(ready_, 1, kOpenLimitMs)) {
    why = lost_.load() != 0 ? lost_why_ : "node " + std::to_string(there_.load()) + " does not answer";
    return ETIMEDOUT;
  }
  if (ready_.load() == 2) return 0;
  why = refused_why_;
  return refused_ != 0 ? refused_ : EAGAIN;
}

/// Everything that can be done while it still runs here: the remote gets ready.
int Home::ask(std::uint32_t node, local::Mode mode, std::string& why) {
  set_phase(Phase::Ask);
  trial::hold("ask");
  const auto watcher = [this] {
    const OwnNumbers low;
    open_pagemap();
    return uffd_.open(-1);
  };
  if (auto ok = watcher(); !ok) {
    why = std::string("cannot watch its memory (") + ok.error().op + "): give it access to /dev/userfaultfd";
    return EPERM;
  }
  if (const int rc = share_travel(node, why)) return rc;
  if (const int rc = open_channel(node, why)) return rc;
  if (const int rc = prepare_remote(why)) return rc;
  // What has not run yet has nothing worth warming: its pages go with the switch.
  if (starts_there()) mode = local::Mode::Postcopy;
  return warm_up(mode, why);
}

/// Sends everything behind Init without waiting for Ready: a remote that refuses takes no notice of it.
int Home::prepare_remote(std::string& why) {
  {
    const mem::LockGuard guard(mm_->lock());
    told_ = describe_all_locked();
    send_maps(told_);
    for (const MobileVcpu* v : engine_.vcpus()) {
      const Head prepare{Msg::Prepare, 0, v->id()};
      send(Stream::Urgent, {{&prepare, sizeof prepare}});
    }
  }
  Head prepared{Msg::Prepared};
  {
    const mem::LockGuard guard(mm_->lock());
    prepared.id = ++next_ack_;
  }
  send(Stream::Urgent, {{&prepared, sizeof prepared}});
  // On the same machine the answer says enough, and nobody has to wait for it.
  clocks_ = {};
  ask_clocks();
  if (const int rc = wait_ready(why)) return rc;
  if (const int rc = wait_acked(prepared.id, why)) return rc;
  compare_clocks();
  return 0;
}

void Home::ask_clocks() {
  const Head ask{Msg::ClockAsk, 0, clock_asked_.load() + 1};
  clock_told_.store(ask.id - 1);
  clock_asked_.store(ask.id);
  asked_clocks_ = read_clocks();
  send(Stream::Urgent, {{&ask, sizeof ask}});
}

/// False: no answer.  It goes on without: that node's clocks count as ours.
bool Home::hear_clocks() {
  constexpr std::uint64_t kLimitMs = 1000;
  if (!wait_for(clock_told_, clock_asked_.load() - 1, kLimitMs)) return false;
  clocks_.learn(asked_clocks_, told_clocks_, heard_clocks_);
  return true;
}

void Home::compare_clocks() {
  constexpr unsigned kMost = 5;
  for (unsigned asked = 1; hear_clocks() && clocks_.wants_more() && asked < kMost; ++asked) ask_clocks();
}

/// Waits until the remote has taken everything that was sent in this stream.
int Home::wait_prepared(Stream stream, std::string& why) {
  Head prepared{Msg::Prepared};
  {
    const mem::LockGuard guard(mm_->lock());
    prepared.id = ++next_ack_;
  }
  send(stream, {{&prepared, sizeof prepared}});
  return wait_acked(prepared.id, why);
}

int Home::wait_acked(std::uint32_t id, std::string& why) {
  if (wait_for(acked_, id - 1, kOpenLimitMs)) return 0;
  why = lost_.load() != 0 ? lost_why_ : "the other node does not answer";
  return ETIMEDOUT;
}

int Home::depart(std::uint32_t node, std::string& why) {
  trial::hold("ready");
  stop_all();
  // Before its start nobody else is there, and who is waits for this move.
  const bool quiet = starts_there() || wait_until_quiet();
  const mem::LockGuard guard(mm_->lock());
  if (hold_.load() != 0 || vforks_.load() != 0) {
    why = "it is forking";
    return EAGAIN;
  }
  why = cannot_move_locked();
  if (!why.empty()) return EPERM;
  if (!share_travels_ && !share_.empty()) {
    why = "it has just mapped shared memory";
    return EAGAIN;
  }
  set_phase(Phase::Switch);
  trial::hold("switch");
  if (const int rc = leave_locked(quiet, why)) return rc;
  trial::hold("sent");
  if (lost_until_now()) {
    undo_leave_locked();
    why = lost_why_;
    return ETIMEDOUT;
  }
  where_ = node;
  set_phase(Phase::Fill);
  return 0;
}

/// Nobody watches any mapping.  Closing the userfaultfd is not enough: a vfork child has a copy of it, so the
/// mappings would stay watched, by nobody who answers, and the next move could not watch them (EBUSY).
void Home::unwatch_all_locked() {
  if (uffd_.fd() < 0 && !written_.is_open()) return;
  refresh_stacks_locked();
  const std::vector<std::uint64_t> host_begins = mem::host_mapping_begins();
  for (const auto& [from, v] : mm_->vmas_locked())
    each_piece(from, v.end, host_begins, [&](std::uint64_t begin, std::uint64_t end) {
      if (uffd_.fd() >= 0) uffd_.unwatch(begin, end);
      if (written_.is_open()) written_.untrack(begin, end);
      return true;
    });
}

void Home::undo_ask() {
  if (channel_ != 0) close_channel();
  share_back();
  close_uffd_ = 1;
  ring_bell(pager_poke_);
  if (!pager_runs_) {
    uffd_.close();
    close_uffd_ = 0;
  }
  while (pager_runs_ && close_uffd_.load() != 0) futex_wait(&close_uffd_, 1);
  set_phase(Phase::Home);
}

/// Lets the guest's first steps go before the flood of pages: they need the same CPUs and the same wire.
void Home::wait_for_entry() {
  constexpr std::uint64_t kLongestUs = 3000;
  const std::uint64_t end = now_us() + kLongestUs;
  while (was_running_ && began_us_.load() == 0 && now_us() < end) sleep_us(50);
}

int Home::go_out(std::uint32_t node, local::Mode mode, std::string& why) {
  {
    const mem::LockGuard guard(mm_->lock());
    why = cannot_move_locked();
    if (!why.empty()) return EPERM;
  }
  int rc = ask(node, mode, why);
  if (rc == 0) rc = depart(node, why);
  const bool at_once = mode == local::Mode::Precopy || (rc == 0 && stash_is_small());
  if (rc == 0 && at_once) push_stash();
  release_all();
  if (rc != 0) {
    const mem::LockGuard guard(mm_->lock());
    unwatch_all_locked();
  }
  written_.close();
  if (rc != 0) {
    undo_ask();
    return rc;
  }
  ++migrations_;
  trial::hold("fill");
  wait_for_entry();
  if (!at_once) push_stash();
  note_downtime();
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
///
/// The kernel moves whole table pages only of mappings that nobody watches (move_normal_pmd() in mm/mremap.c,
/// since Linux 6.15): 30 us against 2.2 ms a GiB.  But between the move and the watching a touch would read
/// zeros, so it is done in that order only while nobody can touch anything (`quiet`).
bool Home::stash_one(std::uint64_t begin, std::uint64_t end, std::uint32_t prot, bool quiet) {
  const auto fails = [&](const char* what, int error) {
    std::array<char, 128> text{};
    std::snprintf(text.data(), text.size(), "its memory cannot be set aside: %s of 0x%llx-0x%llx: errno %d",
                  what, static_cast<unsigned long long>(begin), static_cast<unsigned long long>(end), error);
    stash_why_ = text.data();
    return false;
  };
  const auto watch = [&] {
    if (written_.is_open()) written_.untrack(begin, end);
    const auto ok = uffd_.watch(begin, end);
    return ok ? true : fails(ok.error().op, ok.error().code);
  };
  if (!quiet && !watch()) return false;
  const std::uint64_t to = stash_address(begin, end - begin);
  if (to == 0) return fails("a place for the pages", ENOMEM);
  void* const moved = ::mremap(pointer(begin), end - begin, end - begin,
                               MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP, pointer(to));
  if (moved == MAP_FAILED) return fails("mremap", errno);
  if ((prot & PROT_READ) == 0) ::mprotect(moved, end - begin, PROT_READ);
  directory_.add_stash(begin, end, to);
  return !quiet || watch();
}

/// The host may have more mappings in a range than the guest made (madvise, mlock), and mremap must see them
/// one by one: since Linux 6.17 it moves several at once, but stops in the middle when userfaultfd watches
/// them.
bool Home::stash_pieces(const MapEntry& e, const std::vector<std::uint64_t>& host_begins, bool quiet) {
  return each_piece(e.begin, e.end, host_begins, [&](std::uint64_t begin, std::uint64_t end) {
    return stash_one(begin, end, e.prot, quiet);
  });
}

bool Home::set_aside(const std::vector<MapEntry>& entries, bool quiet) {
  const std::vector<std::uint64_t> host_begins = mem::host_mapping_begins();
  for (const MapEntry& e : entries)
    if (e.kind == PageKind::Held && !stash_pieces(e, host_begins, quiet)) return false;
  return true;
}

/// The kernel makes them grow without a word.
void Home::refresh_stacks_locked() {
  std::vector<std::uint64_t> stacks;
  for (const auto& [begin, v] : mm_->vmas_locked())
    if (v.grows_down) stacks.push_back(begin);
  for (const std::uint64_t begin : stacks) mm_->refresh_stack_locked(begin);
}

/// What the remote has to have, as the mappings are now.
std::vector<MapEntry> Home::describe_all_locked() {
  refresh_stacks_locked();
  std::vector<MapEntry> entries;
  for (const auto& [begin, v] : mm_->vmas_locked()) describe(begin, v, entries);
  return entries;
}

/// The remote has made told_; now it is this.
void Home::send_changes_locked(std::vector<MapEntry> now) {
  const auto before = [](const MapEntry& a, const MapEntry& b) { return a.begin < b.begin; };
  const auto in = [&](const std::vector<MapEntry>& list, const MapEntry& e) {
    const auto it = std::lower_bound(list.begin(), list.end(), e, before);
    return it != list.end() && *it == e;
  };
  for (const MapEntry& e : told_) {
    if (in(now, e)) continue;
    Drop d{};
    d.head.id = ++next_ack_;
    d.begin = e.begin;
    d.end = e.end;
    send(Stream::Urgent, {{&d, sizeof d}});
  }
  std::erase_if(now, [&](const MapEntry& e) { return in(told_, e); });
  send_maps(now);
}

/// Everything between the last instruction here and the first there: what has changed since the remote was
/// told goes out, and the pages into the stash.
int Home::leave_locked(bool quiet, std::string& why) {
  stash_cursor_ = kStashBegin;
  directory_.clear();
  void_.clear();
  const std::vector<std::pair<std::uint64_t, mem::Vma>> all(mm_->vmas_locked().begin(),
                                                            mm_->vmas_locked().end());
  Origins origins;
  for (const auto& [begin, v] : all) {
    if (!takes_along(v)) continue;
    note_origin_locked(begin, v.end, origins);
    make_anonymous(begin, v.end, v.prot, end_of_file(begin, v));
  }
  written_since(false);
  // A thread in a host call may write a page after it has been looked at and before it is set aside.
  if (!quiet) warm_.clear();
  host().leaves();
  const std::vector<MapEntry> entries = describe_all_locked();
  const mem::LockGuard waits(waits_lock_);
  const mem::LockGuard guard(lock_);
  origins_ = std::move(origins);
  fresh_home_.clear();
  fresh_last_.clear();
  wanted_later_.clear();
  if (!set_aside(entries, quiet)) {
    why = stash_why_;
    unstash_locked();
    host().is_back();
    return ENOMEM;
  }
  link_.hold_bell();
  send_changes_locked(entries);
  Mapped mapped{};
  mapped.head.flags = local_calls_.load() ? kMayCallLocally : std::uint16_t{0};
  mapped.clocks = clocks_.offsets();
  send(Stream::Urgent, {{&mapped, sizeof mapped}});
  for (MobileVcpu* v : engine_.vcpus()) v->depart();
  used_.begin();
  mm_->set_away_locked(this);
  runs_away_.store(true, std::memory_order_seq_cst);
  tell_waits_locked(false);
  link_.ring_bell();
  return 0;
}

/// True if the pages of the stash are so few that they may as well go before the guest runs there, which
/// would ask for most of them one by one.
bool Home::stash_is_small() {
  constexpr std::uint64_t kSmallPages = 64;
  constexpr std::uint64_t kSmallRange = std::uint64_t{16} << 20;
  const mem::LockGuard guard(lock_);
  std::uint64_t range = 0;
  for (const Directory::Stash& s : directory_.stashes()) range += s.end - s.begin;
  if (range > kSmallRange) return false;
  std::uint64_t pages = 0;
  std::array<std::uint8_t, 512> present{};
  for (const Directory::Stash& s : directory_.stashes()) {
    for (std::uint64_t at = s.copy; at < s.copy + (s.end - s.begin); at += present.size() * kPageSize) {
      const std::size_t n =
          std::min<std::uint64_t>(present.size(), (s.copy + (s.end - s.begin) - at) / kPageSize);
      pages_present(at, std::span(present).first(n));
      pages += static_cast<std::uint64_t>(std::count(present.begin(), present.begin() + n, 1));
    }
  }
  return pages <= kSmallPages;
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
  recent_.clear();
}

void Home::push_range(Directory::Stash& s) {
  constexpr std::size_t kStep = 512;
  std::array<std::uint8_t, kStep> present{};
  std::array<std::uint64_t, kPagesPerMessage> entries{};
  std::array<const std::byte*, kPagesPerMessage> data{};
  std::array<FilePage, kFilePagesPerMessage> known{};
  std::uint32_t of_files = 0;
  unsigned count = 0;
  unsigned with_data = 0;
  const auto flush = [&] {
    if (of_files != 0 && !push_file_pages(known.data(), std::exchange(of_files, 0)))
      die(lost_.load() != 0 ? lost_why_ : "the hpcd of its home node has ended");
    if (count != 0 && !push_pages(entries.data(), count, data.data(), with_data))
      die(lost_.load() != 0 ? lost_why_ : "the hpcd of its home node has ended");
    count = with_data = 0;
  };
  for (std::uint64_t at = s.begin; at < s.end; at += kStep * kPageSize) {
    const std::size_t n = std::min<std::uint64_t>(kStep, (s.end - at) / kPageSize);
    pages_present(s.copy + (at - s.begin), std::span(present).first(n));
    for (std::size_t i = 0; i < n; ++i) {
      if (present[i] == 0) continue;
      const std::uint64_t page = at + i * kPageSize;
      bool of_file = false;
      {
        const mem::LockGuard guard(lock_);
        if (directory_.where(page) != Whereabouts::Stash) continue;
        directory_.give(page);
        // A page that is dropped from here on must not be newer than the Drop.
        if (count == 0 && of_files == 0) push_sequence_ = sequence_;
        if (!warm_.has(page) && origins_.find(page, known[of_files])) {
          ++figures_.pages_known;
          ++of_files;
          of_file = true;
        }
      }
      if (of_file) {
        if (of_files == known.size()) flush();
        continue;
      }
      const auto* const content = static_cast<const std::byte*>(pointer(s.copy + (page - s.begin)));
      if (warm_.has(page)) {
        entries[count] = page | kPageSame;
        ++figures_.pages_known;
      } else {
        const bool zero = is_zero_page(content);
        const int slot = zero ? -1 : recent_.find_or_add(content);
        entries[count] = page | (zero ? std::uint64_t{kPageZero} : bulk_flag(slot));
        if (!zero && slot < 0) data[with_data++] = content;
        ++(zero ? figures_.pages_zero : slot >= 0 ? figures_.pages_known : figures_.pages_pushed);
      }
      if (++count == kPagesPerMessage) flush();
    }
  }
  flush();
}

/// Waits until so much more bulk may be on its way, and counts it.  False: nobody is there any more.
bool Home::wait_for_credit(std::size_t bytes) {
  for (;;) {
    const std::uint32_t news = credit_news_.load();
    if (bulk_sent_.load() + bytes <= bulk_credited_.load() + kBulkWindow) break;
    if (!hear(0) || lost_.load() != 0) return false;
    futex_wait(&credit_news_, news, 50'000);
  }
  bulk_sent_.fetch_add(bytes);
  return true;
}

bool Home::push_pages(const std::uint64_t* entries, unsigned count, const std::byte* const* data,
                      unsigned with_data) {
  Pages p{};
  p.head.id = count;
  p.sequence = push_sequence_;
  const std::size_t bytes = sizeof p + count * sizeof *entries + with_data * kPageSize;
  if (!wait_for_credit(bytes)) return false;
  figures_.bytes += bytes;
  return link_.send_pages(channel_, {&p, sizeof p}, {entries, count * sizeof *entries}, data, with_data);
}

}  // namespace hpcvmm::migrate
