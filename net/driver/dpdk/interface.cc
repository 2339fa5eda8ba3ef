#include "net/driver/dpdk/interface.hh"

#include <arpa/inet.h>
#include <linux/filter.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstring>
#include <system_error>

namespace hpcvmm::net::dpdk {
namespace {

std::string interfaces_here() {
  std::string names;
  struct if_nameindex* const all = ::if_nameindex();
  if (all == nullptr) return "none";
  for (const auto* one = all; one->if_index != 0; ++one)
    names += (names.empty() ? "" : ", ") + std::string(one->if_name);
  ::if_freenameindex(all);
  return names;
}

}  // namespace

Result<Interface> find_interface(const std::string& name, std::string& why) {
  const unsigned index = ::if_nametoindex(name.c_str());
  if (index == 0) {
    why = "interface \"" + name +
          "\" does not exist in this network namespace; there are: " + interfaces_here();
    return Error::of(ENODEV, "if_nametoindex");
  }
  const UniqueFd raw(::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0));
  if (!raw) {
    const Error error = Error::last("socket(AF_PACKET)");
    why = "interface " + name + ": " + std::generic_category().message(error.code) +
          (error.code == EPERM
               ? "; frames need CAP_NET_RAW: run as root or grant it (setcap cap_net_raw+ep, or "
                 "AmbientCapabilities=CAP_NET_RAW in the systemd unit)"
               : "");
    return error;
  }
  ifreq request{};
  std::memcpy(request.ifr_name, name.data(), std::min(name.size(), sizeof request.ifr_name - 1));
  Interface found{.index = static_cast<int>(index)};
  if (::ioctl(raw.get(), SIOCGIFMTU, &request) == 0) found.mtu = static_cast<std::uint32_t>(request.ifr_mtu);
  if (::ioctl(raw.get(), SIOCGIFFLAGS, &request) == 0) found.is_up = (request.ifr_flags & IFF_UP) != 0;
  return found;
}

Result<UniqueFd> guard_port(const Address& address, std::string& why) {
  UniqueFd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket) return Error::last("socket(AF_INET)");
  // Classic BPF "return 0": drop.  Before bind(), so that nothing is ever queued.
  sock_filter drop{.code = BPF_RET | BPF_K, .jt = 0, .jf = 0, .k = 0};
  const sock_fprog program{.len = 1, .filter = &drop};
  if (::setsockopt(socket.get(), SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program) != 0)
    return Error::last("setsockopt(SO_ATTACH_FILTER)");
  sockaddr_in at{};
  at.sin_family = AF_INET;
  at.sin_port = htons(address.port);
  at.sin_addr.s_addr = htonl(address.v4());
  sockaddr generic{};
  static_assert(sizeof generic == sizeof at);
  std::memcpy(&generic, &at, sizeof generic);
  if (::bind(socket.get(), &generic, sizeof generic) == 0) return socket;
  if (errno == EADDRNOTAVAIL) return UniqueFd();
  const Error error = Error::last("bind");
  why = "UDP " + address.text() + ": " + std::generic_category().message(error.code) +
        (error.code == EADDRINUSE ? "; another program (another hpcd?) uses this port: `ss -ulpn` names it"
                                  : "");
  return error;
}

}  // namespace hpcvmm::net::dpdk
