// Announcements by multicast: kernel sockets of their own, on all interfaces or some, IPv4 and IPv6.  Beside
// the driver, which may be DPDK and know no groups.
#pragma once

#include <sys/socket.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "hpcvmm/base/result.hh"
#include "hpcvmm/base/unique_fd.hh"
#include "net/driver/address.hh"

namespace hpcvmm::net::discovery {

struct MulticastConfig {
  std::vector<std::string> interfaces;  ///< empty: all that are up and know multicast
  /// One IPv4 and one IPv6 group at the most; the ports are the groups' own.
  std::vector<Address> groups;
};

/// Threads: one.  Nothing blocks.
class Multicast {
 public:
  /// Where a datagram came from, as far as one needs to answer it the same way.
  struct Origin {
    Address from;
    int socket = -1;
    sockaddr_storage at{};
    socklen_t length = 0;
  };

  /// Errors: those of socket and bind, if not one group's socket could be made.
  static Result<Multicast> open(const MulticastConfig& config);

  /// To the groups, out of every interface.  Looks for new interfaces first, and joins there.  Returns how
  /// many datagrams left.
  unsigned send(std::span<const std::byte> bytes);
  /// To whoever sent that, from the socket it came in on.
  static void send_back(const Origin& origin, std::span<const std::byte> bytes);
  /// Calls `each` for what has arrived, at most `most` datagrams.
  void receive(unsigned most, const std::function<void(std::span<const std::byte>, const Origin&)>& each);
  [[nodiscard]] std::vector<int> fds() const;
  /// Names of the interfaces it listens on.
  [[nodiscard]] std::vector<std::string> interfaces() const;

 private:
  struct Socket {
    UniqueFd fd;
    Address group;
    std::set<unsigned> joined;  ///< indices of interfaces
  };
  void join(Socket& s);

  std::vector<std::string> names_;
  std::vector<Socket> sockets_;
};

}  // namespace hpcvmm::net::discovery
