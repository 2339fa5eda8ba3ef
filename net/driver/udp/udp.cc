#include "net/driver/udp/udp.hh"

#include <ifaddrs.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <new>

#include "net/driver/udp/sockaddr.hh"

namespace hpcvmm::net {
namespace {

constexpr std::uint32_t kMostPayload = 65507;
constexpr std::uint32_t kHeaders4 = 20 + 8;
constexpr std::uint32_t kHeaders6 = 40 + 8;

bool is_any(const Address& a) {
  return (a.is_v4() && a.v4() == 0) ||
         std::all_of(a.ip.begin(), a.ip.end(), [](std::uint8_t b) { return b == 0; });
}

int mtu_of(int socket, const char* name) {
  ifreq request{};
  std::strncpy(request.ifr_name, name, sizeof request.ifr_name - 1);
  return ::ioctl(socket, SIOCGIFMTU, &request) == 0 ? request.ifr_mtu : 0;
}

/// The MTU of the interface that has the address; for "any" the largest of those that are not loopback.
int find_mtu(int socket, const Address& bound) {
  ifaddrs* list = nullptr;
  if (::getifaddrs(&list) != 0) return 0;
  int mtu = 0;
  for (const ifaddrs* i = list; i != nullptr; i = i->ifa_next) {
    if (i->ifa_addr == nullptr) continue;
    const int family = i->ifa_addr->sa_family;
    if (family != AF_INET && family != AF_INET6) continue;
    sockaddr_storage s{};
    std::memcpy(&s, i->ifa_addr, family == AF_INET ? sizeof(sockaddr_in) : sizeof(sockaddr_in6));
    Address a = from_sockaddr(s);
    a.port = bound.port;
    const bool loopback = (i->ifa_flags & IFF_LOOPBACK) != 0;
    if (is_any(bound) ? !loopback : a == bound) mtu = std::max(mtu, mtu_of(socket, i->ifa_name));
  }
  ::freeifaddrs(list);
  return mtu;
}

void set_buffer(int socket, int force, int polite, int bytes) {
  if (::setsockopt(socket, SOL_SOCKET, force, &bytes, sizeof bytes) == 0) return;
  ::setsockopt(socket, SOL_SOCKET, polite, &bytes, sizeof bytes);
}

// No fragments: a datagram that is too long for the path is lost, and the transport finds out.
void forbid_fragments(int socket, bool v4) {
  const int probe4 = IP_PMTUDISC_PROBE;
  const int probe6 = IPV6_PMTUDISC_PROBE;
  if (v4) {
    ::setsockopt(socket, IPPROTO_IP, IP_MTU_DISCOVER, &probe4, sizeof probe4);
  } else {
    ::setsockopt(socket, IPPROTO_IPV6, IPV6_MTU_DISCOVER, &probe6, sizeof probe6);
    // IPv4 peers of a socket that serves both.
    ::setsockopt(socket, IPPROTO_IP, IP_MTU_DISCOVER, &probe4, sizeof probe4);
  }
}

}  // namespace

struct UdpDriver::Calls {
  std::array<mmsghdr, kMaxBurst> messages{};
  std::array<iovec, kMaxBurst> vectors{};
  std::array<sockaddr_storage, kMaxBurst> from{};
  sockaddr_storage to{};
};

Result<std::unique_ptr<UdpDriver>> UdpDriver::create(const UdpConfig& config) {
  const bool v4 = config.bind.is_v4();
  UniqueFd socket(::socket(v4 ? AF_INET : AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket) return Error::last("udp: socket");
  const int off = 0;
  if (!v4) ::setsockopt(socket.get(), IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
  set_buffer(socket.get(), SO_RCVBUFFORCE, SO_RCVBUF, config.receive_buffer);
  set_buffer(socket.get(), SO_SNDBUFFORCE, SO_SNDBUF, config.send_buffer);
  forbid_fragments(socket.get(), v4);
  sockaddr_storage at{};
  socklen_t length = to_sockaddr(config.bind, v4, at);
  if (::bind(socket.get(), reinterpret_cast<const sockaddr*>(&at), length) != 0)
    return Error::last("udp: bind");
  length = sizeof at;
  if (::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&at), &length) != 0) {
    return Error::last("udp: getsockname");
  }
  const Address local = from_sockaddr(at);
  std::uint32_t payload = config.max_payload;
  if (payload == 0) {
    const auto mtu = static_cast<std::uint32_t>(std::max(find_mtu(socket.get(), local), 1280));
    payload = mtu - (v4 ? kHeaders4 : kHeaders6);
  }
  payload = std::min(payload, kMostPayload);
  return std::unique_ptr<UdpDriver>(new UdpDriver(std::move(socket), config, local, payload));
}

UdpDriver::UdpDriver(UniqueFd socket, const UdpConfig& config, Address local, std::uint32_t max_payload)
    : socket_(std::move(socket)),
      wait_fd_(socket_.get()),
      local_(local),
      max_payload_(max_payload),
      slot_bytes_((max_payload + 63) / 64 * 64),
      memory_(static_cast<std::byte*>(
          ::operator new (std::size_t{slot_bytes_} * config.buffers, std::align_val_t{4096}))),
      calls_(std::make_unique<Calls>()) {
  free_.reserve(config.buffers);
  for (std::uint32_t i = config.buffers; i != 0; --i)
    free_.push_back(memory_ + std::size_t{slot_bytes_} * (i - 1));
}

UdpDriver::~UdpDriver() { ::operator delete (memory_, std::align_val_t{4096}); }

std::size_t UdpDriver::alloc(std::span<TxPacket> out) {
  // A burst is left for the receiver, lest both ends wait for each other's acknowledgements.
  const std::size_t spare = free_.size() > kMaxBurst ? free_.size() - kMaxBurst : 0;
  const std::size_t n = std::min(out.size(), spare);
  for (std::size_t i = 0; i < n; ++i) {
    std::byte* const buffer = free_.back();
    free_.pop_back();
    out[i] = {buffer, slot_bytes_, 0, buffer};
  }
  if (n < out.size()) ++counters_.tx_busy;
  return n;
}

void UdpDriver::free(std::span<TxPacket> packets) {
  for (const TxPacket& p : packets) give(p.handle);
}

std::size_t UdpDriver::send(const Address& to, std::span<TxPacket> packets) {
  Calls& c = *calls_;
  const socklen_t length = to_sockaddr(to, local_.is_v4(), c.to);
  const std::size_t count = std::min(packets.size(), kMaxBurst);
  for (std::size_t i = 0; i < count; ++i) {
    c.vectors[i] = {packets[i].data, packets[i].bytes};
    c.messages[i] = {};
    c.messages[i].msg_hdr.msg_iov = &c.vectors[i];
    c.messages[i].msg_hdr.msg_iovlen = 1;
    c.messages[i].msg_hdr.msg_name = &c.to;
    c.messages[i].msg_hdr.msg_namelen = length;
  }
  std::size_t done = 0;
  while (done < count) {
    const int n = length == 0 ? -1
                              : ::sendmmsg(socket_.get(), &c.messages[done],
                                           static_cast<unsigned>(count - done), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n > 0) {
      for (int i = 0; i < n; ++i) counters_.tx_bytes += packets[done + static_cast<std::size_t>(i)].bytes;
      done += static_cast<std::size_t>(n);
      continue;
    }
    const bool full =
        length != 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == ENOBUFS || errno == EINTR);
    if (full) {
      ++counters_.tx_busy;
      break;
    }
    // This one cannot be sent now (no route, too long, a firewall): it is lost.
    ++counters_.tx_errors;
    ++done;
  }
  counters_.tx_packets += done;
  free(packets.first(done));
  return done;
}

