#include "vmm/mem/host_maps.hh"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>

namespace hpcvmm::mem {
namespace {

struct {
  std::uint64_t begin = 0, end = 0;
} g_host_vdso;  // NOLINT: written once at start

int g_kept = -1;  // NOLINT: before there is a second thread

class MapsFile {
 public:
  MapsFile() : own_(g_kept < 0 ? ::open("/proc/self/maps", O_RDONLY | O_CLOEXEC) : -1) {}
  MapsFile(const MapsFile&) = delete;
  MapsFile& operator=(const MapsFile&) = delete;
  ~MapsFile() {
    if (own_ >= 0) ::close(own_);
  }
  [[nodiscard]] int fd() const { return own_ >= 0 ? own_ : g_kept; }

 private:
  int own_;
};

/// Calls `each(begin, end, perms, name)` for every line of /proc/self/maps.
template <class F> void each_mapping(F each) {
  const MapsFile file;
  if (file.fd() < 0) return;
  off_t at = 0;  // other threads read it, too
  std::array<char, 8192> buffer{};
  std::size_t have = 0;
  for (;;) {
    const ssize_t n = ::pread(file.fd(), buffer.data() + have, buffer.size() - have, at);
    if (n <= 0) break;
    at += n;
    have += static_cast<std::size_t>(n);
    char* line = buffer.data();
    char* const limit = buffer.data() + have;
    while (char* newline =
               static_cast<char*>(std::memchr(line, '\n', static_cast<std::size_t>(limit - line)))) {
      *newline = 0;
      char* p = nullptr;
      const std::uint64_t begin = std::strtoull(line, &p, 16);
      const std::uint64_t end = std::strtoull(p + 1, &p, 16);
      const char* perms = p + 1;
      const char* name = std::strpbrk(perms, "/[");
      each(begin, end, perms, name != nullptr ? name : "");
      line = newline + 1;
    }
    have = static_cast<std::size_t>(limit - line);
    std::memmove(buffer.data(), line, have);
  }
}

std::int64_t int80(std::uint32_t nr, const std::array<std::uint32_t, 6>& a) {
  std::int64_t rc = nr;
  // The red zone is stepped over.  ebp is the sixth argument and the frame pointer; older kernels zero r8-r11
  // on this entry.
  asm volatile(
      "lea -128(%%rsp), %%rsp\n\tpush %%rbp\n\tmov %[six], %%ebp\n\tint $0x80\n\tpop %%rbp\n\tlea "
      "128(%%rsp), %%rsp"
      : "+a"(rc)
      : "b"(a[0]), "c"(a[1]), "d"(a[2]), "S"(a[3]), "D"(a[4]), [six] "r"(a[5])
      : "memory", "r8", "r9", "r10", "r11");
  // Addresses come back zero-extended, errors as a negative int.
  const auto low = static_cast<std::int32_t>(rc);
  return low < 0 && low >= -4095 ? low : static_cast<std::int64_t>(static_cast<std::uint32_t>(rc));
}

// Of kernel headers newer than those this is built with (struct procmap_query).
struct MapQuery {
  std::uint64_t size, flags, address;
  std::uint64_t begin, end, vma_flags, page_size, offset, inode;
  std::uint32_t major, minor, name_bytes, build_id_bytes;
  std::uint64_t name, build_id;
};
constexpr unsigned long kMapQuery = _IOWR('f', 17, MapQuery);

/// 1 found, 0 nothing is mapped there, -1 the kernel cannot be asked like this (Linux before 6.11).
int query(std::uint64_t at, MapQuery& q) {
  const MapsFile file;
  if (file.fd() < 0) return -1;
  q.size = sizeof q;
  q.address = at;
  if (::ioctl(file.fd(), kMapQuery, &q) == 0) return 1;
  return errno == ENOTTY || errno == ENOSYS ? -1 : 0;
}

/// 1 found, 0 not a file, -1 the kernel cannot be asked like this.
int query_file(std::uint64_t at, HostFile& out) {
  MapQuery q{};
  q.name = reinterpret_cast<std::uint64_t>(out.path.data());
  q.name_bytes = static_cast<std::uint32_t>(out.path.size());
  if (const int found = query(at, q); found != 1) return found;
  if (q.inode == 0 || out.path[0] != '/') return 0;
  out.begin = q.begin;
  out.end = q.end;
  out.offset = q.offset;
  out.device = gnu_dev_makedev(q.major, q.minor);
  out.inode = q.inode;
  return 1;
}

/// "rw-p 00001000 fe:00 247728   /usr/bin/ls", as it begins behind the addresses.
bool parse_file(const char* perms, const char* name, HostFile& out) {
  if (name[0] != '/' || std::strlen(name) >= out.path.size()) return false;
  char* p = nullptr;
  out.offset = std::strtoull(perms + 5, &p, 16);
  const unsigned long major = std::strtoul(p, &p, 16);
  const unsigned long minor = std::strtoul(p + 1, &p, 16);
  out.device = gnu_dev_makedev(static_cast<unsigned>(major), static_cast<unsigned>(minor));
  out.inode = std::strtoull(p, nullptr, 10);
  std::strcpy(out.path.data(), name);  // NOLINT: checked above
  return true;
}

}  // namespace

bool host_file_at(std::uint64_t at, HostFile& out) {
  if (const int found = query_file(at, out); found >= 0) return found == 1;
  bool found = false;
  each_mapping([&](std::uint64_t begin, std::uint64_t end, const char* perms, const char* name) {
    if (begin > at || at >= end) return;
    out.begin = begin;
    out.end = end;
    found = parse_file(perms, name, out);
  });
  return found;
}

int& kept_maps() { return g_kept; }

void set_host_vdso(std::uint64_t begin, std::uint64_t end) { g_host_vdso = {begin, end}; }

HostStack find_host_stack() {
  const auto here = reinterpret_cast<std::uint64_t>(__builtin_frame_address(0));
  if (MapQuery q{}; query(here, q) == 1) return {q.begin, q.end};
  HostStack found;
  each_mapping([&](std::uint64_t begin, std::uint64_t end, const char*, const char*) {
    if (begin <= here && here < end) found = {begin, end};
  });
  return found;
}

std::uint64_t host_mapping_begin(std::uint64_t at) {
  std::uint64_t found = 0;
  each_mapping([&](std::uint64_t begin, std::uint64_t end, const char*, const char*) {
    if (begin <= at && at < end) found = begin;
  });
  return found;
}

std::vector<std::uint64_t> host_mapping_begins() {
  std::vector<std::uint64_t> found;
  each_mapping([&](std::uint64_t begin, std::uint64_t, const char*, const char*) { found.push_back(begin); });
  return found;
}

std::uint64_t host_mapping_end(std::uint64_t at) {
  std::uint64_t found = 0;
  each_mapping([&](std::uint64_t begin, std::uint64_t end, const char*, const char*) {
    if (begin <= at && at < end) found = end;
  });
  return found;
}

bool touches_host_vdso(std::uint64_t begin, std::uint64_t bytes) {
  return begin < g_host_vdso.end && begin + std::max<std::uint64_t>(bytes, 1) > g_host_vdso.begin;
}

void refresh_from_host(VmaList& list, std::uint64_t begin, std::uint64_t end) {
  const VmaList before = list;
  list.erase(begin, end);
  each_mapping([&](std::uint64_t b, std::uint64_t e, const char* perms, const char* name) {
    b = std::max(b, begin);
    e = std::min(e, end);
    if (b >= e) return;
    Vma v;
    const auto it = before.find(b);
    if (it != before.end()) v = it->second;
    v.end = e;
    v.prot = (perms[0] == 'r' ? PROT_READ : 0U) | (perms[1] == 'w' ? PROT_WRITE : 0U) |
             (perms[2] == 'x' ? PROT_EXEC : 0U);
    v.shared = perms[3] == 's';
    v.file = name[0] == '/';
    list.insert(b, v);
  });
}

std::int64_t compat_mmap2(std::uint32_t addr, std::uint32_t len, int prot, int flags, int fd,
                          std::uint32_t pages) {
  return int80(192, {addr, len, static_cast<std::uint32_t>(prot), static_cast<std::uint32_t>(flags),
                     static_cast<std::uint32_t>(fd), pages});
}

std::int64_t compat_mremap(std::uint32_t addr, std::uint32_t old_len, std::uint32_t new_len, int flags,
                           std::uint32_t new_addr) {
  return int80(163, {addr, old_len, new_len, static_cast<std::uint32_t>(flags), new_addr, 0});
}

}  // namespace hpcvmm::mem
