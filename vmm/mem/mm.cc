#include "vmm/mem/mm.hh"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>
#include <utility>
#include <vector>

#include "vmm/mem/arena.hh"
#include "vmm/mem/host_maps.hh"
#include "vmm/mem/user_copy.hh"

#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif
#ifndef MAP_DROPPABLE
#define MAP_DROPPABLE 8
#endif

namespace hpcvmm::mem {
namespace {

using sys::SysRet;

/// From here on anonymous memory is asked to be huge pages: a first touch through 2 MiB steps costs a tenth.
constexpr std::uint64_t kHugeFrom = std::uint64_t{16} << 20;

/// Raw call, errno untouched: the result is the kernel's own.
template <class... A> std::int64_t raw(long nr, A... args) {
  const std::array<std::uint64_t, 6> a{static_cast<std::uint64_t>(args)...};
  std::int64_t rc = nr;
  register std::uint64_t r10 asm("r10") = a[3];
  register std::uint64_t r8 asm("r8") = a[4];
  register std::uint64_t r9 asm("r9") = a[5];
  asm volatile("syscall"
               : "+a"(rc)
               : "D"(a[0]), "S"(a[1]), "d"(a[2]), "r"(r10), "r"(r8), "r"(r9)
               : "rcx", "r11", "memory");
  return rc;
}

bool is_error(std::int64_t rc) { return rc < 0 && rc >= -4095; }

}  // namespace

bool is_steady(int fd) {
  struct stat s {};
  if (::fstat(fd, &s) != 0 || !S_ISREG(s.st_mode) || s.st_uid != 0 || (s.st_mode & 022) != 0) return false;
  return (::fcntl(fd, F_GETFL) & O_ACCMODE) == O_RDONLY;
}

/// True if the range holds the whole zone and something on both sides of it.
static bool spans_zone(std::uint64_t addr, std::uint64_t bytes) {
  return addr < kZoneBegin && addr + bytes > kZoneEnd;
}

bool Mm::allowed(std::uint64_t addr, std::uint64_t len) const {
  return !touches_zone(addr, len) && !touches_host_vdso(addr, len);
}

void Mm::note_mapping(std::uint64_t at, std::uint64_t len, int prot, int flags, int fd) {
  Vma v;
  v.end = at + len;
  v.prot = static_cast<std::uint32_t>(prot & (PROT_READ | PROT_WRITE | PROT_EXEC));
  v.shared = (flags & MAP_TYPE) != MAP_PRIVATE && (flags & MAP_TYPE) != MAP_DROPPABLE;
  v.file = fd >= 0 && (flags & MAP_ANONYMOUS) == 0;
  v.grows_down = (flags & MAP_GROWSDOWN) != 0;
  v.steady = v.shared && v.file && is_steady(fd);
  if (away_ != nullptr) away_->mapped(at, v);
  const bool shared = (v.shared && !v.steady) || has_shared(at, v.end);
  vmas_.insert(at, v);
  tell_shared(shared);
}

/// Whether some of the range is memory that is shared with others.
bool Mm::has_shared(std::uint64_t begin, std::uint64_t end) const {
  for (auto it = vmas_.find(begin) != vmas_.end() ? vmas_.find(begin) : vmas_.above(begin);
       it != vmas_.end() && it->first < end; ++it)
    if (it->second.shared && !it->second.steady) return true;
  return false;
}

void Mm::refresh_stack_locked(std::uint64_t begin) {
  const std::uint64_t host = host_mapping_begin(begin);
  if (host != 0 && host < begin) vmas_.grow_down(begin, host);
}

bool Mm::grown_locked(std::uint64_t begin, std::uint64_t end) {
  constexpr int kRights = PROT_READ | PROT_WRITE;
  const std::int64_t rc =
      raw(SYS_mmap, begin, end - begin, std::int64_t{kRights},
          std::int64_t{MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED}, std::int64_t{-1}, std::int64_t{0});
  if (is_error(rc)) return false;
  made_anonymous_locked(begin, end, kRights);
  return true;
}

void Mm::made_anonymous_locked(std::uint64_t begin, std::uint64_t end, std::uint32_t prot) {
  Vma v;
  v.end = end;
  v.prot = prot;
  vmas_.insert(begin, v);
}

// NOLINTNEXTLINE(readability-function-size): mmap's six words and whose they are
SysRet Mm::map(Abi abi, std::uint64_t addr, std::uint64_t len, int prot, int flags, int fd,
               std::uint64_t off) {
  const std::uint64_t bytes = page_up(len);
  const bool fixed = (flags & (MAP_FIXED | MAP_FIXED_NOREPLACE)) != 0;
  if (len != 0 && bytes == 0) return SysRet::fail(ENOMEM);
  if (fixed && (addr + bytes < addr || addr + bytes > task_size(abi))) return SysRet::fail(ENOMEM);
  if (!allowed(addr, bytes)) {
    // ThreadSanitizer blocks out half the address space with PROT_NONE: around the zone, which is closed to
    // it anyway.
    if (fixed && prot == PROT_NONE && (flags & MAP_ANONYMOUS) != 0 && spans_zone(addr, bytes)) {
      const SysRet below = map(abi, addr, kZoneBegin - addr, prot, flags, fd, off);
      if (below.is_error()) return below;
      const SysRet above = map(abi, kZoneEnd, addr + bytes - kZoneEnd, prot, flags, fd, off);
      return above.is_error() ? above : below;
    }
    if (fixed) return SysRet::fail(ENOMEM);
    addr = 0;  // a hint nobody can honour
  }
  const LockGuard guard(lock_);
  bool went = false;
  const bool replaces = (flags & MAP_FIXED) != 0 && (flags & MAP_FIXED_NOREPLACE) == 0;
  if (replaces && bytes != 0 && addr % kPageSize == 0) {
    engine_->unmap(addr, addr + bytes);
    if (away_ != nullptr) away_->dropping(addr, addr + bytes, false);
    went = shared_going(addr, addr + bytes);
  }
  if (!replaces && addr != 0 && away_ != nullptr) away_->keep_clear();
  std::int64_t rc = 0;
  if (abi == Abi::Ia32) {
    // The 32-bit entry makes the kernel choose below 4 GiB, by the rules of a 32-bit task.
    rc = compat_mmap2(static_cast<std::uint32_t>(addr), static_cast<std::uint32_t>(len), prot, flags, fd,
                      static_cast<std::uint32_t>(off / kPageSize));
  } else {
    rc = raw(SYS_mmap, addr, len, static_cast<std::int64_t>(prot), static_cast<std::int64_t>(flags),
             static_cast<std::int64_t>(fd), off);
  }
  if (is_error(rc)) {
    tell_shared(went);
    return SysRet::raw(rc);
  }
  const auto at = static_cast<std::uint64_t>(rc);
  if (!allowed(at, bytes)) {
    raw(SYS_munmap, at, len);
    return SysRet::fail(ENOMEM);
  }
  note_mapping(at, bytes, prot, flags, fd);
  engine_->prefill(at, at + bytes, static_cast<engine::Prot>(prot & (PROT_READ | PROT_WRITE | PROT_EXEC)));
  if ((flags & MAP_ANONYMOUS) != 0 && (flags & MAP_TYPE) == MAP_PRIVATE && bytes >= kHugeFrom &&
      (prot & PROT_WRITE) != 0 && (flags & (MAP_GROWSDOWN | MAP_STACK)) == 0)
    raw(SYS_madvise, at, bytes, static_cast<std::int64_t>(MADV_HUGEPAGE));
  if (away_ != nullptr) away_->grew();
  return SysRet::raw(rc);
}

SysRet Mm::unmap(std::uint64_t addr, std::uint64_t len) {
  const std::uint64_t bytes = page_up(len);
  if (addr % kPageSize != 0 || bytes == 0 || addr + bytes < addr || addr + bytes > kTaskSize64)
    return SysRet::fail(EINVAL);
  if (spans_zone(addr, bytes)) {
    const SysRet below = unmap(addr, kZoneBegin - addr);
    return below.is_error() ? below : unmap(kZoneEnd, addr + bytes - kZoneEnd);
  }
  if (!allowed(addr, bytes)) return SysRet::fail(EINVAL);
  const LockGuard guard(lock_);
  engine_->unmap(addr, addr + bytes);
  if (away_ != nullptr) away_->dropping(addr, addr + bytes, false);
  const bool shared = shared_going(addr, addr + bytes);
  const std::int64_t rc = raw(SYS_munmap, addr, bytes);
  if (is_error(rc)) {
    tell_shared(shared);
    return SysRet::raw(rc);
  }
  vmas_.erase(addr, addr + bytes);
  drop_attached(addr, addr + bytes);
  tell_shared(shared);
  return SysRet::raw(rc);
}

SysRet Mm::protect(std::uint64_t addr, std::uint64_t len, int prot) {
  const std::uint64_t bytes = page_up(len);
  if (addr % kPageSize != 0) return SysRet::fail(EINVAL);
  if (len == 0) return SysRet::ok(0);
  if (addr + bytes < addr || !allowed(addr, bytes)) return SysRet::fail(ENOMEM);
  const LockGuard guard(lock_);
  engine_->unmap(addr, addr + bytes);
  if (away_ != nullptr)
    away_->protecting(addr, addr + bytes,
                      static_cast<std::uint32_t>(prot & (PROT_READ | PROT_WRITE | PROT_EXEC)));
  const std::int64_t rc = raw(SYS_mprotect, addr, bytes, static_cast<std::int64_t>(prot));
  if (!is_error(rc)) {
    std::uint64_t from = addr;
    if ((prot & PROT_GROWSDOWN) != 0) {
      const auto it = vmas_.find(addr);
      if (it != vmas_.end()) from = it->first;
    }
    const auto kept = static_cast<std::uint32_t>(prot & (PROT_READ | PROT_WRITE | PROT_EXEC));
    vmas_.protect(from, addr + bytes, kept);
    engine_->prefill(addr, addr + bytes, kept);
  } else if (rc == -ENOMEM || rc == -EACCES) {
    // The kernel changed the mappings before the one it stopped at: take its word for the whole range.
    refresh_from_host(vmas_, addr, addr + bytes);
  }
  return SysRet::raw(rc);
}

SysRet Mm::remap(Abi abi, std::uint64_t addr, std::uint64_t old_len, std::uint64_t new_len, int flags,
                 std::uint64_t new_addr) {
  const std::uint64_t old_bytes = page_up(old_len);
  const std::uint64_t new_bytes = page_up(new_len);
  const bool fixed = (flags & MREMAP_FIXED) != 0;
  if (!allowed(addr, std::max(old_bytes, kPageSize))) return SysRet::fail(EFAULT);
  if (fixed && (!allowed(new_addr, new_bytes) || new_addr + new_bytes > task_size(abi)))
    return SysRet::fail(EINVAL);
  const LockGuard guard(lock_);
  engine_->unmap(addr, addr + old_bytes);
  if (fixed) engine_->unmap(new_addr, new_addr + new_bytes);
  if (away_ != nullptr) {
    away_->gathering(addr, addr + old_bytes);
    if (fixed) away_->dropping(new_addr, new_addr + new_bytes, false);
  }
  bool went = shared_going(addr, addr + old_bytes);
  if (fixed) went = shared_going(new_addr, new_addr + new_bytes) || went;
  std::int64_t rc = 0;
  if (abi == Abi::Ia32) {
    rc = compat_mremap(static_cast<std::uint32_t>(addr), static_cast<std::uint32_t>(old_len),
                       static_cast<std::uint32_t>(new_len), flags, static_cast<std::uint32_t>(new_addr));
  } else {
    rc = raw(SYS_mremap, addr, old_len, new_len, static_cast<std::int64_t>(flags), new_addr);
  }
  if (is_error(rc)) {
    tell_shared(went);
    return SysRet::raw(rc);
  }
  const auto at = static_cast<std::uint64_t>(rc);
  const auto it = vmas_.find(addr);
  Vma moved = it != vmas_.end() ? it->second : Vma{};
  // old_len 0 duplicates a shared mapping, DONTUNMAP keeps the old range: both leave it in the list.
  if (old_bytes != 0 && (flags & MREMAP_DONTUNMAP) == 0) vmas_.erase(addr, addr + old_bytes);
  moved.end = at + new_bytes;
  const bool shared = (moved.shared && !moved.steady) || has_shared(at, moved.end) || went;
  vmas_.insert(at, moved);
  tell_shared(shared);
  if (away_ != nullptr) away_->gathered(at, new_bytes, moved);
  return SysRet::raw(rc);
}

SysRet Mm::advise(std::uint64_t addr, std::uint64_t len, int advice) {
  if (!allowed(addr, page_up(len))) return SysRet::fail(ENOMEM);
  // Zapping advice needs no page-table edit: rights stay, and KVM follows the host's zap by itself.
  const LockGuard guard(lock_);
  if (away_ != nullptr && addr % kPageSize == 0) {
    if (advice == MADV_DONTNEED) away_->dropping(addr, addr + page_up(len), true);
    // The pages are not here, so there is nothing to free or to make huge.
    if (advice == MADV_FREE) return SysRet::ok(0);
  }
  return SysRet::raw(raw(SYS_madvise, addr, len, static_cast<std::int64_t>(advice)));
}

SysRet Mm::brk(std::uint64_t addr) {
  const LockGuard guard(lock_);
  // A failing brk returns the old one.  Source: brk(2), C library/kernel differences.
  if (addr < brk_start_) {
    if (away_ != nullptr) away_->grew();
    return SysRet::ok(brk_);
  }
  if (away_ != nullptr) away_->keep_clear();
  const std::uint64_t old_end = page_up(brk_);
  const std::uint64_t new_end = page_up(addr);
  if (!allowed(addr, 0) || (new_end > old_end && !allowed(old_end, new_end - old_end)))
    return SysRet::ok(brk_);
  rlimit data{};
  if (::getrlimit(RLIMIT_DATA, &data) == 0 && data.rlim_cur != RLIM_INFINITY &&
      addr - brk_start_ > data.rlim_cur)
    return SysRet::ok(brk_);
  if (new_end > old_end) {
    const std::int64_t rc = raw(SYS_mmap, old_end, new_end - old_end, std::int64_t{PROT_READ | PROT_WRITE},
                                std::int64_t{MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE},
                                std::int64_t{-1}, std::int64_t{0});
    if (is_error(rc) || static_cast<std::uint64_t>(rc) != old_end) return SysRet::ok(brk_);
    note_mapping(old_end, new_end - old_end, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
    engine_->prefill(old_end, new_end, PROT_READ | PROT_WRITE);
  } else if (new_end < old_end) {
    engine_->unmap(new_end, old_end);
    if (away_ != nullptr) away_->dropping(new_end, old_end, false);
    if (is_error(raw(SYS_munmap, new_end, old_end - new_end))) return SysRet::ok(brk_);
    vmas_.erase(new_end, old_end);
  }
  brk_ = addr;
  if (away_ != nullptr) away_->grew();
  return SysRet::ok(addr);
}

SysRet Mm::attach_shm(Abi abi, int id, std::uint64_t addr, int flags) {
  if (addr != 0 && !allowed(addr, kPageSize)) return SysRet::fail(EINVAL);
  shmid_ds info{};
  const std::int64_t stat =
      raw(SYS_shmctl, std::int64_t{id}, std::int64_t{IPC_STAT}, reinterpret_cast<std::uint64_t>(&info));
  if (is_error(stat)) return SysRet::raw(stat);
  const std::uint64_t bytes = page_up(info.shm_segsz);
  const LockGuard guard(lock_);
  bool went = false;
  if (addr != 0 && (flags & SHM_REMAP) != 0) {
    engine_->unmap(page_down(addr), page_down(addr) + bytes);
    went = shared_going(page_down(addr), page_down(addr) + bytes);
  }
  std::uint64_t at_hint = addr;
  if (abi == Abi::Ia32 && addr == 0) {
    // shmat has no 32-bit placement when issued by a 64-bit task: reserve the place first.
    const std::int64_t place =
        compat_mmap2(0, static_cast<std::uint32_t>(bytes), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (place < 0) return SysRet::raw(place);
    at_hint = static_cast<std::uint64_t>(place);
    flags |= SHM_REMAP;
  }
  const std::int64_t rc = raw(SYS_shmat, std::int64_t{id}, at_hint, std::int64_t{flags});
  if (is_error(rc)) {
    if (at_hint != addr) raw(SYS_munmap, at_hint, bytes);
    tell_shared(went);
    return SysRet::raw(rc);
  }
  keep_attached(static_cast<std::uint64_t>(rc), bytes, flags);
  const int prot =
      PROT_READ | ((flags & SHM_RDONLY) != 0 ? 0 : PROT_WRITE) | ((flags & SHM_EXEC) != 0 ? PROT_EXEC : 0);
  note_mapping(static_cast<std::uint64_t>(rc), bytes, prot, MAP_SHARED | MAP_ANONYMOUS, -1);
  return SysRet::raw(rc);
}

// userfaultfd takes no mapping that shmat made, but one of the same file: the segment stays attached in the
// zone, for the kernel's count of attachments, and the guest gets the file in its place.  Nothing of this is
// needed where nobody moves; then, or without the right to open the file, all stays as shmat made it.
void Mm::keep_attached(std::uint64_t at, std::uint64_t bytes, int flags) {
  if (shared_watch_ == nullptr || !shared_watch_->wants_files()) return;
  std::array<char, 64> path{};
  std::snprintf(path.data(), path.size(), "/proc/self/map_files/%lx-%lx", static_cast<unsigned long>(at),
                static_cast<unsigned long>(at + bytes));
  const bool reads_only = (flags & SHM_RDONLY) != 0;
  const int fd = ::open(path.data(), (reads_only ? O_RDONLY : O_RDWR) | O_CLOEXEC);
  if (fd < 0) return;
  const int prot = PROT_READ | (reads_only ? 0 : PROT_WRITE) | ((flags & SHM_EXEC) != 0 ? PROT_EXEC : 0);
  const std::uint64_t kept = arena_reserve(bytes);
  const auto fixed = std::int64_t{MREMAP_MAYMOVE | MREMAP_FIXED};
  if (kept != 0 && !is_error(raw(SYS_mremap, at, bytes, bytes, fixed, kept))) {
    if (is_error(raw(SYS_mmap, at, bytes, std::int64_t{prot}, std::int64_t{MAP_SHARED | MAP_FIXED},
                     std::int64_t{fd}, std::int64_t{0})))
      raw(SYS_mremap, kept, bytes, bytes, fixed, at);
    else
      attached_[at] = {kept, bytes};
  }
  ::close(fd);
}

/// The guest's part of a segment has been unmapped, all of it.
void Mm::drop_attached(std::uint64_t begin, std::uint64_t end) {
  for (auto it = attached_.lower_bound(begin);
       it != attached_.end() && it->first + it->second.bytes <= end;) {
    raw(SYS_shmdt, it->second.kept);
    it = attached_.erase(it);
  }
}

SysRet Mm::detach_shm(std::uint64_t addr) {
  const LockGuard guard(lock_);
  if (const auto kept = attached_.find(addr); kept != attached_.end()) {
    const std::uint64_t bytes = kept->second.bytes;
    engine_->unmap(addr, addr + bytes);
    shared_going(addr, addr + bytes);
    raw(SYS_munmap, addr, bytes);
    drop_attached(addr, addr + bytes);
    vmas_.erase(addr, addr + bytes);
    tell_shared(true);
    return SysRet::ok(0);
  }
  const auto it = vmas_.find(addr);
  const std::uint64_t end = it == vmas_.end() ? addr : it->second.end;
  if (end != addr) engine_->unmap(addr, end);
  if (away_ != nullptr && end != addr) away_->dropping(addr, end, false);
  const bool went = shared_going(addr, end);
  const std::int64_t rc = raw(SYS_shmdt, addr);
  if (is_error(rc)) {
    tell_shared(went);
    return SysRet::raw(rc);
  }
  refresh_from_host(vmas_, addr, end);
  tell_shared(true);
  return SysRet::raw(rc);
}

// A program's code, data and heap, its libraries, its stack: three places, each with room to grow.  What KVM
// keeps of a slot costs 2 us for each MiB, at its making and its end and again in each fork child; growing
// out of one costs 60.
void Mm::reserve_places() {
  constexpr std::uint64_t kLibraries = std::uint64_t{16} << 20;
  constexpr std::uint64_t kRoom = std::uint64_t{4}
                                  << 20;  // of a heap, a stack, and where no libraries will be
  constexpr std::uint64_t kNoLoader = std::uint64_t{64} << 10;
  constexpr std::uint64_t kNear = std::uint64_t{40} << 20;   // the heap starts up to 32 MiB behind the data
  constexpr std::uint64_t kMost = std::uint64_t{128} << 20;  // larger ones get slots as they are touched
  std::vector<std::pair<std::uint64_t, std::uint64_t>> ranges;
  if (brk_start_ != 0) ranges.emplace_back(brk_start_, brk_start_ + kRoom);  // 0: a copy on another node
  for (const auto& [begin, v] : vmas_) ranges.emplace_back(begin, v.end);
  std::sort(ranges.begin(), ranges.end());
  for (std::size_t i = 0; i < ranges.size();) {
    auto [begin, end] = ranges[i];
    std::uint64_t mapped = end - begin;
    while (++i < ranges.size() && ranges[i].first <= end + kNear && ranges[i].second - begin <= kMost) {
      end = std::max(end, ranges[i].second);
      mapped += ranges[i].second - ranges[i].first;
    }
    const bool grows_up = begin <= brk_start_ && brk_start_ < end;
    const auto last = vmas_.find(end - 1);
    const bool stack = last != vmas_.end() && last->second.grows_down;
    // Libraries and stacks grow downwards.  A program without a loader has just the vDSO there.
    const std::uint64_t room = stack || mapped <= kNoLoader ? kRoom : kLibraries;
    if (!grows_up && end - begin < room) begin = end - std::min(end, room);
    if (end - begin <= kMost) engine_->reserve(begin, end);
  }
  engine_->places_reserved();
}

void Mm::prefill_all() {
  constexpr std::uint64_t kSmall = std::uint64_t{4} << 20;
  const LockGuard guard(lock_);
  reserve_places();
  for (const auto& [begin, v] : vmas_) {
    if (v.prot == 0 || v.end - begin > kSmall) continue;
    // The last page makes the slot; a stack is entered from its top.
    static_cast<void>(engine_->map_around(v.end - kPageSize, begin, v.end, v.prot));
    engine_->prefill(begin, v.end, v.prot);
  }
}

void Mm::adopt(std::uint64_t begin, const Vma& v) {
  const LockGuard guard(lock_);
  vmas_.insert(begin, v);
}

Touch Mm::stack_touch(std::uint64_t addr) {
  const auto above = vmas_.above(addr);
  if (above == vmas_.end() || !above->second.grows_down) return Touch::MapErr;
  // The kernel decides: stack limit, guard gap.  If it grows the stack for our read, the guest's touch is
  // right too.
  const std::uint64_t old_begin = above->first;
  char byte = 0;
  if (!copy_in(&byte, addr, 1)) return Touch::MapErr;
  vmas_.grow_down(old_begin, page_down(addr));
  if (away_ != nullptr) {
    Vma grown = vmas_.find(addr)->second;
    grown.end = old_begin;
    away_->mapped(page_down(addr), grown);
  }
  return Touch::Retry;
}

Touch Mm::touch_copy(std::uint64_t addr, bool write, bool exec) {
  const LockGuard guard(lock_);
  const auto it = vmas_.find(addr);
  if (it == vmas_.end()) return Touch::MapErr;
  const Vma& v = it->second;
  const bool ok = exec ? (v.prot & PROT_EXEC) != 0 : write ? (v.prot & PROT_WRITE) != 0 : v.prot != 0;
  if (!ok) return Touch::AccErr;
  if (!engine_->map_around(addr, it->first, v.end, v.prot)) return Touch::NoMemory;
  return Touch::Retry;
}

Touch Mm::touch(std::uint64_t addr, bool write, bool exec) {
  const LockGuard guard(lock_);
  auto it = vmas_.find(addr);
  if (it == vmas_.end()) {
    const Touch grown = stack_touch(addr);
    if (grown != Touch::Retry) return grown;
    it = vmas_.find(addr);
  }
  const Vma& v = it->second;
  const bool ok = exec ? (v.prot & PROT_EXEC) != 0 : write ? (v.prot & PROT_WRITE) != 0 : v.prot != 0;
  if (!ok) return Touch::AccErr;
  const std::uint64_t end = v.file ? file_end(addr, v.end, v.prot) : v.end;
  if (end <= addr) return Touch::BusErr;
  if (!engine_->map_around(addr, it->first, end, v.prot)) return Touch::NoMemory;
  return Touch::Retry;
}

// A translation beyond the end of a file would make KVM fail without telling the address, so none is made:
// the host's own SIGBUS, caught inside copy_in, tells where the file ends in this 2 MiB step.
std::uint64_t Mm::file_end(std::uint64_t addr, std::uint64_t vma_end, std::uint32_t prot) {
  if ((prot & (PROT_READ | PROT_WRITE)) == 0) return vma_end;
  const auto readable = [](std::uint64_t at) {
    char byte = 0;
    return copy_in(&byte, at, 1);
  };
  const std::uint64_t page = page_down(addr);
  if (!readable(page)) return page;
  constexpr std::uint64_t kStep = std::uint64_t{2} << 20;
  const std::uint64_t step_end = std::min(vma_end, (page / kStep + 1) * kStep);
  if (readable(step_end - kPageSize)) return vma_end;
  std::uint64_t good = page;
  std::uint64_t bad = step_end - kPageSize;
  while (bad - good > kPageSize) {
    const std::uint64_t middle = page_down(good + (bad - good) / 2);
    (readable(middle) ? good : bad) = middle;
  }
  return bad;
}

void Mm::drop_file_translations() {
  const LockGuard guard(lock_);
  for (const auto& [begin, v] : vmas_)
    if (v.file) engine_->unmap(begin, v.end);
}

}  // namespace hpcvmm::mem
