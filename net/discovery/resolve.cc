// Apart from map_file.cc: the system's resolver cannot be linked into the static hpc-vmm.
#include <netdb.h>

#include "net/discovery/map_file.hh"
#include "net/driver/udp/sockaddr.hh"

namespace hpcvmm::net::discovery {

std::optional<Address> resolve_host(const std::string& host) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_DGRAM;
  addrinfo* list = nullptr;
  if (::getaddrinfo(host.c_str(), nullptr, &hints, &list) != 0) return std::nullopt;
  std::optional<Address> out;
  for (const addrinfo* i = list; i != nullptr && !out; i = i->ai_next) {
    if (i->ai_family != AF_INET && i->ai_family != AF_INET6) continue;
    sockaddr_storage s{};
    std::memcpy(&s, i->ai_addr, i->ai_addrlen);
    out = from_sockaddr(s);
  }
  ::freeaddrinfo(list);
  return out;
}

}  // namespace hpcvmm::net::discovery
