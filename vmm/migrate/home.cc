#include "vmm/migrate/home.hh"
#include "vmm/migrate/bytes.hh"

#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "hpcvmm/abi/vdso.h"
#include "vmm/mem/arena.hh"
#include "vmm/mem/user_copy.hh"
#include "vmm/migrate/host.hh"
#include "vmm/migrate/mobile.hh"

namespace hpcvmm::migrate {
namespace {

char g_kick_mark;  // NOLINT: its address tells our kicks from a guest's own signals

}  // namespace

const char* phase_name(Phase p) {
  switch (p) {
    case Phase::Home: return "home";
    case Phase::Ask: return "ask";
    case Phase::Switch: return "switch";
    case Phase::Fill: return "fill";
    case Phase::Away: return "away";
    case Phase::Recall: return "recall";
    case Phase::Drain: return "drain";
  }
  return "?";
}

void send_kick(int process, int thread) {
  siginfo_t info{};
  info.si_signo = kKickSignal;
  info.si_code = SI_QUEUE;
  info.si_value.sival_ptr = &g_kick_mark;
  ::syscall(SYS_rt_tgsigqueueinfo, process, thread, kKickSignal, &info);
}

bool is_kick(int signo, const siginfo_t& info) {
  return signo == kKickSignal && info.si_code == SI_QUEUE && info.si_value.sival_ptr == &g_kick_mark;
}

bool Home::send(Stream stream, std::initializer_list<Part> parts) {
  for (const Part& p : parts) figures_.bytes += p.bytes;
  return link_.send(channel_, stream, parts);
}

void Home::ring_bell(int fd) {
  const std::uint64_t one = 1;
  if (fd >= 0) static_cast<void>(0 > ::write(fd, &one, sizeof one));
}

void Home::die(const char* why) {
  host().say("hpc-vmm: pid %d: %s; ending it\n", static_cast<int>(::getpid()), why);
  ::kill(::getpid(), SIGKILL);
  for (;;) ::pause();
}

void Home::die_if_lost() {
  if (lost_.load() != 0) die(lost_why_);
}

void Home::end_vcpu(std::uint32_t id) {
  static_cast<void>(id);  // the remote's thread of this vCPU waits until the process ends or comes back
}

void Home::park() {
  while (stopping()) futex_wait(&stop_, 1);
}

// --- waiting here while the process is away
//
// A private futex's waiters and wakers must meet in one kernel.  The remote's threads wait and wake on their
// node; a thread that waits here (its call was forwarded, or began before the move) is announced, and heard
// of, before it looks at the futex word: whoever changes the word afterwards knows to wake here too.

void Home::tell_waits_locked(bool answer) {
  Waits w{};
  w.head.id = answer ? ++waits_told_ : 0;
  w.count = waits_;
  send(Stream::Urgent, {{&w, sizeof w}});
}

void Home::wait_begins() {
  const mem::LockGuard guard(waits_lock_);
  if (++waits_ != 1 || !runs_away_.load(std::memory_order_seq_cst)) return;
  tell_waits_locked(true);
  for (;;) {
    const std::uint32_t heard = waits_heard_.load();
    if (heard == waits_told_ || !runs_away_.load(std::memory_order_seq_cst)) return;
    die_if_lost();
    futex_wait(&waits_heard_, heard, 20'000);
  }
}

void Home::wait_ends() {
  const mem::LockGuard guard(waits_lock_);
  if (--waits_ == 0 && runs_away_.load(std::memory_order_seq_cst)) tell_waits_locked(false);
}

// --- mappings

/// Where the file behind a mapping ends in it: pages behind that can only be faulted on.
std::uint64_t Home::end_of_file(std::uint64_t begin, const mem::Vma& v) {
  if ((v.prot & PROT_READ) == 0 || touch(v.end - kPageSize)) return v.end;
  std::uint64_t good = begin;  // everything below is there
  for (std::uint64_t end = v.end; good < end;) {
    const std::uint64_t middle = page_down(good + (end - good) / 2);
    if (touch(middle)) {
      good = middle + kPageSize;
    } else {
      end = middle;
    }
  }
  return good;
}

/// What the remote has to know of a mapping; file pages are told up to where the file ends now.
void Home::describe(std::uint64_t begin, const mem::Vma& v, std::vector<MapEntry>& out) {
  const auto add = [&](std::uint64_t from, std::uint64_t to, std::uint32_t prot, PageKind kind) {
    if (from < to)
      out.push_back({from, to, prot, kind, static_cast<std::uint8_t>(v.grows_down ? 1 : 0), 0, 0});
  };
  if (v.shared && !v.steady) return describe_shared(begin, v, out);
  if (v.file && !takes_along(v)) {
    const std::uint64_t end = end_of_file(begin, v);
    describe_file(begin, end, v.prot, out);
    // Beyond the end of the file: every touch comes home, which knows how long the file is then.
    add(end, v.end, 0, PageKind::Shared);
    return;
  }
  // Names its file to the remote, which will get pages of it.
  if (v.file) static_cast<void>(files_.at(begin));
  const std::uint64_t table = who_.vdso_table;
  if (table != 0 && begin <= table && table < v.end) {
    add(begin, table, v.prot, PageKind::Held);
    add(table, table + HPCVMM_VDSO_TABLE_BYTES, PROT_READ, PageKind::Table);
    add(table + HPCVMM_VDSO_TABLE_BYTES, v.end, v.prot, PageKind::Held);
    return;
  }
  add(begin, v.end, v.prot, PageKind::Held);
}

void Home::send_maps(const std::vector<MapEntry>& entries) {
  send_files();
  for (std::size_t at = 0; at < entries.size(); at += kMapsPerMessage) {
    const std::size_t n = std::min<std::size_t>(kMapsPerMessage, entries.size() - at);
    Maps m{};
    m.head.id = static_cast<std::uint32_t>(n);
    send(Stream::Urgent, {{&m, sizeof m}, {&entries[at], n * sizeof entries[0]}});
  }
}

// userfaultfd takes no private file mapping, so one that can be written becomes anonymous memory of the same
// content.
void Home::make_anonymous(std::uint64_t begin, std::uint64_t end, std::uint32_t prot,
                          std::uint64_t file_end) {
  const std::uint64_t bytes = file_end > begin ? file_end - begin : 0;
  void* const copy = bytes != 0 ? mem::arena_map(bytes) : nullptr;
  if (bytes != 0 && (copy == nullptr || !mem::copy_in(copy, begin, bytes)))
    die("no memory to take a file mapping along");
  engine_.unmap(begin, end);
  void* const at = ::mmap(pointer(begin), end - begin, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
  if (at == MAP_FAILED || (bytes != 0 && !mem::copy_out(begin, copy, bytes)))
    die("no memory to take a file mapping along");
  ::mprotect(at, end - begin, static_cast<int>(prot));
  if (copy != nullptr) mem::arena_unmap(copy, bytes);
  mm_->made_anonymous_locked(begin, end, prot);
}

// --- mem::PagesAway, on a task's thread under the mm lock

void Home::wait_ack(std::uint32_t id) {
  for (;;) {
    const std::uint32_t seen = acked_.load(std::memory_order_acquire);
    if (static_cast<std::int32_t>(seen - id) >= 0) return;
    die_if_lost();
    futex_wait(&acked_, seen, 100'000);
  }
}

/// Whether nothing of [begin, end) can be on its way while the calling thread is here: the only one that runs
/// guest code is here with its call, nobody waits for one of these pages, and none is shared with others.
/// Then what it hears next, Run above all, comes behind a change of the mapping, and no answer need be waited
/// for.  Under the mm lock and lock_.
bool Home::is_quiet_locked(std::uint64_t begin, std::uint64_t end) const {
  if (engine_.vcpus().size() != 1 || engine_.vcpus().front()->runs_away_now()) return false;
  const auto inside = [&](std::uint64_t p) { return p >= begin && p < end; };
  if (std::any_of(pending_.begin(), pending_.end(), inside)) return false;
  if (std::any_of(wanted_later_.begin(), wanted_later_.end(), [&](const auto& w) { return inside(w.first); }))
    return false;
  const auto& vmas = mm_->vmas_locked();
  auto first = vmas.above(begin);
  if (first != vmas.begin()) --first;
  return std::none_of(first, vmas.above(end - 1),
                      [begin](const auto& v) { return v.second.shared && v.second.end > begin; });
}

void Home::dropping(std::uint64_t begin, std::uint64_t end, bool content_only) {
  keep_clear_of(begin, end);
  Drop d{};
  bool quiet = false;
  {
    const mem::LockGuard guard(lock_);
    directory_.forget(begin, end);
    fresh_home_.clear(begin, end);
    fresh_last_.clear(begin, end);
    if (!runs_away()) {
      void_.push_back({begin, end});
      return;
    }
    quiet = is_quiet_locked(begin, end);
    d.sequence = ++sequence_;
  }
  d.head.id = quiet ? kNoAck : ++next_ack_;
  d.head.flags = content_only ? kDropContent : 0;
  d.begin = begin;
  d.end = end;
  send(Stream::Urgent, {{&d, sizeof d}});
  if (quiet) return;
  wait_ack(d.head.id);
  // Answers that were on their way have come; what was only promised never will.
  const mem::LockGuard guard(lock_);
  directory_.forget(begin, end);
  std::erase_if(wanted_later_, [&](const auto& w) { return w.first >= begin && w.first < end; });
  std::erase_if(pending_, [&](std::uint64_t p) {
    if (p < begin || p >= end) return false;
    uffd_.wake(p);
    return true;
  });
  pending_news_.fetch_add(1);
  futex_wake(&pending_news_, 8);
}

void Home::mapped(std::uint64_t begin, mem::Vma& v) {
  if (!runs_away() || (v.shared && !v.steady)) return;
  std::vector<MapEntry> entries;
  if (takes_along(v)) {
    const std::uint64_t end = v.end;
    make_anonymous(begin, end, v.prot, end_of_file(begin, v));
    v.file = false;
    describe(begin, v, entries);
    for (MapEntry& e : entries) e.kind = PageKind::AtHome;
    const mem::LockGuard guard(lock_);
    for (std::uint64_t p = begin; p < end; p += kPageSize) {
      directory_.set_home(p);
      fresh_home_.set(p);
    }
    fresh_last_.set(end - kPageSize);
  } else {
    describe(begin, v, entries);
    for (MapEntry& e : entries)
      if (e.kind == PageKind::Held) e.kind = PageKind::Fresh;
  }
  if (!v.file)
    if (auto ok = uffd_.watch(begin, v.end); !ok) die("userfaultfd refuses a new mapping");
  send_maps(entries);
}

void Home::protecting(std::uint64_t begin, std::uint64_t end, std::uint32_t prot) {
  keep_clear_of(begin, end);
  if (!runs_away()) return;
  std::vector<std::pair<std::uint64_t, mem::Vma>> files;
  if ((prot & PROT_WRITE) != 0)
    for (const auto& [from, v] : mm_->vmas_locked())
      if (v.file && !v.shared && from < end && v.end > begin) files.emplace_back(from, v);
  for (auto& [from, v] : files) {
    dropping(from, v.end, false);
    mem::Vma writable = v;
    writable.prot |= PROT_WRITE;
    mapped(from, writable);
  }
  Protect p{};
  bool quiet = false;
  {
    const mem::LockGuard guard(lock_);
    quiet = is_quiet_locked(begin, end);
  }
  p.head.id = quiet ? kNoAck : ++next_ack_;
  p.begin = begin;
  p.end = end;
  p.prot = prot;
  send(Stream::Urgent, {{&p, sizeof p}});
  if (!quiet) wait_ack(p.head.id);
}

void Home::fetch(std::uint64_t begin, std::uint64_t end) {
  constexpr std::uint64_t kBatch = 128 * kPageSize;  // what the rings hold beside everything else
  if (!runs_away() || begin >= end || end > kTaskSize64 || touches_zone(begin, end - begin)) return;
  const mem::LockGuard guard(mm_->lock());
  for (const auto& [from, v] : mm_->vmas_locked()) {
    if (v.file || v.shared) continue;
    const std::uint64_t last = std::min(v.end, end);
    for (std::uint64_t at = std::max(from, page_down(begin)); at < last; at += kBatch) {
      if (!runs_away()) return;
      bring_locked(at, std::min(at + kBatch, page_down(last + kPageSize - 1)));
    }
  }
}

/// Under the mm lock.
void Home::bring_locked(std::uint64_t begin, std::uint64_t end) {
  std::vector<std::uint8_t> here((end - begin) / kPageSize);
  pages_present(begin, here);
  for (std::size_t i = 0; i < here.size(); ++i) {
    const std::uint64_t page = begin + i * kPageSize;
    if (here[i] != 0) continue;
    bool ask = false;
    {
      const mem::LockGuard guard(lock_);
      switch (directory_.where(page)) {
        case Whereabouts::Stash: keep_locked(page); break;
        case Whereabouts::Home: break;
        case Whereabouts::OnItsWay:
        case Whereabouts::Away: ask = pending_.insert(page).second;
      }
    }
    if (!ask) continue;
    PageAsk take{{Msg::Take}, page};
    send(Stream::Urgent, {{&take, sizeof take}});
  }
  const auto waits = [&] {
    const mem::LockGuard guard(lock_);
    return std::any_of(pending_.begin(), pending_.end(),
                       [&](std::uint64_t p) { return p >= begin && p < end; });
  };
  for (;;) {
    const std::uint32_t news = pending_news_.load();
    if (!waits()) break;
    die_if_lost();
    futex_wait(&pending_news_, news, 100'000);
  }
}

void Home::gathering(std::uint64_t begin, std::uint64_t end) {
  bring_locked(begin, end);
  if (runs_away()) dropping(begin, end, false);
}

void Home::gathered(std::uint64_t to, std::uint64_t bytes, const mem::Vma& v) {
  if (!runs_away()) return;
  std::vector<MapEntry> entries;
  mem::Vma there = v;
  there.end = to + bytes;
  describe(to, there, entries);
  for (MapEntry& e : entries)
    if (e.kind == PageKind::Held) e.kind = PageKind::AtHome;
  {
    const mem::LockGuard guard(lock_);
    if (!v.file)
      for (std::uint64_t p = to; p < to + bytes; p += kPageSize) directory_.set_home(p);
  }
  if (!v.file)
    if (auto ok = uffd_.watch(to, to + bytes); !ok) die("userfaultfd refuses a moved mapping");
  send_maps(entries);
}

}  // namespace hpcvmm::migrate
