// What the kernel says of a network interface in our network namespace.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "hpcvmm/base/result.hh"
#include "hpcvmm/base/unique_fd.hh"
#include "net/driver/address.hh"

namespace hpcvmm::net::dpdk {

struct Interface {
  int index = 0;
  std::uint32_t mtu = 0;  ///< bytes of an IP packet
  bool is_up = false;
};

/// Errors: ENODEV no such interface, EPERM no raw sockets for us; `why` names the remedy.
Result<Interface> find_interface(const std::string& name, std::string& why);

/// Takes UDP port `address` from the kernel, which reads an interface beside us: it would answer each
/// datagram of ours with "port unreachable".  The socket drops whatever the kernel delivers.  No descriptor:
/// the kernel does not have that address, so it does not care. Errors: EADDRINUSE another program has that
/// port.
Result<UniqueFd> guard_port(const Address& address, std::string& why);

}  // namespace hpcvmm::net::dpdk