std::size_t UdpDriver::receive(std::span<RxPacket> out) {
  Calls& c = *calls_;
  const std::size_t want = std::min({out.size(), kMaxBurst, free_.size()});
  if (want == 0) return 0;
  for (std::size_t i = 0; i < want; ++i) {
    c.vectors[i] = {free_[free_.size() - 1 - i], slot_bytes_};
    c.messages[i] = {};
    c.messages[i].msg_hdr.msg_iov = &c.vectors[i];
    c.messages[i].msg_hdr.msg_iovlen = 1;
    c.messages[i].msg_hdr.msg_name = &c.from[i];
    c.messages[i].msg_hdr.msg_namelen = sizeof c.from[i];
  }
  const int n =
      ::recvmmsg(socket_.get(), c.messages.data(), static_cast<unsigned>(want), MSG_DONTWAIT, nullptr);
  if (n <= 0) return 0;
  std::size_t given = 0;
  for (std::size_t i = 0; i < static_cast<std::size_t>(n); ++i) {
    auto* const buffer = static_cast<std::byte*>(c.vectors[i].iov_base);
    free_.pop_back();
    if ((c.messages[i].msg_hdr.msg_flags & MSG_TRUNC) != 0) {
      ++counters_.rx_errors;
      rejected_.push_back(buffer);
      continue;
    }
    out[given++] = {buffer, c.messages[i].msg_len, from_sockaddr(c.from[i]), buffer};
    counters_.rx_bytes += c.messages[i].msg_len;
  }
  for (std::byte* buffer : rejected_) give(buffer);
  rejected_.clear();
  counters_.rx_packets += given;
  return given;
}

void UdpDriver::release(std::span<RxPacket> packets) {
  for (const RxPacket& p : packets) give(p.handle);
}

}  // namespace hpcvmm::net
