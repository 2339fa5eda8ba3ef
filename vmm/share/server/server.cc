#include "vmm/share/server/server.hh"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstring>

#include "vmm/migrate/host.hh"
#include "vmm/share/client.hh"

namespace hpcvmm::share {

bool Server::listen(const char* name) {
  sockaddr_un at{};
  const socklen_t bytes = abstract_address(at, name);
  listener_ = UniqueFd(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  return listener_ && ::bind(listener_.get(), reinterpret_cast<const sockaddr*>(&at), bytes) == 0 &&
         ::listen(listener_.get(), 128) == 0;
}

void Server::send(std::uint32_t channel, const Note& n, const Content* content) {
  Note note = n;
  const bool zero = content != nullptr && std::all_of(content->begin(), content->end(),
                                                      [](std::byte b) { return b == std::byte{0}; });
  if (content != nullptr) note.flags |= zero ? kZero : kData;
  link_->send(channel, migrate::Stream::Urgent,
              {{&note, sizeof note},
               {content != nullptr ? content->data() : nullptr,
                content != nullptr && !zero ? content->size() : std::size_t{0}}});
}

bool Server::pass_notes() {
  wire::local::Consumer::View v;
  bool any = false;
  while (link_->attached() && link_->receive(migrate::Stream::Urgent, v)) {
    any = true;
    Note n;
    if (v.bytes >= sizeof n) {
      std::memcpy(&n, v.data, sizeof n);
      Content content;
      const bool whole = (n.flags & kData) != 0 && v.bytes >= sizeof n + content.size();
      if (whole)
        std::memcpy(content.data(), v.data + sizeof n, content.size());
      else
        content.fill(std::byte{0});
      on_note(v.channel, n, whole || (n.flags & kZero) != 0 ? &content : nullptr);
    }
    link_->pop(migrate::Stream::Urgent);
  }
  return any;
}

/// Only the user's own processes.
void Server::accept_client() {
  UniqueFd fd(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
  if (!fd) return;
  ucred who{};
  socklen_t bytes = sizeof who;
  if (::getsockopt(fd.get(), SOL_SOCKET, SO_PEERCRED, &who, &bytes) != 0 || who.uid != ::geteuid()) return;
  auto c = std::make_unique<Sharer>();
  c->socket = std::move(fd);
  c->pid = who.pid;
  clients_.push_back(std::move(c));
}

void Server::answer(const Sharer& c, const Reply& r, int fd) {
  Reply reply = r;
  iovec io{&reply, sizeof reply};
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
  static_cast<void>(0 > ::sendmsg(c.socket.get(), &m, MSG_NOSIGNAL | MSG_DONTWAIT));
}

void Server::hear(Sharer& c) {
  Request r;
  iovec io{&r, sizeof r};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> extra{};
  msghdr m{};
  m.msg_iov = &io;
  m.msg_iovlen = 1;
  m.msg_control = extra.data();
  m.msg_controllen = extra.size();
  const ssize_t n = ::recvmsg(c.socket.get(), &m, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
  UniqueFd fd;
  if (n > 0)
    if (cmsghdr* const h = CMSG_FIRSTHDR(&m); h != nullptr && h->cmsg_type == SCM_RIGHTS) {
      int got = -1;
      std::memcpy(&got, CMSG_DATA(h), sizeof got);
      fd = UniqueFd(got);
    }
  if (n != static_cast<ssize_t>(sizeof r) || r.version != kVersion) {
    c.gone = true;
    return;
  }
  Reply out;
  int back = -1;
  if (r.ask == Ask::Hello && !c.uffd) c.uffd = std::move(fd);
  if (!c.uffd) {
    out.code = EPROTO;
  } else if (!on_request(c, r, std::move(fd), out, back)) {
    return;
  }
  answer(c, out, back);
}

void Server::wait(std::uint64_t until_us) {
  if (link_->attached() && !link_->prepare_sleep()) return;
  std::vector<pollfd> p{{listener_.get(), POLLIN, 0},
                        {link_->control_fd(), POLLIN, 0},
                        {link_->attached() ? link_->wake_fd() : -1, POLLIN, 0},
                        {extra_fd(), POLLIN, 0}};
  for (const auto& c : clients_) {
    p.push_back({c->socket.get(), POLLIN, 0});
    p.push_back({c->uffd.get(), POLLIN, 0});
  }
  timespec t{};
  const std::uint64_t now = migrate::now_us();
  const std::uint64_t us = until_us > now ? until_us - now : 0;
  t.tv_sec = static_cast<time_t>(us / 1'000'000);
  t.tv_nsec = static_cast<long>(us % 1'000'000 * 1000);
  ::ppoll(p.data(), p.size(), until_us != 0 ? &t : nullptr, nullptr);
  if (link_->attached()) link_->woken();
  if (p[1].revents != 0) on_control();
  const std::size_t known = clients_.size();
  for (std::size_t i = 0; i < known; ++i) {
    if (p[4 + 2 * i].revents != 0) hear(*clients_[i]);
    // Its address space has ended.
    if ((p[5 + 2 * i].revents & (POLLHUP | POLLERR)) != 0) clients_[i]->gone = true;
  }
  if (p[3].revents != 0) on_extra();
  if (p[0].revents != 0) accept_client();
}

void Server::run() {
  for (;;) {
    bool busy = pass_notes();
    for (const auto& c : clients_) {
      sharers::Fault f;
      while (c->uffd && !c->gone && sharers::next(*c, f)) {
        on_fault(*c, f);
        busy = true;
      }
    }
    for (const auto& c : clients_) {
      if (!c->gone) continue;
      sharers::remove(*c, 0, ~std::uint64_t{0});
      on_gone(*c);
    }
    std::erase_if(clients_, [](const auto& c) { return c->gone; });
    const std::uint64_t next = tick(migrate::now_us());
    if (!busy) wait(next);
  }
}

}  // namespace hpcvmm::share
