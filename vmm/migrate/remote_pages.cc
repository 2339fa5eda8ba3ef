// A remote's memory: mappings as home makes them, pages as they come and go.
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "hpcvmm/abi/vdso.h"
#include "vmm/engine/kvm/machine.hh"
#include "vmm/mem/arena.hh"
#include "vmm/mem/host_maps.hh"
#include "vmm/mem/user_copy.hh"
#include "vmm/migrate/bytes.hh"
#include "vmm/migrate/host.hh"
#include "vmm/migrate/remote_impl.hh"
#include "vmm/migrate/trial.hh"

namespace hpcvmm::migrate {
namespace {

[[noreturn]] void give_up(const char* why) {
  host().say("hpc-vmm remote: %s\n", why);
  ::_exit(1);
}

bool sane(std::uint64_t begin, std::uint64_t end) {
  return begin % kPageSize == 0 && end % kPageSize == 0 && begin < end && end <= kTaskSize64 &&
         !touches_zone(begin, end - begin);
}

}  // namespace

// --- which page is of which kind; under lock_

std::map<std::uint64_t, Remote::Range>::iterator Remote::find(std::uint64_t page) {
  auto it = ranges_.upper_bound(page);
  if (it == ranges_.begin()) return ranges_.end();
  --it;
  return page < it->second.end ? it : ranges_.end();
}

void Remote::split(std::uint64_t at) {
  const auto it = find(at);
  if (it == ranges_.end() || it->first == at) return;
  Range upper = it->second;
  it->second.end = at;
  ranges_[at] = upper;
}

void Remote::erase_range(std::uint64_t begin, std::uint64_t end) {
  split(begin);
  split(end);
  ranges_.erase(ranges_.lower_bound(begin), ranges_.lower_bound(end));
}

void Remote::set_range(std::uint64_t begin, const Range& r) {
  erase_range(begin, r.end);
  ranges_[begin] = r;
}

// --- mappings

/// The page is writable, and is not afterwards.
void Remote::fill_vdso_table(std::uint64_t at) {
  alignas(8) std::array<char, HPCVMM_VDSO_TABLE_BYTES> page{};
  if (vdso.range_begin != 0 && at >> 32 != 0) {
    vdso.fill_table(page.data(), vdso_begin() - vdso.range_begin, clocks_);
  } else {
    vdso::fill_empty_table(page.data());
  }
  static_cast<void>(mem::copy_out(at, page.data(), page.size()));
  static_cast<void>(mm_->protect(at, page.size(), PROT_READ));
}

void Remote::make_map(const MapEntry& e) {
  const auto prot = static_cast<int>(e.prot & (PROT_READ | PROT_WRITE | PROT_EXEC));
  const bool table = e.kind == PageKind::Table;
  const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE |
                    (e.grows_down != 0 ? MAP_GROWSDOWN | MAP_STACK : 0);
  const sys::SysRet at =
      mm_->map(Abi::X64, e.begin, e.end - e.begin, table ? PROT_READ | PROT_WRITE : prot, flags, -1, 0);
  if (at.is_error()) give_up("no memory for a mapping");
  if (table) {
    return fill_vdso_table(e.begin);
  }
  if (e.kind == PageKind::Coherent) {
    if (!map_coherent(e)) give_up("shared memory cannot be mapped");
    const mem::LockGuard guard(lock_);
    return set_range(e.begin, {e.end, e.kind, false, false});
  }
  std::uint64_t watched = e.begin;
  if (e.file != 0 && e.kind == PageKind::Shared && !map_file(e, watched)) give_up("no memory for a mapping");
  const bool watch = e.kind != PageKind::Fresh || e.grows_down != 0;
  if (watch && watched < e.end)
    if (auto ok = uffd_.watch(watched, e.end); !ok) give_up("userfaultfd refuses a mapping");
  const mem::LockGuard guard(lock_);
  set_range(e.begin, {e.end, e.kind, e.grows_down != 0, watch});
}

void Remote::on_maps(const std::byte* data, std::size_t bytes) {
  Maps m{};
  if (!read_as(m, data, bytes) || mm_ == nullptr) return;
  if (m.head.id > kMapsPerMessage || bytes < sizeof m + m.head.id * sizeof(MapEntry))
    give_up("a damaged message");
  for (std::uint32_t i = 0; i < m.head.id; ++i) {
    MapEntry e{};
    std::memcpy(&e, data + sizeof m + i * sizeof e, sizeof e);
    if (!sane(e.begin, e.end)) give_up("a damaged message");
    make_map(e);
  }
}

void Remote::acknowledge(std::uint32_t id) {
  const Head ack{Msg::Ack, 0, id};
  if (id != kNoAck) send(Stream::Urgent, {{&ack, sizeof ack}});
}

void Remote::on_drop(const Drop& d) {
  if (mm_ == nullptr || d.begin % kPageSize != 0 || d.end < d.begin) return;
  const bool content_only = (d.head.flags & kDropContent) != 0;
  {
    const mem::LockGuard guard(lock_);
    if (content_only) {
      split(d.begin);
      split(d.end);
      for (auto it = ranges_.lower_bound(d.begin); it != ranges_.end() && it->first < d.end; ++it)
        if (it->second.kind == PageKind::Held || it->second.kind == PageKind::AtHome)
          it->second.kind = PageKind::Fresh;
    } else {
      erase_range(d.begin, d.end);
    }
    if (!push_done_) void_.push_back({d.begin, d.end, d.sequence});
    const auto inside = [&](std::uint64_t p) { return p >= d.begin && p < d.end; };
    std::erase_if(taken_, inside);
    std::erase_if(promised_, inside);
    for (auto it = pending_.begin(); it != pending_.end();) {
      if (!inside(it->first)) {
        ++it;
        continue;
      }
      uffd_.wake(it->first);
      it = pending_.erase(it);
    }
  }
  if (content_only) {
    static_cast<void>(mm_->advise(d.begin, d.end - d.begin, MADV_DONTNEED));
  } else if (d.end > d.begin) {
    unmap_coherent(d.begin, d.end);
    static_cast<void>(mm_->unmap(d.begin, d.end - d.begin));
  }
  acknowledge(d.head.id);
}

void Remote::on_protect(const Protect& p) {
  if (mm_ == nullptr || p.end < p.begin) return;
  static_cast<void>(mm_->protect(p.begin, p.end - p.begin, static_cast<int>(p.prot)));
  acknowledge(p.head.id);
}

// --- pages

void Remote::send_page(std::uint64_t page, std::uint64_t flag, const std::byte* data) {
  Pages p{};
  p.head.id = 1;
  if (flag == kPageData && is_zero_page(data)) flag = kPageZero;
  const std::uint64_t entry = page | flag;
  send(Stream::Urgent,
       {{&p, sizeof p}, {&entry, sizeof entry}, {data, flag == kPageData ? kPageSize : std::uint64_t{0}}});
}

/// Before home takes a page: from then on a touch of it has to be seen.
void Remote::watch_locked(std::uint64_t page) {
  const auto range = find(page);
  if (range == ranges_.end() || range->second.watched || range->second.kind == PageKind::Coherent) return;
  if (auto ok = uffd_.watch(range->first, range->second.end); !ok) give_up("userfaultfd refuses a mapping");
  range->second.watched = true;
}

/// Once everything has arrived, what is absent of a mapping is zero unless home has taken it.  Where home has
/// taken nothing the kernel makes such pages itself: a first touch costs 1 us then, and otherwise two changes
/// of threads.
void Remote::unwatch_locked() {
  std::vector<std::uint64_t> taken(taken_.begin(), taken_.end());
  std::sort(taken.begin(), taken.end());
  for (auto& [begin, r] : ranges_) {
    if (r.kind != PageKind::Held || !r.watched || r.grows_down) continue;
    const auto first = std::lower_bound(taken.begin(), taken.end(), begin);
    if (first != taken.end() && *first < r.end) continue;
    uffd_.unwatch(begin, r.end);
    r.watched = false;
  }
}

/// A page that has never been written.  Under lock_.
void Remote::make_zero(std::uint64_t page, bool write) {
  alignas(kPageSize) static constexpr std::array<std::byte, kPageSize> kZeros{};
  // The zero page would have to be replaced at once.
  if ((write ? uffd_.copy(page, kZeros.data()) : uffd_.zero(page)) != 0) uffd_.wake(page);
}

void Remote::on_take(std::uint64_t page) {
  alignas(64) thread_local std::array<std::byte, kPageSize> buffer;
  const mem::LockGuard guard(lock_);
  if (leaving_ && page < drain_cursor_)
    return send_page(page, page_present(page) ? kPageOnItsWay : kPageNone, nullptr);
  watch_locked(page);
  if (uffd_.take(page, buffer.data())) {
    taken_.insert(page);
    return send_page(page, kPageData, buffer.data());
  }
  const auto range = find(page);
  const bool on_its_way =
      range != ranges_.end() && range->second.kind == PageKind::Held && !push_done_ && !taken_.contains(page);
  if (on_its_way) {
    promised_.insert(page);
    return;
  }
  taken_.insert(page);
  send_page(page, kPageNone, nullptr);
}

void Remote::on_pages(const std::byte* data, std::size_t bytes, bool bulk) {
  for_each_run(data, bytes, bulk ? &recent_ : nullptr,
               [this, bulk](const PageRun& run, std::uint64_t sequence) { install(run, sequence, bulk); });
  if (bulk) count_bulk(bytes);
}

void Remote::count_bulk(std::size_t bytes) {
  bulk_eaten_ += bytes;
  if (bulk_eaten_ < kBulkWindow / 4) return;
  const Credit c{{Msg::Credit}, bulk_eaten_};
  bulk_eaten_ = 0;
  send(Stream::Urgent, {{&c, sizeof c}});
}

/// Before the switch: nothing runs here yet.
void Remote::put_aside(std::uint64_t page, std::map<std::uint64_t, Range>::iterator range,
                       const std::byte* data) {
  if (range == ranges_.end()) return;
  if (range->second.kind == PageKind::Shared) {
    static_cast<void>(uffd_.copy(page, data));
  } else if (!attic_.put(page, data)) {
    give_up("no memory for pages that come before the process");
  }
}

void Remote::install(const PageRun& run, std::uint64_t sequence, bool bulk) {
  const mem::LockGuard guard(lock_);
  for_each_page(
      run, [this](const PageRun& r) { return install_plain_locked(r); },
      [&](std::uint64_t page, std::uint64_t flag, const std::byte* data) {
        install_locked(page, flag, data, sequence, bulk);
      });
}

/// Pages with data of which nothing has to be known, in one call.  Returns how many have been installed.
unsigned Remote::install_plain_locked(const PageRun& run) {
  if (run.flag != kPageData || !void_.empty() || !promised_.empty()) return 0;
  const unsigned done = uffd_.copy(run.page, run.content, run.count);
  for (unsigned i = 0; i < done; ++i) {
    if (!pending_.empty()) pending_.erase(run.page + i * kPageSize);
    if (!taken_.empty()) taken_.erase(run.page + i * kPageSize);
  }
  return done;
}

void Remote::install_locked(std::uint64_t page, std::uint64_t flag, const std::byte* data,
                            std::uint64_t sequence, bool bulk) {
  if (bulk)
    for (const Void& v : void_)
      if (page >= v.begin && page < v.end && sequence < v.sequence) return;
  const auto range = find(page);
  if (flag == kPageWarm) return put_aside(page, range, data);
  if (flag == kPageSame) {
    data = attic_.find(page);
    if (data == nullptr) give_up("home counts on a page that has not been sent");
    flag = kPageData;
  }
  if (flag == kPageNone) {
    // The page may have come, and gone home again, since that was said.
    const auto asked = pending_.find(page);
    if (asked == pending_.end() || asked->second != sequence) return;
    // Home has no such page any more; until the push is done it may still be on its way here.
    if (!push_done_ && range != ranges_.end() && range->second.kind == PageKind::Held) return;
  }
  pending_.erase(page);
  if (promised_.erase(page) != 0) {
    taken_.insert(page);
    uffd_.wake(page);
    return send_page(page, flag, data);
  }
  if (flag == kPageNone && range != ranges_.end() && range->second.kind == PageKind::Shared)
    give_up("a file that the program has mapped got shorter while it was away");
  taken_.erase(page);
  const int rc = flag == kPageData ? uffd_.copy(page, data) : uffd_.zero(page);
  if (rc != 0) uffd_.wake(page);
}

/// Every page has arrived: what is waited for and not at home has never been written.
void Remote::push_has_ended() {
  const mem::LockGuard guard(lock_);
  push_done_ = true;
  attic_.clear();
  recent_.clear();
  void_.clear();
  // What home wants as soon as it arrives, and has not: it has never been written, so home may have it.
  for (const std::uint64_t page : promised_) {
    pending_.erase(page);
    taken_.insert(page);
    uffd_.wake(page);
    send_page(page, kPageNone, nullptr);
  }
  promised_.clear();
  for (auto it = pending_.begin(); it != pending_.end();) {
    const std::uint64_t page = it->first;
    const auto range = find(page);
    if (range == ranges_.end() || range->second.kind != PageKind::Held || taken_.contains(page)) {
      ++it;
      continue;
    }
    make_zero(page, false);
    it = pending_.erase(it);
  }
  unwatch_locked();
}

bool Remote::owns(std::uint64_t page) {
  const mem::LockGuard guard(lock_);
  const auto range = find(page);
  if (range == ranges_.end() || taken_.contains(page)) return false;
  return range->second.kind == PageKind::Fresh || (range->second.kind == PageKind::Held && push_done_);
}

namespace {
/// A file's pages are read in blocks, as the kernel does it (fault-around): one question, not sixteen.
std::uint16_t window(std::uint64_t page, std::uint64_t begin, std::uint64_t end) {
  constexpr std::uint64_t kBlock = kPagesPerMessage * kPageSize;
  const std::uint64_t from = std::max(begin, page / kBlock * kBlock);
  const std::uint64_t to = std::min(end, (page / kBlock + 1) * kBlock);
  return wanted_shared(static_cast<unsigned>((page - from) / kPageSize),
                       static_cast<unsigned>((to - page) / kPageSize - 1));
}
}  // namespace

void Remote::on_fault(const Uffd::Fault& f) {
  PageAsk ask{{Msg::PageWanted}, f.page};
  {
    const mem::LockGuard guard(lock_);
    if (f.protect) return uffd_.wake(f.page);
    auto range = find(f.page);
    if (range == ranges_.end()) {
      // A stack that the host has extended?
      const auto above = ranges_.upper_bound(f.page);
      if (above == ranges_.end() || !above->second.grows_down) return uffd_.wake(f.page);
      set_range(f.page, {above->first, PageKind::Fresh, true, true});
      above->second.grows_down = false;
      range = find(f.page);
    }
    const Range& r = range->second;
    const bool taken = taken_.contains(f.page);
    const bool ours = r.kind == PageKind::Fresh || (r.kind == PageKind::Held && push_done_);
    if (ours && !taken) return make_zero(f.page, f.write);
    if (pending_.contains(f.page)) return;
    pending_[f.page] = ask.head.id = ++last_ask_;
    if (r.kind == PageKind::Shared) ask.head.flags = window(f.page, range->first, r.end);
  }
  send(Stream::Urgent, {{&ask, sizeof ask}});
}

// --- going home

void Remote::on_leave() {
  trial::hold("remote-leave");
  names_.flush();
  Leaving l{};
  l.stack_begin = ~std::uint64_t{0};
  {
    const mem::LockGuard guard(lock_);
    leaving_ = true;
    for (const auto& [begin, r] : ranges_)
      if (r.grows_down) l.stack_begin = mem::host_mapping_begin(r.end - kPageSize);
  }
  l.clocks = read_clocks(clocks_);
  send(Stream::Urgent, {{&l, sizeof l}});
  start_drain();
}

/// Leave is urgent and overtakes pages that are on their way here: they come first.
void Remote::start_drain() {
  {
    const mem::LockGuard guard(lock_);
    if (!leaving_ || !push_done_ || draining_) return;
    draining_ = true;
  }
  if (!start_thread(drain_main, this, "hpc-vmm-drain")) give_up("no thread to send its pages home");
}

void* Remote::drain_main(void* self) {
  static_cast<Remote*>(self)->drain();
  return nullptr;
}

void Remote::drain() {
  constexpr std::uint64_t kLongestUs = 3000;  // as Home::wait_for_entry()
  for (const std::uint64_t end = now_us() + kLongestUs; !entered_ && now_us() < end;) sleep_us(50);
  trial::hold("remote-drain");
  std::vector<std::pair<std::uint64_t, std::uint64_t>> all;
  {
    const mem::LockGuard guard(lock_);
    for (const auto& [begin, r] : ranges_) {
      if (r.kind == PageKind::Shared || r.kind == PageKind::Coherent) continue;
      // Rights have no meaning for a process that does not run; pages must be readable.
      ::mprotect(pointer(begin), r.end - begin, PROT_READ | PROT_WRITE);
      const std::uint64_t from = r.grows_down ? mem::host_mapping_begin(r.end - kPageSize) : begin;
      all.emplace_back(std::min(from, begin), r.end);
    }
  }
  for (const auto& [begin, end] : all) drain_range(begin, end);
  trial::hold("remote-drained");
  const Head done{Msg::Drained};
  send(Stream::Bulk, {{&done, sizeof done}});
  // Pages that were taken on demand travel in the urgent stream.
  const mem::LockGuard guard(lock_);
  send(Stream::Urgent, {{&done, sizeof done}});
}

/// Room for one full message.  Without a lock: the credit comes through the pager.
void Remote::wait_for_credit() {
  for (;;) {
    const std::uint32_t news = credit_news_.load();
    if (bulk_sent_.load() + wire::local::kMaxRecord <= bulk_credited_.load() + kBulkWindow) return;
    futex_wait(&credit_news_, news, 50'000);
  }
}

void Remote::drain_range(std::uint64_t begin, std::uint64_t end) {
  constexpr std::size_t kStep = 512;
  std::array<std::uint8_t, kStep> present{};
  for (std::uint64_t at = begin; at < end;) {
    const std::size_t n = std::min<std::uint64_t>(kStep, (end - at) / kPageSize);
    pages_present(at, std::span(present).first(n));
    for (std::size_t i = 0; i < n;) {
      Pages p{};
      std::array<std::uint64_t, kPagesPerMessage> entries{};
      std::array<const std::byte*, kPagesPerMessage> data{};
      unsigned count = 0;
      unsigned with_data = 0;
      wait_for_credit();
      const mem::LockGuard guard(lock_);
      for (; i < n && count < kPagesPerMessage; ++i) {
        const std::uint64_t page = at + i * kPageSize;
        drain_cursor_ = page + kPageSize;
        if (present[i] == 0 || !page_present(page)) continue;
        const auto* const content = static_cast<const std::byte*>(pointer(page));
        if (is_zero_page(content)) {
          entries[count++] = page | kPageZero;
          continue;
        }
        const int slot = recent_out_.find_or_add(content);
        entries[count++] = page | bulk_flag(slot);
        if (slot < 0) data[with_data++] = content;
      }
      if (count == 0) continue;
      p.head.id = count;
      const std::size_t bytes = sizeof p + count * sizeof entries[0] + with_data * kPageSize;
      bulk_sent_.fetch_add(bytes);
      link_.send_pages(kChannel, {&p, sizeof p}, {entries.data(), count * sizeof entries[0]}, data.data(),
                       with_data);
    }
    at += n * kPageSize;
  }
}

}  // namespace hpcvmm::migrate
