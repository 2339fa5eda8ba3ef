// Address to and from the kernel's socket addresses.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cstring>

#include "net/driver/address.hh"

namespace hpcvmm::net {

/// Fills `out` for a socket of the family `v4` says; returns its length, 0: an IPv6 address for an IPv4
/// socket.
inline socklen_t to_sockaddr(const Address& a, bool v4, sockaddr_storage& out) {
  if (v4) {
    if (!a.is_v4()) return 0;
    sockaddr_in in{};
    in.sin_family = AF_INET;
    in.sin_port = htons(a.port);
    in.sin_addr.s_addr = htonl(a.v4());
    std::memcpy(&out, &in, sizeof in);
    return sizeof in;
  }
  sockaddr_in6 in6{};
  in6.sin6_family = AF_INET6;
  in6.sin6_port = htons(a.port);
  std::memcpy(&in6.sin6_addr, a.ip.data(), a.ip.size());
  std::memcpy(&out, &in6, sizeof in6);
  return sizeof in6;
}

inline Address from_sockaddr(const sockaddr_storage& s) {
  if (s.ss_family == AF_INET) {
    sockaddr_in in{};
    std::memcpy(&in, &s, sizeof in);
    return Address::from_v4(ntohl(in.sin_addr.s_addr), ntohs(in.sin_port));
  }
  sockaddr_in6 in6{};
  std::memcpy(&in6, &s, sizeof in6);
  Address a;
  std::memcpy(a.ip.data(), &in6.sin6_addr, a.ip.size());
  a.port = ntohs(in6.sin6_port);
  return a;
}

}  // namespace hpcvmm::net
