// What home grants of memory that is made away (growth.hh), and how it takes over what has been.
#include <sys/mman.h>
#include <sys/resource.h>

#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

#include "vmm/migrate/bytes.hh"
#include "vmm/migrate/home.hh"
#include "vmm/migrate/mobile.hh"

namespace hpcvmm::migrate {
namespace {

constexpr std::uint64_t kReserve = std::uint64_t{16} << 20;
/// Below that an area is replaced.
constexpr std::uint64_t kLeastArea = 2 * kMostGrownBytes;

/// A place that nobody else gets: no memory, no rights.  0: there is none.
std::uint64_t reserve(std::uint64_t at, std::uint64_t bytes) {
  const int fixed = at != 0 ? MAP_FIXED_NOREPLACE : 0;
  void* const got =
      ::mmap(pointer(at), bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | fixed, -1, 0);
  if (got == MAP_FAILED) return 0;
  const auto there = reinterpret_cast<std::uint64_t>(got);
  if ((at == 0 || there == at) && !touches_zone(there, bytes)) return there;
  ::munmap(got, bytes);
  return 0;
}

template <class Range> void release(Range& r) {
  if (r.begin < r.end) ::munmap(pointer(r.begin), r.end - r.begin);
  r = {};
}

bool is_unlimited(int resource) {
  rlimit l{};
  return ::getrlimit(static_cast<__rlimit_resource>(resource), &l) == 0 && l.rlim_cur == RLIM_INFINITY;
}

}  // namespace

/// Its only thread asks here and now, and no limit can refuse what is made later.
bool Home::may_grant() const {
  return runs_away() && local_calls_.load() && engine_.vcpus().size() == 1 && vforks_.load() == 0 &&
         is_unlimited(RLIMIT_AS) && is_unlimited(RLIMIT_DATA);
}

void Home::keep_clear() {
  release(break_room_);
  release(area_room_);
  granted_break_ = 0;
  if (!std::exchange(granted_, false)) return;
  const Grant none{};
  send(Stream::Urgent, {{&none, sizeof none}});
}

void Home::keep_clear_of(std::uint64_t begin, std::uint64_t end) {
  const auto meets = [&](const Range& s) { return s.begin < end && begin < s.end; };
  if (meets(break_room_) || meets(area_room_)) keep_clear();
}

void Home::grew() {
  const bool small = area_room_.end - area_room_.begin < kLeastArea;
  const std::uint64_t top = page_up(mm_->brk_end());
  if (granted_break_ == top && (!small || who().ia32)) return;
  if (!may_grant()) return keep_clear();
  release(break_room_);
  if (const std::uint64_t at = top != 0 ? reserve(top, kReserve) : 0; at != 0)
    break_room_ = {at, at + kReserve};
  // The kernel chooses by the rules of a 64-bit task.
  if (small && !who().ia32) {
    release(area_room_);
    if (const std::uint64_t at = reserve(0, kReserve); at != 0) area_room_ = {at, at + kReserve};
  }
  Grant g;
  if (break_room_.end != 0) {
    g.brk_start = mm_->brk_start();
    g.brk = mm_->brk_end();
    g.brk_end = break_room_.end;
  }
  g.area_begin = area_room_.begin;
  g.area_end = area_room_.end;
  granted_ = true;
  granted_break_ = top;  // even if there is no room above it: that would not be found at the next call either
  send(Stream::Urgent, {{&g, sizeof g}});
}

/// By the pager: the Left that follows, or the mover, takes it.
void Home::on_grown(const std::byte* data, std::size_t bytes) {
  Head head{};
  if (!read_as(head, data, bytes) || head.id > kMostGrown ||
      bytes < sizeof head + head.id * sizeof(GrownPiece))
    die("a damaged message");
  const mem::LockGuard guard(grown_lock_);
  for (std::uint32_t i = 0; i < head.id; ++i) {
    GrownPiece p;
    std::memcpy(&p, data + sizeof head + i * sizeof p, sizeof p);
    grown_.push_back(p);
  }
  has_grown_.store(true, std::memory_order_release);
}

void Home::take_grown(bool limits_change) {
  if (!has_grown_.load(std::memory_order_acquire) && !limits_change) return;
  const mem::LockGuard guard(mm_->lock());
  take_grown_locked();
  if (limits_change) keep_clear();
}

void Home::take_grown_locked() {
  if (!has_grown_.exchange(false)) return;
  std::vector<GrownPiece> pieces;
  {
    const mem::LockGuard guard(grown_lock_);
    pieces.swap(grown_);
  }
  for (const GrownPiece& p : pieces) {
    // The break may end on any byte, and what it had in its page is there already.
    const bool is_break = p.kind == kGrownBreak;
    Range& room = is_break ? break_room_ : area_room_;
    const std::uint64_t end = page_up(p.end);
    const std::uint64_t begin = is_break ? room.begin : p.begin;
    const bool sane = is_break ? p.end >= mm_->brk_end() : end == room.end && begin < end && p.end == end;
    if (!sane || begin % kPageSize != 0 || begin < room.begin || end > room.end) die("a damaged message");
    if (begin < end) {
      if (!mm_->grown_locked(begin, end)) die("no memory at home for what it has mapped");
      if (auto ok = uffd_.watch(begin, end); !ok) die("userfaultfd refuses a new mapping");
    }
    if (is_break) {
      mm_->set_break_locked(p.end);
      room.begin = granted_break_ = end;
    } else {
      room.end = begin;
    }
  }
}

}  // namespace hpcvmm::migrate
