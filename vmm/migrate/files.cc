#include "vmm/migrate/files.hh"

#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "vmm/mem/arena.hh"
#include "vmm/migrate/bytes.hh"
#include "vmm/migrate/host.hh"

namespace hpcvmm::migrate {

namespace local = wire::local;

namespace {
std::int64_t in_ns(const timespec& t) { return t.tv_sec * 1'000'000'000LL + t.tv_nsec; }

bool is_known(const FileEntry& e) {
  return std::any_of(std::begin(e.digest), std::end(e.digest), [](std::uint8_t b) { return b != 0; });
}
}  // namespace

// --- home

void HomeFiles::take_table(int fd) {
  if (fd < 0) return;
  const std::uint64_t at = mem::arena_reserve(sizeof(wire::files::Table));
  void* const table = at == 0 ? MAP_FAILED
                              : ::mmap(pointer(at), sizeof(wire::files::Table), PROT_READ,
                                       MAP_SHARED | MAP_FIXED_NOREPLACE, fd, 0);
  ::close(fd);
  if (table != MAP_FAILED) table_ = static_cast<const wire::files::Table*>(table);
}

void HomeFiles::start_over() {
  for (auto& t : there_) t = false;
  // What was not known then may be known now.
  known_.clear();
}

HomeFiles::Known* HomeFiles::know(const mem::HostFile& f) {
  for (Known& k : known_)
    if (k.device == f.device && k.inode == f.inode) return &k;
  if (known_.size() >= kMostFiles) return nullptr;
  struct stat s {};
  Known k;
  k.device = f.device;
  k.inode = f.inode;
  k.entry.id = static_cast<std::uint32_t>(known_.size()) + 1;
  std::memcpy(k.entry.path, f.path.data(), std::min(sizeof k.entry.path, f.path.size()));
  k.entry.path[sizeof k.entry.path - 1] = 0;
  // The mapping keeps its inode alive, so the same numbers are the same file.  After a rename over it the
  // path is another one's.
  const bool same = ::stat(k.entry.path, &s) == 0 && s.st_dev == f.device && s.st_ino == f.inode;
  k.told = !same;
  if (same) {
    wire::files::Digest digest;
    const wire::files::FileId id{s.st_dev, s.st_ino, static_cast<std::uint64_t>(s.st_size), in_ns(s.st_mtim),
                                 in_ns(s.st_ctim)};
    if (wire::files::find(*table_, id, digest)) {
      k.entry.size = id.size;
      std::copy(digest.begin(), digest.end(), k.entry.digest);
    } else {
      local::FileSeen seen;
      std::memcpy(seen.path, k.entry.path, sizeof seen.path);
      link_.send_control(&seen, sizeof seen);
    }
  }
  known_.push_back(k);
  return &known_.back();
}

HomeFiles::Stretch HomeFiles::at(std::uint64_t at) {
  mem::HostFile f;
  if (table_ == nullptr || !mem::host_file_at(at, f) || at < f.begin) return {};
  Stretch s;
  s.end = f.end;
  s.offset = f.offset + (at - f.begin);
  if (const Known* const k = know(f); k != nullptr && is_known(k->entry))
    s.id = static_cast<std::uint16_t>(k->entry.id);
  return s;
}

std::vector<FileEntry> HomeFiles::news() {
  std::vector<FileEntry> out;
  for (Known& k : known_) {
    if (k.told) continue;
    k.told = true;
    out.push_back(k.entry);
  }
  return out;
}

bool Origins::find(std::uint64_t page, FilePage& out) const {
  auto it = std::upper_bound(ranges_.begin(), ranges_.end(), page,
                             [](std::uint64_t p, const Range& r) { return p < r.begin; });
  if (it == ranges_.begin()) return false;
  --it;
  if (page >= it->end) return false;
  out = {page, it->offset + (page - it->begin), it->file};
  return true;
}

// --- remote

void RemoteFiles::ask(const std::byte* data, std::size_t bytes) {
  FilesHead h{};
  if (!read_as(h, data, bytes) || h.head.id > kFilesPerMessage) return;
  if (bytes < sizeof h + h.head.id * sizeof(FileEntry)) return;
  for (std::uint32_t i = 0; i < h.head.id; ++i) {
    FileEntry e{};
    std::memcpy(&e, data + sizeof h + i * sizeof e, sizeof e);
    e.path[sizeof e.path - 1] = 0;
    if (e.id == 0 || e.id > kMostFiles || e.path[0] != '/') continue;
    local::FileAsk a;
    a.id = is_known(e) ? e.id : 0;
    a.size = e.size;
    std::memcpy(a.digest, e.digest, sizeof a.digest);
    std::memcpy(a.path, e.path, sizeof a.path);
    if (a.id != 0) {
      const mem::LockGuard guard(lock_);
      Known& k = known_[e.id];
      if (k.asked) continue;
      k.asked = true;
      k.size = e.size;
      open_.fetch_add(1);
    }
    link_.send_control(&a, sizeof a);
  }
}

void RemoteFiles::answered(const local::FileAnswer& a, int fd) {
  {
    const mem::LockGuard guard(lock_);
    if (a.id == 0 || a.id > kMostFiles || !known_[a.id].asked || known_[a.id].fd >= 0 || open_.load() == 0) {
      if (fd >= 0) ::close(fd);
      return;
    }
    known_[a.id].fd = fd;
  }
  open_.fetch_sub(1);
  futex_wake(&open_);
}

int RemoteFiles::find(std::uint32_t id, std::uint64_t& size) {
  if (id == 0 || id > kMostFiles) return -1;
  const mem::LockGuard guard(lock_);
  size = known_[id].size;
  return known_[id].fd;
}

}  // namespace hpcvmm::migrate
