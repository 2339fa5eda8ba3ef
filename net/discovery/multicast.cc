#include "net/discovery/multicast.hh"

#include <ifaddrs.h>
#include <net/if.h>

#include <algorithm>
#include <array>
#include <map>

#include "net/driver/udp/sockaddr.hh"

namespace hpcvmm::net::discovery {
namespace {

/// Interfaces that are up and know multicast, with an address of the family: name and index.
std::map<unsigned, std::string> usable(const std::vector<std::string>& names, int family) {
  std::map<unsigned, std::string> out;
  ifaddrs* list = nullptr;
  if (::getifaddrs(&list) != 0) return out;
  for (const ifaddrs* i = list; i != nullptr; i = i->ifa_next) {
    if (i->ifa_addr == nullptr || i->ifa_addr->sa_family != family) continue;
    const bool wanted = names.empty() || std::find(names.begin(), names.end(), i->ifa_name) != names.end();
    constexpr unsigned kUp = IFF_UP | IFF_MULTICAST;
    if (!wanted || (i->ifa_flags & kUp) != kUp) continue;
    if (names.empty() && (i->ifa_flags & IFF_LOOPBACK) != 0) continue;
    out.emplace(::if_nametoindex(i->ifa_name), i->ifa_name);
  }
  ::freeifaddrs(list);
  out.erase(0);
  return out;
}

Result<UniqueFd> open_socket(const Address& group) {
  const bool v4 = group.is_v4();
  UniqueFd fd(::socket(v4 ? AF_INET : AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return Error::last("multicast: socket");
  const int on = 1;
  // Several nodes may live on one machine.
  ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (!v4) ::setsockopt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
  sockaddr_storage at{};
  Address any = v4 ? Address::from_v4(0, group.port) : Address{};
  any.port = group.port;
  const socklen_t length = to_sockaddr(any, v4, at);
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&at), length) != 0)
    return Error::last("multicast: bind");
  return fd;
}

int join_one(int fd, const Address& group, unsigned index) {
  group_req request{};
  request.gr_interface = index;
  to_sockaddr(group, group.is_v4(), request.gr_group);
  return ::setsockopt(fd, group.is_v4() ? IPPROTO_IP : IPPROTO_IPV6, MCAST_JOIN_GROUP, &request,
                      sizeof request);
}

void leave_by(int fd, bool v4, unsigned index) {
  if (v4) {
    ip_mreqn request{};
    request.imr_ifindex = static_cast<int>(index);
    ::setsockopt(fd, IPPROTO_IP, IP_MULTICAST_IF, &request, sizeof request);
  } else {
    const int number = static_cast<int>(index);
    ::setsockopt(fd, IPPROTO_IPV6, IPV6_MULTICAST_IF, &number, sizeof number);
  }
}

}  // namespace

Result<Multicast> Multicast::open(const MulticastConfig& config) {
  Multicast m;
  m.names_ = config.interfaces;
  Error last = Error::of(EINVAL, "multicast: no group");
  for (const Address& group : config.groups) {
    Result<UniqueFd> fd = open_socket(group);
    if (!fd) {
      last = fd.error();
      continue;
    }
    m.sockets_.push_back({*std::move(fd), group, {}});
    m.join(m.sockets_.back());
  }
  if (m.sockets_.empty()) return last;
  return m;
}

void Multicast::join(Socket& s) {
  const auto now = usable(names_, s.group.is_v4() ? AF_INET : AF_INET6);
  std::erase_if(s.joined, [&](unsigned index) { return !now.contains(index); });
  for (const auto& [index, name] : now) {
    if (s.joined.contains(index)) continue;
    if (join_one(s.fd.get(), s.group, index) == 0 || errno == EADDRINUSE) s.joined.insert(index);
  }
}

unsigned Multicast::send(std::span<const std::byte> bytes) {
  unsigned sent = 0;
  for (Socket& s : sockets_) {
    join(s);
    sockaddr_storage at{};
    const socklen_t length = to_sockaddr(s.group, s.group.is_v4(), at);
    for (const unsigned index : s.joined) {
      leave_by(s.fd.get(), s.group.is_v4(), index);
      if (::sendto(s.fd.get(), bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL,
                   reinterpret_cast<const sockaddr*>(&at), length) > 0)
        ++sent;
    }
  }
  return sent;
}

void Multicast::send_back(const Origin& origin, std::span<const std::byte> bytes) {
  ::sendto(origin.socket, bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL,
           reinterpret_cast<const sockaddr*>(&origin.at), origin.length);
}

void Multicast::receive(unsigned most,
                        const std::function<void(std::span<const std::byte>, const Origin&)>& each) {
  std::array<std::byte, 2048> buffer{};
  for (const Socket& s : sockets_) {
    for (unsigned i = 0; i < most; ++i) {
      Origin origin;
      origin.socket = s.fd.get();
      origin.length = sizeof origin.at;
      const ssize_t n = ::recvfrom(s.fd.get(), buffer.data(), buffer.size(), MSG_DONTWAIT | MSG_TRUNC,
                                   reinterpret_cast<sockaddr*>(&origin.at), &origin.length);
      if (n < 0) break;
      if (static_cast<std::size_t>(n) > buffer.size()) continue;
      origin.from = from_sockaddr(origin.at);
      each(std::span(buffer).first(static_cast<std::size_t>(n)), origin);
    }
  }
}

std::vector<int> Multicast::fds() const {
  std::vector<int> out;
  for (const Socket& s : sockets_) out.push_back(s.fd.get());
  return out;
}

std::vector<std::string> Multicast::interfaces() const {
  std::set<std::string> names;
  std::array<char, IF_NAMESIZE> name{};
  for (const Socket& s : sockets_)
    for (const unsigned index : s.joined)
      if (::if_indextoname(index, name.data()) != nullptr) names.insert(name.data());
  return {names.begin(), names.end()};
}

}  // namespace hpcvmm::net::discovery
