#include "vmm/migrate/link.hh"

#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "vmm/mem/arena.hh"
#include "vmm/migrate/host.hh"

namespace hpcvmm::migrate {

namespace local = wire::local;

Status Link::connect(const char* path) {
  sockaddr_un to{};
  to.sun_family = AF_UNIX;
  if (std::strlen(path) >= sizeof to.sun_path) return Error::of(ENAMETOOLONG, "path of hpcd's socket");
  std::strcpy(to.sun_path, path);  // NOLINT: checked above
  const int fd = ::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
  if (fd < 0) return Error::last("socket");
  if (::connect(fd, reinterpret_cast<const sockaddr*>(&to), sizeof to) != 0) {
    const Error e = Error::last("connect to hpcd");
    ::close(fd);
    return e;
  }
  adopt(fd);
  return Unit{};
}

void Link::adopt(int fd) { host().hide_fd(fd, &control_); }

bool Link::send_control(const void* message, std::size_t bytes) {
  const mem::LockGuard guard(control_lock_);
  ssize_t n = 0;
  do n = ::send(control_, message, bytes, MSG_NOSIGNAL);
  while (n < 0 && errno == EINTR);
  return n == static_cast<ssize_t>(bytes);
}

bool Link::try_control(const void* message, std::size_t bytes) {
  if (!control_lock_.try_lock()) return false;
  const ssize_t n = ::send(control_, message, bytes, MSG_NOSIGNAL | MSG_DONTWAIT);
  control_lock_.unlock();
  return n == static_cast<ssize_t>(bytes);
}

// A look without room for descriptors leaves them where they are, and says that there were some.  Source:
// scm_recv() in include/net/scm.h.
bool Link::brings_descriptors() const {
  local::Header h{};
  iovec to{&h, sizeof h};
  msghdr m{};
  m.msg_iov = &to;
  m.msg_iovlen = 1;
  return ::recvmsg(control_, &m, MSG_PEEK | MSG_DONTWAIT) > 0 && (m.msg_flags & MSG_CTRUNC) != 0;
}

std::ptrdiff_t Link::receive_control(void* room, int (&fds)[3], int timeout_ms) {
  for (int& fd : fds) fd = -1;
  pollfd p{control_, POLLIN, 0};
  if (timeout_ms >= 0 && ::poll(&p, 1, timeout_ms) <= 0) return -1;
  iovec to{room, local::kMaxMessage};
  alignas(cmsghdr) char extra[CMSG_SPACE(sizeof fds)] = {};
  msghdr m{};
  m.msg_iov = &to;
  m.msg_iovlen = 1;
  m.msg_control = extra;
  m.msg_controllen = sizeof extra;
  ssize_t n = 0;
  do n = ::recvmsg(control_, &m, MSG_CMSG_CLOEXEC);
  while (n < 0 && errno == EINTR);
  if (n < 0) return 0;
  for (cmsghdr* c = CMSG_FIRSTHDR(&m); c != nullptr; c = CMSG_NXTHDR(&m, c)) {
    if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    std::memcpy(fds, CMSG_DATA(c), (count < 3 ? count : 3) * sizeof(int));
  }
  if (static_cast<std::size_t>(n) < sizeof(local::Header)) return n == 0 ? 0 : -1;
  return n;
}

Status Link::attach(const local::Attach& how, const int (&fds)[3]) {
  bytes_ = 4 * local::ring_memory(how.ring_bytes);
  memory_ = mem::arena_map_fd(fds[0], bytes_);
  const Error error = Error::last("mmap of hpcd's rings");
  ::close(fds[0]);
  if (memory_ == nullptr) {
    ::close(fds[1]);
    ::close(fds[2]);
    return error;
  }
  host().hide_fd(fds[1], &wake_me_);
  host().hide_fd(fds[2], &wake_hpcd_);
  auto* const base = static_cast<char*>(memory_);
  const std::size_t each = local::ring_memory(how.ring_bytes);
  for (unsigned i = 0; i < 2; ++i) {
    out_[i] = local::Producer(base + i * each, how.ring_bytes);
    in_[i] = local::Consumer(base + (i + 2) * each, how.ring_bytes);
  }
  return Unit{};
}

void Link::wake_hpcd() {
  const std::uint64_t one = 1;
  static_cast<void>(0 > ::write(wake_hpcd_, &one, sizeof one));
}

void Link::ring_bell() {
  bell_held_.store(false);
  if (bell_due_.exchange(false)) wake_hpcd();
}

template <class Fill> bool Link::put(std::uint32_t channel, Stream stream, std::size_t total, Fill fill) {
  if (memory_ == nullptr) return false;
  bool wake = false;
  {
    const mem::LockGuard guard(send_lock_);
    local::Producer& ring = out_[index(stream)];
    std::byte* to = nullptr;
    while ((to = ring.reserve(channel, static_cast<std::uint32_t>(total))) == nullptr) {
      if (ring.broken()) return false;
      if (bell_due_.exchange(false)) wake_hpcd();
      sleep_us(20);
    }
    fill(to);
    wake = ring.publish();
  }
  if (wake) bell_due_.store(true);
  if (!bell_held_.load() && bell_due_.exchange(false)) wake_hpcd();
  return true;
}

bool Link::send(std::uint32_t channel, Stream stream, std::initializer_list<Part> parts) {
  std::size_t total = 0;
  for (const Part& p : parts) total += p.bytes;
  return put(channel, stream, total, [&](std::byte* to) {
    for (const Part& p : parts) {
      if (p.bytes != 0) std::memcpy(to, p.data, p.bytes);
      to += p.bytes;
    }
  });
}

// NOLINTNEXTLINE(readability-function-size): a record's parts
bool Link::send_pages(std::uint32_t channel, const Part& head, const Part& entries,
                      const std::byte* const* data, unsigned count) {
  constexpr std::size_t kPage = 4096;
  return put(channel, Stream::Bulk, head.bytes + entries.bytes + count * kPage, [&](std::byte* to) {
    std::memcpy(to, head.data, head.bytes);
    to += head.bytes;
    std::memcpy(to, entries.data, entries.bytes);
    to += entries.bytes;
    for (unsigned i = 0; i < count; ++i) std::memcpy(to + i * kPage, data[i], kPage);
  });
}

bool Link::prepare_sleep() {
  if (in_[0].prepare_sleep() && in_[1].prepare_sleep()) return true;
  woken();
  return false;
}

void Link::woken() {
  std::uint64_t count = 0;
  pollfd p{wake_me_, POLLIN, 0};
  if (::poll(&p, 1, 0) == 1) static_cast<void>(0 > ::read(wake_me_, &count, sizeof count));
  for (auto& ring : in_) ring.wake();
}

void Link::close() {
  if (memory_ != nullptr) mem::arena_unmap(memory_, bytes_);
  memory_ = nullptr;
  for (int* fd : {&control_, &wake_me_, &wake_hpcd_}) {
    if (*fd >= 0) host().close_fd(*fd);
    *fd = -1;
  }
}

}  // namespace hpcvmm::migrate
