#include "vmm/migrate/own_facts.hh"

#include <dirent.h>
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstddef>
#include <cstring>

#include "vmm/migrate/host.hh"

namespace hpcvmm::migrate {

namespace local = wire::local;

namespace {

// Kept, not opened each time: a descriptor has a low number until it is hidden, which the guest must not see,
// and keeping the guest's calls away for that in the middle of a move made processes miss the move's steps.
int g_io = -1, g_fds = -1;  // NOLINT: opened once

void open_once(int& kept, const char* path) {
  if (kept >= 0) return;
  const int fd = ::open(path, O_RDONLY | O_CLOEXEC);
  if (fd >= 0) host().hide_fd(fd, &kept);
}

std::uint64_t number_of(std::string_view text) {
  std::uint64_t n = 0;
  std::from_chars(text.data(), text.data() + text.size(), n);
  return n;
}

/// As getdents64(2) gives it.
struct Entry {
  std::uint64_t inode;
  std::int64_t next;
  std::uint16_t bytes;
  std::uint8_t type;
};
constexpr std::size_t kName = offsetof(Entry, type) + 1;

void look_at(const char* name, local::Held& out) {
  const int fd = static_cast<int>(number_of(name));
  if (host().is_hidden(fd)) return;
  std::array<char, 128> text{};
  const ssize_t n = ::readlinkat(g_fds, name, text.data(), text.size());
  if (n <= 0) return;
  const std::string_view link(text.data(), static_cast<std::size_t>(n));
  const std::uint64_t inode = inode_in(link);
  if (inode == 0) {
    if (link.starts_with('/') && !link.starts_with("/dev/")) ++out.files;
    return;
  }
  std::uint64_t* const end = out.ends + out.count;
  if (std::find(out.ends, end, inode) == end) out.ends[out.count++] = inode;
}

}  // namespace

OwnIo parse_io(std::string_view text) {
  OwnIo f;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    const std::string_view line = text.substr(at, end - at);
    const std::size_t colon = line.find(": ");
    at = end + 1;
    if (colon == std::string_view::npos) continue;
    const std::string_view name = line.substr(0, colon);
    if (name == "rchar" || name == "wchar") f.bytes += number_of(line.substr(colon + 2));
    if (name == "syscr" || name == "syscw") f.calls += number_of(line.substr(colon + 2));
  }
  return f;
}

std::uint64_t inode_in(std::string_view link) {
  for (const std::string_view kind : {"pipe:[", "socket:["})
    if (link.starts_with(kind)) return number_of(link.substr(kind.size()));
  return 0;
}

void keep_own_facts() {
  open_once(g_io, "/proc/self/io");
  open_once(g_fds, "/proc/self/fd");
}

OwnIo own_io() {
  std::array<char, 256> text{};
  const ssize_t n = g_io >= 0 ? ::pread(g_io, text.data(), text.size(), 0) : 0;
  return n > 0 ? parse_io({text.data(), static_cast<std::size_t>(n)}) : OwnIo{};
}

void list_held(local::Held& out) {
  if (g_fds < 0 || ::lseek(g_fds, 0, SEEK_SET) != 0) return;
  std::array<char, 2048> room{};
  unsigned looked = 0;
  for (;;) {
    const long n = ::syscall(SYS_getdents64, g_fds, room.data(), room.size());
    if (n <= 0) return;
    for (long at = 0; at < n;) {
      Entry e{};
      std::memcpy(&e, room.data() + at, kName);
      const char* const name = room.data() + at + kName;
      at += e.bytes;
      if (name[0] == '.') continue;
      if (++looked > local::kMostHeld) return;
      look_at(name, out);
    }
  }
}

void forget_own_facts() {
  for (int* fd : {&g_io, &g_fds}) {
    if (*fd >= 0) host().close_fd(*fd);
    *fd = -1;
  }
}

}  // namespace hpcvmm::migrate
