#include "daemon/stream_server.hh"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <vector>

#include "daemon/unix_socket.hh"

namespace hpcvmm::daemon {

StreamServer::~StreamServer() {
  poller_.remove(listener_watch_);
  for (const auto& [id, c] : connections_) poller_.remove(c.watch);
}

Status StreamServer::listen_on(UniqueFd fd) {
  listener_ = std::move(fd);
  HPCVMM_TRY(listener_watch_,
             poller_.add(listener_.get(), EPOLLIN, [this](std::uint32_t) { accept_some(); }));
  return Unit{};
}

Status StreamServer::listen_at(const std::string& path, mode_t mode) {
  HPCVMM_TRY(UniqueFd fd, listen_unix(path, SOCK_STREAM, mode));
  return listen_on(std::move(fd));
}

Status StreamServer::listen_tcp(const std::string& address) {
  const std::size_t colon = address.rfind(':');
  sockaddr_in at{};
  at.sin_family = AF_INET;
  unsigned port = 0;
  if (colon == std::string::npos) return Error::of(EINVAL, "an address such as 127.0.0.1:9177");
  const char* const end = address.data() + address.size();
  const auto parsed = std::from_chars(address.data() + colon + 1, end, port);
  const bool loopback = ::inet_pton(AF_INET, address.substr(0, colon).c_str(), &at.sin_addr) == 1 &&
                        (ntohl(at.sin_addr.s_addr) >> 24) == 127;
  if (parsed.ec != std::errc{} || parsed.ptr != end || port == 0 || port > 65535 || !loopback)
    return Error::of(EINVAL, "a loopback address such as 127.0.0.1:9177");
  at.sin_port = htons(static_cast<std::uint16_t>(port));
  UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return Error::last("socket");
  const int on = 1;
  ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&at), sizeof at) != 0) return Error::last("bind");
  if (::listen(fd.get(), 16) != 0) return Error::last("listen");
  return listen_on(std::move(fd));
}

void StreamServer::accept_some() {
  for (int i = 0; i < 16; ++i) {
    UniqueFd fd(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!fd) return;
    if (connections_.size() >= limits_.connections) continue;
    Connection c;
    ucred peer{};
    socklen_t size = sizeof peer;
    if (::getsockopt(fd.get(), SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 && peer.pid != 0) c.uid = peer.uid;
    c.active_ms = now_ms_;
    const Id id = next_++;
    const auto watch = poller_.add(fd.get(), EPOLLIN, [this, id](std::uint32_t e) { ready(id, e); });
    if (!watch) continue;
    c.watch = *watch;
    c.fd = std::move(fd);
    connections_.emplace(id, std::move(c));
  }
}

void StreamServer::ready(Id id, std::uint32_t events) {
  const auto found = connections_.find(id);
  if (found == connections_.end()) return;
  Connection& c = found->second;
  c.active_ms = now_ms_;
  if ((events & EPOLLOUT) != 0 && !flush(id, c)) return;
  std::array<char, 16384> buffer;
  const ssize_t n = ::recv(c.fd.get(), buffer.data(), buffer.size(), MSG_DONTWAIT);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (n <= 0) return close(id);
  c.in.append(buffer.data(), static_cast<std::size_t>(n));
  // The handler may end connections, this one too, so it gets the text apart from it.
  std::string input = std::move(c.in);
  c.in.clear();
  on_input_(id, input);
  const auto again = connections_.find(id);
  if (again == connections_.end()) return;
  again->second.in = std::move(input);
  if (again->second.in.size() > limits_.input) close(id);
}

bool StreamServer::flush(Id id, Connection& c) {
  while (!c.out.empty()) {
    const ssize_t n = ::send(c.fd.get(), c.out.data(), c.out.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
      static_cast<void>(!poller_.change(c.watch, EPOLLIN | EPOLLOUT));
      return true;
    }
    if (n < 0) {
      close(id);
      return false;
    }
    c.out.erase(0, static_cast<std::size_t>(n));
  }
  if (c.finishing) {
    close(id);
    return false;
  }
  static_cast<void>(!poller_.change(c.watch, EPOLLIN));
  return true;
}

void StreamServer::send(Id id, std::string_view text) {
  const auto found = connections_.find(id);
  if (found == connections_.end()) return;
  Connection& c = found->second;
  if (c.out.size() + text.size() > limits_.output) return close(id);
  const bool waits = !c.out.empty();
  c.out += text;
  if (!waits) flush(id, c);
}

void StreamServer::finish(Id id) {
  const auto found = connections_.find(id);
  if (found == connections_.end()) return;
  found->second.finishing = true;
  flush(id, found->second);
}

uid_t StreamServer::uid(Id id) const {
  const auto found = connections_.find(id);
  return found == connections_.end() ? 65534 : found->second.uid;
}

void StreamServer::close(Id id) {
  const auto found = connections_.find(id);
  if (found == connections_.end()) return;
  poller_.remove(found->second.watch);
  connections_.erase(found);
}

void StreamServer::tick(std::uint64_t now_ms) {
  now_ms_ = now_ms;
  if (limits_.idle_ms == 0) return;
  std::vector<Id> late;
  for (const auto& [id, c] : connections_)
    if (c.active_ms + limits_.idle_ms < now_ms) late.push_back(id);
  for (const Id id : late) close(id);
}

}  // namespace hpcvmm::daemon
