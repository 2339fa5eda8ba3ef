#include "vmm/share/client.hh"

#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "vmm/mem/arena.hh"

namespace hpcvmm::share {

socklen_t abstract_address(sockaddr_un& out, const char* name) {
  out = {};
  out.sun_family = AF_UNIX;
  const std::size_t n = std::min(std::strlen(name), sizeof out.sun_path - 1);
  std::memcpy(out.sun_path + 1, name, n);
  return static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + n);
}

bool server_name(int cluster, char* out, std::size_t room) {
  struct stat s {};
  if (cluster < 0 || ::fstat(cluster, &s) != 0) return false;
  std::snprintf(out, room, "hpc-vmm-share.%lx.%lx.%u", static_cast<unsigned long>(s.st_dev),
                static_cast<unsigned long>(s.st_ino), static_cast<unsigned>(::geteuid()));
  return true;
}

Status Client::connect(const Hooks& hooks, const char* name, int uffd) {
  hooks_ = hooks;
  sockaddr_un at{};
  const socklen_t bytes = abstract_address(at, name);
  const int fd = ::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
  if (fd < 0) return Error::last("socket");
  ucred who{};
  socklen_t size = sizeof who;
  if (::connect(fd, reinterpret_cast<const sockaddr*>(&at), bytes) != 0 ||
      ::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &size) != 0 || who.uid != ::geteuid()) {
    const Error e = Error::last("connect to the share server");
    ::close(fd);
    return e;
  }
  hooks_.hide_fd(fd, &socket_);
  Reply out;
  int table = -1;
  const bool there = request(Request{}, uffd, out, &table) && out.code == 0;
  if (!there) {
    hooks_.close_fd(socket_);
    socket_ = -1;
    return Error::of(ECONNREFUSED, "the share server does not answer");
  }
  if (table < 0) return Unit{};
  slot_ = out.object <= Table::kSlots ? out.object : 0;
  const std::uint64_t place = mem::arena_reserve(sizeof(Table));
  // NOLINTNEXTLINE(performance-no-int-to-ptr)
  void* const seen = ::mmap(reinterpret_cast<void*>(place), sizeof(Table), PROT_READ,
                            MAP_SHARED | MAP_FIXED_NOREPLACE, table, 0);
  ::close(table);
  if (seen != MAP_FAILED) table_ = static_cast<const Table*>(seen);
  return Unit{};
}

void Client::give_bell(int bell) {
  Request r;
  r.ask = Ask::Bell;
  Reply out;
  static_cast<void>(request(r, bell, out));
}

void Client::abandon(Client& parent) {
  if (parent.socket_ >= 0) parent.hooks_.close_fd(parent.socket_);
  parent.socket_ = -1;
}

bool Client::request(const Request& r, int fd, Reply& out, int* back) {
  const mem::LockGuard guard(lock_);
  Request ask = r;
  iovec io{&ask, sizeof ask};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof fd)> extra{};
  msghdr m{};
  m.msg_iov = &io;
  m.msg_iovlen = 1;
  if (fd >= 0) {
    m.msg_control = extra.data();
    m.msg_controllen = extra.size();
    cmsghdr* const h = CMSG_FIRSTHDR(&m);
    h->cmsg_level = SOL_SOCKET;
    h->cmsg_type = SCM_RIGHTS;
    h->cmsg_len = CMSG_LEN(sizeof fd);
    std::memcpy(CMSG_DATA(h), &fd, sizeof fd);
  }
  ssize_t n = 0;
  do n = ::sendmsg(socket_, &m, MSG_NOSIGNAL);
  while (n < 0 && errno == EINTR);
  if (n < 0) return false;
  io = {&out, sizeof out};
  m = {};
  m.msg_iov = &io;
  m.msg_iovlen = 1;
  m.msg_control = extra.data();
  m.msg_controllen = extra.size();
  do n = ::recvmsg(socket_, &m, MSG_CMSG_CLOEXEC);
  while (n < 0 && errno == EINTR);
  if (n != static_cast<ssize_t>(sizeof out)) return false;
  out.text[sizeof out.text - 1] = 0;
  if (cmsghdr* const h = CMSG_FIRSTHDR(&m); h != nullptr && h->cmsg_type == SCM_RIGHTS) {
    int got = -1;
    std::memcpy(&got, CMSG_DATA(h), sizeof got);
    if (back != nullptr)
      *back = got;
    else
      ::close(got);
  }
  return true;
}

void Client::add(std::uint64_t begin, std::uint64_t end, std::uint64_t offset, int fd,
                 const char* why_no_fd) {
  Range range{end, offset, 0, {}};
  if (fd < 0) {
    range.why = why_no_fd;
  } else {
    Request r;
    r.ask = Ask::Add;
    r.begin = begin;
    r.end = end;
    r.offset = offset;
    Reply out;
    if (!request(r, fd, out))
      range.why = "the share server has ended";
    else if (out.code != 0)
      range.why = out.text;
    range.object = out.object;
  }
  ranges_[begin] = range;
}

void Client::remove(std::uint64_t begin, std::uint64_t end) {
  bool known = false;
  for (auto it = ranges_.begin(); it != ranges_.end();) {
    const std::uint64_t from = it->first;
    const Range r = it->second;
    if (from >= end || r.end <= begin) {
      ++it;
      continue;
    }
    known = true;
    it = ranges_.erase(it);
    if (from < begin) {
      Range below = r;
      below.end = begin;
      ranges_[from] = below;
    }
    if (r.end > end) {
      Range above = r;
      above.offset += end - from;
      ranges_[end] = above;
    }
  }
  if (!known || socket_ < 0) return;
  Request r;
  r.ask = Ask::Remove;
  r.begin = begin;
  r.end = end;
  Reply out;
  static_cast<void>(request(r, -1, out));
}

bool Client::may_be_elsewhere(std::uint64_t device, std::uint64_t inode) const {
  if (table_ == nullptr) return false;
  const std::uint32_t count = table_->count.load(std::memory_order_acquire);
  if (count > Table::kMost) return true;
  for (std::uint32_t i = 0; i < count; ++i)
    if (table_->entries[i].device == device && table_->entries[i].inode == inode) return true;
  return false;
}

}  // namespace hpcvmm::share
