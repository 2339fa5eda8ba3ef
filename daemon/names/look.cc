#include "daemon/names/look.hh"

#include <dirent.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/fsuid.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <deque>
#include <fstream>
#include <sstream>

#ifndef XFS_SUPER_MAGIC
#define XFS_SUPER_MAGIC 0x58465342
#endif

namespace hpcvmm::daemon::names {

using wire::names::kBeginning;
using wire::names::kComplete;
using wire::names::kContent;
using wire::names::kMostContent;
using wire::names::kMostLinkText;
using wire::names::kRefused;

namespace {

/// A folder with more is told name by name.
constexpr std::size_t kMostListed = 1500;
constexpr std::size_t kMostListedBytes = 120U << 10;
constexpr unsigned kMostSteps = 256;

std::int64_t in_ns(const timespec& t) { return t.tv_sec * 1'000'000'000LL + t.tv_nsec; }

Id id_of(const struct stat& s) { return {s.st_dev, s.st_ino}; }

std::string proc_path(int fd) { return "/proc/self/fd/" + std::to_string(fd); }

Kind kind_of(mode_t mode) {
  if (S_ISDIR(mode)) return Kind::Folder;
  if (S_ISREG(mode)) return Kind::File;
  return S_ISLNK(mode) ? Kind::Link : Kind::Other;
}

Kind kind_of_entry(unsigned char type) {
  switch (type) {
    case DT_DIR: return Kind::Folder;
    case DT_REG: return Kind::File;
    case DT_LNK: return Kind::Link;
    case DT_UNKNOWN: return Kind::Unknown;
    default: return Kind::Other;
  }
}

/// Until when reading the inode does not change its access time; 0: it does now.
std::int64_t readable_until(int fd, const struct stat& s) {
  struct statvfs mount {};
  if (::fstatvfs(fd, &mount) != 0) return 0;
  const bool never =
      (mount.f_flag & ST_NOATIME) != 0 || (S_ISDIR(s.st_mode) && (mount.f_flag & ST_NODIRATIME) != 0);
  if (never) return INT64_MAX;
  // relatime (mount(8)): a read sets it when it is not younger than the other times, or a day old.
  constexpr std::int64_t kDay = 86'400'000'000'000;
  constexpr std::int64_t kMargin = 2'000'000'000;
  const std::int64_t at = in_ns(s.st_atim);
  const bool now = (mount.f_flag & ST_RELATIME) == 0 || at <= in_ns(s.st_mtim) || at <= in_ns(s.st_ctim);
  return now ? 0 : at + kDay - kMargin;
}

/// `watch`: what tells when that may have changed; without one it stays so.
void refuse(const Id& id, Fact fact, std::vector<Learnt>& facts, int watch = -1, std::uint64_t version = 0) {
  Learnt l;
  l.fact = fact;
  l.id = id;
  l.watch = watch;
  l.version = version;
  FactHead h;
  h.fact = fact;
  h.flags = kRefused;
  h.id = id;
  NodeFacts none;
  if (fact == Fact::Node) h.data_bytes = sizeof none;
  put_fact(l.bytes, h);
  if (fact == Fact::Node) put(l.bytes, &none, sizeof none);
  facts.push_back(std::move(l));
}

}  // namespace

bool Look::has_writer(int fd) {
  // A read lease is granted only while nobody has the file open for writing (fcntl(2)); a writable shared
  // mapping keeps it open.
  if (::fcntl(fd, F_SETLEASE, F_RDLCK) != 0) return true;
  ::fcntl(fd, F_SETLEASE, F_UNLCK);
  return false;
}

/// Where names may lead to another file system.
void Look::read_mounts() {
  mounts_.clear();
  std::ifstream in("/proc/self/mountinfo");
  for (std::string line; std::getline(in, line);) {
    std::istringstream words(line);
    std::string id, parent, device, root, point;
    words >> id >> parent >> device >> root >> point;
    mounts_.insert(point);
  }
}

bool Look::is_usable(int fd) {
  struct statfs fs {};
  if (::fstatfs(fd, &fs) != 0) return false;
  switch (static_cast<unsigned long>(fs.f_type)) {
    case EXT4_SUPER_MAGIC:
    case XFS_SUPER_MAGIC:
    case TMPFS_MAGIC: break;
    default: return false;
  }
  // An access control list may keep out somebody whom the mode lets in.
  const ssize_t acl = ::getxattr(proc_path(fd).c_str(), "system.posix_acl_access", nullptr, 0);
  return acl <= 0;
}

bool Look::folder(int fd, Folder& out, std::vector<Learnt>& facts) {
  struct stat s {};
  if (::fstat(fd, &s) != 0 || !S_ISDIR(s.st_mode)) return false;
  out.id = id_of(s);
  // First the watch, then the look: what changes in between is told.
  if (is_usable(fd)) out.watch = watch_(fd, out.id, true, out.version);
  struct stat again {};
  struct stat parent {};
  if (out.watch < 0 || ::fstat(fd, &again) != 0 || !is_usable(fd) || ::fstatat(fd, "..", &parent, 0) != 0) {
    refuse(out.id, Fact::Folder, facts);
    return false;
  }
  Learnt l;
  l.fact = Fact::Folder;
  l.id = out.id;
  l.watch = out.watch;
  l.version = out.version;
  list(fd, again, id_of(parent), l);
  facts.push_back(std::move(l));
  return true;
}

void Look::list(int fd, const struct stat& s, const Id& parent, Learnt& out) {
  const Id id = id_of(s);
  std::array<char, 4096> real{};
  const ssize_t n = ::readlink(proc_path(fd).c_str(), real.data(), real.size() - 1);
  out.path.assign(real.data(), n > 0 ? static_cast<std::size_t>(n) : 0);
  const std::string prefix = out.path == "/" ? "/" : out.path + "/";
  FactHead head;
  head.fact = Fact::Folder;
  head.id = id;
  head.child = parent;
  head.owner = s.st_uid;
  head.mode = s.st_mode;
  Bytes entries;
  std::size_t count = 0;
  bool whole = false;
  // Where everybody writes, names come and go too quickly.
  const bool busy = (s.st_mode & 0002) != 0;
  const int list_fd = busy ? -1 : ::openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (DIR* const dir = list_fd >= 0 ? ::fdopendir(list_fd) : nullptr) {
    for (;;) {
      errno = 0;
      const dirent* const e = ::readdir(dir);
      if (e == nullptr) {
        whole = errno == 0;
        break;
      }
      const std::string_view name = e->d_name;
      if (name == "." || name == "..") continue;
      if (++count > kMostListed || entries.size() > kMostListedBytes) break;
      FactHead h;
      h.fact = Fact::Entry;
      h.id = id;
      h.kind = kind_of_entry(e->d_type);
      h.child = {id.device, e->d_ino};
      // What lies below a mount point is another inode; a link's text is told when it is asked for.
      if (h.kind == Kind::Link || (h.kind == Kind::Folder && mounts_.contains(prefix + std::string(name))))
        h.kind = Kind::Unknown;
      put_fact(entries, h, name);
    }
    ::closedir(dir);
  } else if (list_fd >= 0) {
    ::close(list_fd);
  }
  if (whole) head.flags = kComplete;
  put_fact(out.bytes, head);
  if (whole) put(out.bytes, entries.data(), entries.size());
}

void Look::node(int fd, const struct stat& before, std::vector<Learnt>& facts) {
  const Id id = id_of(before);
  Learnt l;
  l.fact = Fact::Node;
  l.id = id;
  if (is_usable(fd)) l.watch = watch_(fd, id, S_ISDIR(before.st_mode), l.version);
  if (l.watch < 0) return refuse(id, Fact::Node, facts);
  FactHead h;
  h.fact = Fact::Node;
  h.id = id;
  NodeFacts facts_of;
  static thread_local std::vector<std::byte> content(kMostContent);
  if (S_ISREG(before.st_mode)) {
    UniqueFd file(::open(proc_path(fd).c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK));
    struct stat s {};
    if (file && ::fstat(file.get(), &s) == 0 && id_of(s) == id && !has_writer(file.get())) {
      const auto size = static_cast<std::uint64_t>(s.st_size);
      const std::uint64_t wanted = size <= kMostContent ? size : kBeginning;
      std::uint64_t have = 0;
      while (have < wanted) {
        const ssize_t n = ::pread(file.get(), content.data() + have, wanted - have, static_cast<off_t>(have));
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) break;
        have += static_cast<std::uint64_t>(n);
      }
      if (have == wanted) {
        h.flags = kContent;
        facts_of.content_bytes = wanted;
        l.file = std::move(file);
      }
    }
    // A writer could change it through a mapping, which nobody is told of.
    if (h.flags == 0) return refuse(id, Fact::Node, facts, l.watch, l.version);
  }
  // After the reading, which may have set the access time.
  const struct stat& s = facts_of.status;
  const struct statx& wide = facts_of.wide;
  if (::fstat(fd, &facts_of.status) != 0 ||
      ::statx(fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS, &facts_of.wide) != 0 ||
      wide.stx_atime.tv_sec != s.st_atim.tv_sec || wide.stx_atime.tv_nsec != s.st_atim.tv_nsec)
    return refuse(id, Fact::Node, facts);
  facts_of.until_ns = readable_until(fd, s);
  h.data_bytes = sizeof facts_of + facts_of.content_bytes;
  put_fact(l.bytes, h);
  put(l.bytes, &facts_of, sizeof facts_of);
  put(l.bytes, content.data(), facts_of.content_bytes);
  facts.push_back(std::move(l));
}

void Look::walk(std::uint32_t user, const std::string& path, std::vector<Learnt>& facts) {
  if (path.empty() || path[0] != '/') return;
  // Of this thread alone.
  ::setfsuid(user);
  static_cast<void>(along(path, facts));
  ::setfsuid(::geteuid());
}

/// False: it ended early.
bool Look::along(const std::string& path, std::vector<Learnt>& facts) {
  read_mounts();
  UniqueFd at(::open("/", O_PATH | O_DIRECTORY | O_CLOEXEC));
  Folder here;
  if (!at || !folder(at.get(), here, facts)) return false;
  std::deque<std::string> rest;
  const auto push_front = [&rest](const std::string& text) {
    std::vector<std::string> parts;
    std::istringstream in(text);
    for (std::string part; std::getline(in, part, '/');)
      if (!part.empty() && part != ".") parts.push_back(part);
    rest.insert(rest.begin(), parts.begin(), parts.end());
  };
  push_front(path);
  for (unsigned steps = 0; !rest.empty() && steps < kMostSteps; ++steps) {
    const std::string name = std::move(rest.front());
    rest.pop_front();
    if (name.size() > 255) return false;
    const UniqueFd next(::openat(at.get(), name.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
    struct stat s {};
    if (name != "..") {
      Learnt l;
      l.fact = Fact::Entry;
      l.id = here.id;
      l.watch = here.watch;
      l.version = here.version;
      FactHead h;
      h.fact = Fact::Entry;
      h.id = here.id;
      std::string text;
      if (!next) {
        if (errno != ENOENT) return false;
        h.kind = Kind::Absent;
      } else {
        if (::fstat(next.get(), &s) != 0) return false;
        h.kind = kind_of(s.st_mode);
        h.child = id_of(s);
      }
      if (h.kind == Kind::Link) {
        std::array<char, kMostLinkText + 1> room{};
        const ssize_t n = ::readlinkat(next.get(), "", room.data(), room.size());
        if (n <= 0 || static_cast<std::size_t>(n) > kMostLinkText) return false;
        text.assign(room.data(), static_cast<std::size_t>(n));
        // After the reading, which may have set the access time.
        if (::fstat(next.get(), &s) != 0) return false;
        h.until_ns = readable_until(next.get(), s);
      }
      put_fact(l.bytes, h, name, text);
      facts.push_back(std::move(l));
      if (h.kind == Kind::Absent) return true;
      if (h.kind == Kind::Link) {
        if (text[0] == '/') {
          at = UniqueFd(::open("/", O_PATH | O_DIRECTORY | O_CLOEXEC));
          if (!at || !folder(at.get(), here, facts)) return false;
        }
        push_front(text);
        continue;
      }
    } else if (!next || ::fstat(next.get(), &s) != 0) {
      return false;
    }
    if (rest.empty()) node(next.get(), s, facts);
    if (!S_ISDIR(s.st_mode)) return true;
    here = {};
    if (!folder(next.get(), here, facts)) return false;
    at = UniqueFd(::fcntl(next.get(), F_DUPFD_CLOEXEC, 3));
    if (!at) return false;
  }
  return true;
}

}  // namespace hpcvmm::daemon::names
