#include "vmm/gdb/files.hh"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>

namespace hpcvmm::gdb {
namespace {

/// The protocol has its own numbers; the common ones are Linux's.  Source: "Errno Values", GDB manual,
/// appendix E.13.
std::int64_t failure() {
  constexpr std::int64_t kUnknown = 9999;
  switch (errno) {
    case EPERM:
    case ENOENT:
    case EINTR:
    case EBADF:
    case EACCES:
    case EFAULT:
    case EBUSY:
    case EEXIST:
    case ENODEV:
    case ENOTDIR:
    case EISDIR:
    case EINVAL:
    case ENFILE:
    case EMFILE:
    case EFBIG:
    case ENOSPC:
    case ESPIPE:
    case EROFS: return -errno;
    case ENAMETOOLONG: return -91;
    default: return -kUnknown;
  }
}

void put_big_endian(std::string& out, std::uint64_t value, unsigned bytes) {
  while (bytes-- > 0) out.push_back(static_cast<char>(value >> (8 * bytes)));
}

}  // namespace

std::int64_t Files::open(const std::string& path, std::uint64_t flags) {
  if (flags != 0) return -EACCES;  // O_RDONLY is 0 in the protocol, too
  if (path.find('\0') != std::string::npos) return -ENOENT;
  const auto room = std::find(fds_.begin(), fds_.end(), -1);
  if (room == fds_.end()) return -EMFILE;
  // Never waits: a FIFO or a terminal must not hold the debugger up.
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  if (fd < 0) return failure();
  *room = hide_ != nullptr ? hide_(fd) : fd;
  return room - fds_.begin();
}

int Files::find(std::uint64_t handle) const { return handle < fds_.size() ? fds_[handle] : -1; }

std::int64_t Files::close(std::uint64_t handle) {
  const int fd = find(handle);
  if (fd < 0) return -EBADF;
  fds_[handle] = -1;
  ::close(fd);
  return 0;
}

std::int64_t Files::pread(std::uint64_t handle, std::uint64_t bytes, std::uint64_t offset, std::string& out) {
  const int fd = find(handle);
  if (fd < 0) return -EBADF;
  if (offset > static_cast<std::uint64_t>(LLONG_MAX)) return -EINVAL;
  out.resize(bytes);
  const ssize_t n = ::pread(fd, out.data(), out.size(), static_cast<off_t>(offset));
  if (n < 0) return failure();
  out.resize(static_cast<std::size_t>(n));
  return n;
}

std::int64_t Files::fstat(std::uint64_t handle, std::string& out) {
  struct stat s {};
  const int fd = find(handle);
  if (fd < 0) return -EBADF;
  if (::fstat(fd, &s) != 0) return failure();
  for (const std::uint64_t word :
       {std::uint64_t{s.st_dev}, std::uint64_t{s.st_ino}, std::uint64_t{s.st_mode}, std::uint64_t{s.st_nlink},
        std::uint64_t{s.st_uid}, std::uint64_t{s.st_gid}, std::uint64_t{s.st_rdev}})
    put_big_endian(out, word, 4);
  for (const std::int64_t word : {s.st_size, s.st_blksize, s.st_blocks})
    put_big_endian(out, static_cast<std::uint64_t>(word), 8);
  for (const std::int64_t word : {s.st_atime, s.st_mtime, s.st_ctime})
    put_big_endian(out, static_cast<std::uint64_t>(word), 4);
  return static_cast<std::int64_t>(out.size());
}

std::int64_t Files::readlink(const std::string& path, std::string& out) {
  out.resize(PATH_MAX);
  const ssize_t n = ::readlink(path.c_str(), out.data(), out.size());
  if (n < 0) return failure();
  out.resize(static_cast<std::size_t>(n));
  return n;
}

void Files::close_all() {
  for (int& fd : fds_) {
    if (fd >= 0) ::close(fd);
    fd = -1;
  }
}

}  // namespace hpcvmm::gdb
