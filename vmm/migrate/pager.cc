// The pager: page faults at home, and everything the remote sends.
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <cstring>

#include "vmm/migrate/bytes.hh"
#include "vmm/migrate/home.hh"
#include "vmm/migrate/host.hh"
#include "vmm/migrate/mobile.hh"

namespace hpcvmm::migrate {
namespace {

using wire::local::Consumer;

/// Pages given beside one that was asked for: what lies behind it is likely to be wanted next.
constexpr unsigned kCluster = 8;
constexpr unsigned kNewCluster = 16;

}  // namespace

void* Home::pager_main(void* self) {
  static_cast<Home*>(self)->pager();
  return nullptr;
}

/// What there is to do.  By whoever has the turn.
bool Home::pager_pass() {
  bool busy = false;
  Consumer::View v;
  while (link_.receive(Stream::Urgent, v)) {
    on_record(v, Stream::Urgent);
    link_.pop(Stream::Urgent);
    busy = true;
  }
  // One: somebody may wait for what is urgent.
  if (link_.receive(Stream::Bulk, v)) {
    on_record(v, Stream::Bulk);
    link_.pop(Stream::Bulk);
    busy = true;
  }
  Uffd::Fault f;
  while (uffd_.fd() >= 0 && uffd_.next(f)) {
    on_fault(f);
    busy = true;
  }
  return busy;
}

void Home::pager() {
  answer_soon();
  pager_turn_.lock();
  for (;;) {
    if (pager_pass()) continue;
    const auto phase = static_cast<Phase>(phase_.load());
    if (!deferred_.empty() && phase != Phase::Switch && phase != Phase::Recall) {
      const std::vector<Uffd::Fault> again = std::move(deferred_);
      deferred_.clear();
      for (const Uffd::Fault& d : again) on_fault(d);
      continue;
    }
    if (close_uffd_.load() == 1) {
      uffd_.close();
      close_uffd_.store(0);
      futex_wake(&close_uffd_);
    }
    if (!link_.prepare_sleep()) continue;
    const bool give = has_later_ones();
    pollfd p[4] = {{link_.wake_fd(), POLLIN, 0},
                   {pager_poke_, POLLIN, 0},
                   {uffd_.fd(), POLLIN, 0},
                   {ear_.load() != 0 ? link_.control_fd() : -1, POLLIN, 0}};
    pager_turn_.unlock();
    ::poll(p, 4, give ? 1 : -1);
    pager_turn_.lock();
    if (give) give_later_ones();
    if (p[3].revents != 0) hear_for_mover();
    link_.woken();
    std::uint64_t count = 0;
    if (p[1].revents != 0) static_cast<void>(0 > ::read(pager_poke_, &count, sizeof count));
  }
}

MobileVcpu* Home::find_vcpu(std::uint32_t id) { return engine_.find(id); }

void Home::on_record(const Consumer::View& v, Stream stream) {
  if (v.channel != channel_) return;  // of a move that has failed
  Head head{};
  if (!read_as(head, v.data, v.bytes)) return;
  switch (head.type) {
    case Msg::Ready: {
      Ready r{};
      if (!read_as(r, v.data, v.bytes)) return;
      refused_ = r.code;
      std::memcpy(refused_why_, r.why, sizeof r.why);
      ready_.store(r.code == 0 ? 2 : 3);
      futex_wake(&ready_);
      ring_bell(poke_);
      return;
    }
    case Msg::Ack:
      acked_.store(head.id, std::memory_order_release);
      futex_wake(&acked_, 64);
      if (static_cast<Phase>(phase_.load()) == Phase::Ask) ring_bell(poke_);  // the mover waits
      return;
    case Msg::ClockTell: {
      ClockTell t{};
      if (!read_as(t, v.data, v.bytes) || head.id != clock_asked_.load()) return;
      heard_clocks_ = read_clocks();
      told_clocks_ = t.clocks;
      clock_told_.store(head.id, std::memory_order_release);
      ring_bell(poke_);
      return;
    }
    case Msg::Heard:
      waits_heard_.store(head.id);
      futex_wake(&waits_heard_);
      return;
    case Msg::Wake: {
      Wake w{};
      if (!read_as(w, v.data, v.bytes) || touches_zone(w.address, 4)) return;
      futex_wake(pointer(w.address), static_cast<int>(std::min<std::uint32_t>(w.head.id, INT_MAX)));
      return;
    }
    case Msg::Left: return on_left(v.data, v.bytes);
    case Msg::FileHere: return files_.is_there(head.id);
    case Msg::Reopens: return on_reopens(v.data, v.bytes);
    case Msg::Grown: return on_grown(v.data, v.bytes);
    case Msg::CallData:
      if (MobileVcpu* const vcpu = find_vcpu(head.id)) vcpu->collect(v.data, v.bytes);
      return;
    case Msg::Fp:
      if (MobileVcpu* const vcpu = find_vcpu(head.id))
        vcpu->answered_fp(v.data + sizeof head, static_cast<std::uint32_t>(v.bytes - sizeof head));
      return;
    case Msg::PageWanted: {
      PageAsk ask{};
      if (read_as(ask, v.data, v.bytes)) on_wanted(page_down(ask.address), head.flags, head.id);
      return;
    }
    case Msg::Pages: return on_pages(v.data, v.bytes, stream == Stream::Bulk ? v.bytes : 0);
    case Msg::Leaving: {
      Leaving l{};
      if (!read_as(l, v.data, v.bytes)) return;
      left_stack_.store(l.stack_begin != 0 ? l.stack_begin : ~std::uint64_t{0});
      clock_ahead_ns_.store(most_ahead(l.clocks, read_clocks()));
      drained_.fetch_or(kLeaving);
      futex_wake(&drained_);
      return;
    }
    case Msg::Drained:
      drained_.fetch_or(stream == Stream::Bulk ? kBulkDrained : kUrgentDrained);
      futex_wake(&drained_);
      ring_bell(poke_);
      return;
    case Msg::Used: {
      UsedSoFar u{};
      if (read_as(u, v.data, v.bytes)) on_used(u.cpu_us, u.used);
      return;
    }
    case Msg::Began: {
      Began b{};
      if (read_as(b, v.data, v.bytes) && began_us_.load() == 0) began_us_.store(time_here(b.monotonic));
      return;
    }
    case Msg::Credit: {
      Credit c{};
      if (!read_as(c, v.data, v.bytes)) return;
      bulk_credited_.fetch_add(c.bytes);
      credit_news_.fetch_add(1);
      futex_wake(&credit_news_);
      return;
    }
    default: return;  // of a newer version: nothing depends on it
  }
}

/// When it was here, microseconds, at the latest; it is not later than now.
std::uint64_t Home::time_here(std::int64_t there_ns) const {
  const std::int64_t us = (there_ns + clocks_.offsets().monotonic) / 1000;
  return std::min(now_us(), static_cast<std::uint64_t>(std::max<std::int64_t>(us, 1)));
}

void Home::on_left(const std::byte* data, std::size_t bytes) {
  Left l{};
  if (!read_as(l, data, bytes)) return;
  on_used(l.cpu_us, l.used);
  MobileVcpu* const vcpu = find_vcpu(l.head.id);
  if (vcpu == nullptr) return;
  vcpu->answered(l, data + sizeof l, static_cast<std::uint32_t>(bytes - sizeof l));
}

void Home::on_used(std::uint64_t cpu_us, const CpuTime& used) {
  if (runs_away()) remote_cpu_us_ = cpu_us;
  const CpuTime all = used_.note(used);
  if (host().used_away != nullptr) host().used_away(all);
}

/// In order with the calls: whoever makes one finds them open.
void Home::on_reopens(const std::byte* data, std::size_t bytes) {
  Head head{};
  if (!read_as(head, data, bytes)) return;
  std::size_t at = sizeof head;
  for (std::uint32_t i = 0; i < head.id; ++i) {
    names::Reopen r;
    if (!read_as(r, data + at, bytes - at)) return;
    at += sizeof r;
    if (bytes - at < r.path_bytes) return;
    const std::string path(reinterpret_cast<const char*>(data + at), r.path_bytes);
    at += r.path_bytes;
    if (const char* const why = names_.reopen(r, path.c_str())) die(why);
  }
}

void Home::on_fault(const Uffd::Fault& f) {
  const auto phase = static_cast<Phase>(phase_.load());
  if (phase == Phase::Switch || phase == Phase::Recall) {
    deferred_.push_back(f);
    return;
  }
  if (f.protect) return uffd_.wake(f.page);  // take() was at it; it is missing now
  if (phase == Phase::Home || phase == Phase::Ask) {
    if (uffd_.zero(f.page) != 0) uffd_.wake(f.page);
    return;
  }
  {
    const mem::LockGuard guard(lock_);
    bool zero = false;
    if (phase == Phase::Drain) {
      for (const Range& r : void_) zero = zero || (f.page >= r.begin && f.page < r.end);
    }
    const Whereabouts where = zero ? Whereabouts::Home : directory_.where(f.page);
    if (where == Whereabouts::Stash) {
      keep_locked(f.page);
      return;
    }
    // At home, yet missing: it has never been written.
    if (where == Whereabouts::Home && (zero || phase != Phase::Drain)) {
      if (uffd_.zero(f.page) != 0) uffd_.wake(f.page);
      return;
    }
    if (!pending_.insert(f.page).second) return;
  }
  PageAsk take{{Msg::Take}, f.page};
  send(Stream::Urgent, {{&take, sizeof take}});
}

/// Takes a page back from the stash.  Under lock_: what follows in the urgent stream must follow this.
void Home::keep_locked(std::uint64_t page) {
  const std::uint64_t copy = directory_.give(page);
  directory_.set_home(page);
  const PageAsk kept{{Msg::Kept}, page};
  send(Stream::Urgent, {{&kept, sizeof kept}});
  if (uffd_.copy(page, pointer(copy)) != 0) uffd_.wake(page);
}

void Home::send_page(std::uint64_t page, std::uint64_t flag, const std::byte* data, std::uint32_t ask) {
  Pages p{};
  p.head.id = 1;
  p.sequence = ask;
  if (flag == kPageData && is_zero_page(data)) flag = kPageZero;
  const std::uint64_t entry = page | flag;
  ++(flag == kPageData   ? figures_.pages_faulted
     : flag == kPageSame ? figures_.pages_known
                         : figures_.pages_zero);
  send(Stream::Urgent,
       {{&p, sizeof p}, {&entry, sizeof entry}, {data, flag == kPageData ? kPageSize : std::uint64_t{0}}});
}

void Home::on_wanted(std::uint64_t page, std::uint16_t flags, std::uint32_t ask) {
  if ((flags & kWantedShared) != 0) {
    const std::uint64_t begin = page - std::min<std::uint64_t>(page, wanted_before(flags) * kPageSize);
    send_shared(page, begin, page + (wanted_after(flags) + 1) * kPageSize, ask);
    return;
  }
  const mem::LockGuard guard(lock_);
  give_locked(page, ask);
}

/// `page`, and what else of [begin, end) can be read: of one mapping, which stays as it is until this has
/// been sent (a change is told to the remote first, and its Ack comes behind its questions).
void Home::send_shared(std::uint64_t page, std::uint64_t begin, std::uint64_t end, std::uint32_t ask) {
  alignas(64) static thread_local std::array<std::byte, kPagesPerMessage * kPageSize> buffer;
  std::array<std::uint64_t, kPagesPerMessage> entries{};
  // Not whole behind the end of a file, and not at all where the guest has taken the right to read.
  std::size_t count = read_pages(begin, std::min((end - begin) / kPageSize, entries.size()), buffer.data());
  if (begin + count * kPageSize <= page) {
    if (!read_page(page, buffer.data())) return send_page(page, kPageNone, nullptr, ask);
    begin = page;
    count = 1;
  }
  for (std::size_t i = 0; i < count; ++i) entries[i] = (begin + i * kPageSize) | kPageData;
  Pages p{};
  p.head.id = static_cast<std::uint32_t>(count);
  figures_.pages_faulted += count;
  send(Stream::Urgent,
       {{&p, sizeof p}, {entries.data(), count * sizeof entries[0]}, {buffer.data(), count * kPageSize}});
}

/// True if the remote waits for pages that have come here meanwhile.
bool Home::has_later_ones() {
  const mem::LockGuard guard(lock_);
  return std::any_of(wanted_later_.begin(), wanted_later_.end(),
                     [this](const auto& w) { return !pending_.contains(w.first); });
}

/// A thread here has waited for each: it has had a moment to use it.
void Home::give_later_ones() {
  const mem::LockGuard guard(lock_);
  for (auto it = wanted_later_.begin(); it != wanted_later_.end();) {
    if (pending_.contains(it->first)) {
      ++it;
      continue;
    }
    const auto [page, ask] = *it;
    it = wanted_later_.erase(it);
    give_locked(page, ask);
  }
}

/// Under lock_.
void Home::give_locked(std::uint64_t page, std::uint32_t ask) {
  alignas(64) static thread_local std::array<std::byte, kPageSize> buffer;
  // Once it has been told to leave, the remote may have sent what lies around there: it must not own more.
  const auto phase = static_cast<Phase>(phase_.load());
  if (phase != Phase::Fill && phase != Phase::Away) return;
  switch (directory_.where(page)) {
    case Whereabouts::Stash:
      for (unsigned i = 0; i < kCluster; ++i) {
        const std::uint64_t next = page + i * kPageSize;
        if (directory_.where(next) != Whereabouts::Stash) break;
        const std::uint64_t copy = directory_.give(next);
        const bool present = page_present(copy);
        FilePage of_file;
        if (present && !warm_.has(next) && origins_.find(next, of_file)) {
          ++figures_.pages_known;
          send_file_pages(Stream::Urgent, &of_file, 1);
        } else if (present && warm_.has(next)) {
          send_page(next, kPageSame, nullptr);
        } else if (i == 0 || present) {
          send_page(next, kPageData, static_cast<const std::byte*>(pointer(copy)));
        } else {
          send_page(next, kPageZero, nullptr);
        }
      }
      return;
    case Whereabouts::Home:
      // Of a mapping that is new its neighbours, too: a loader goes over all of them.
      for (unsigned i = 0; i < kNewCluster; ++i) {
        const std::uint64_t next = page + i * kPageSize;
        if (i != 0 && (!fresh_home_.has(next) || !directory_.at_home(next))) break;
        directory_.set_away(next);
        if (uffd_.take(next, buffer.data()))
          send_page(next, kPageData, buffer.data());
        else
          send_page(next, kPageZero, nullptr);
        if (!fresh_home_.has(next)) break;
        fresh_home_.clear(next, next + kPageSize);
        // The mapping behind it may not have been made there yet.
        if (fresh_last_.has(next)) break;
      }
      return;
    case Whereabouts::OnItsWay: return;
    case Whereabouts::Away:
      // Asked for by both: it is home's turn, and only then known whether there is such a page.
      if (pending_.contains(page))
        wanted_later_[page] = ask;
      else
        send_page(page, kPageNone, nullptr, ask);
      return;
  }
}

void Home::on_pages(const std::byte* data, std::size_t bytes, std::uint64_t credit) {
  figures_.bytes += bytes;
  for_each_run(data, bytes, credit != 0 ? &recent_in_ : nullptr,
               [this](const PageRun& run, std::uint64_t) { install(run); });
  if (credit == 0) return;
  bulk_eaten_ += credit;
  if (bulk_eaten_ < kBulkWindow / 4) return;
  const Credit c{{Msg::Credit}, bulk_eaten_};
  bulk_eaten_ = 0;
  send(Stream::Urgent, {{&c, sizeof c}});
}

void Home::install(const PageRun& run) {
  if (run.flag == kPageOnItsWay) return;  // the fault goes on waiting for it
  {
    const mem::LockGuard guard(lock_);
    for_each_page(
        run, [this](const PageRun& r) { return install_plain_locked(r); },
        [this](std::uint64_t page, std::uint64_t flag, const std::byte* data) {
          install_locked(page, flag, data);
        });
  }
  pending_news_.fetch_add(1);
  futex_wake(&pending_news_, 8);
}

/// Pages with data of which nothing has to be known, in one call.  Returns how many have been installed.
unsigned Home::install_plain_locked(const PageRun& run) {
  if (run.flag != kPageData || !void_.empty() || !wanted_later_.empty()) return 0;
  // As below: home has a page before anybody can see it here.
  for (unsigned i = 0; i < run.count; ++i) directory_.set_home(run.page + i * kPageSize);
  const unsigned done = uffd_.copy(run.page, run.content, run.count);
  for (unsigned i = 0; i < done && !pending_.empty(); ++i) pending_.erase(run.page + i * kPageSize);
  figures_.pages_pushed += done;
  return done;
}

void Home::install_locked(std::uint64_t page, std::uint64_t flag, const std::byte* data) {
  pending_.erase(page);
  bool wanted = true;
  for (const Range& r : void_) wanted = wanted && !(page >= r.begin && page < r.end);
  int rc = 0;
  if (wanted) {
    directory_.set_home(page);
    rc = flag == kPageData ? uffd_.copy(page, data) : uffd_.zero(page);
    ++(flag == kPageData ? figures_.pages_pushed : figures_.pages_zero);
  }
  if (!wanted || rc != 0) uffd_.wake(page);
  // The pager sees to it: whoever is here may be a guest's thread in its place.
  if (wanted_later_.contains(page)) ring_bell(pager_poke_);
}

}  // namespace hpcvmm::migrate
