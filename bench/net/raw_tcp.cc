// One kernel TCP stream: what a transport without a driver of its own would have.
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstring>

#include "bench/net/raw_end.hh"
#include "hpcvmm/base/unique_fd.hh"

namespace hpcvmm::bench {
namespace {

constexpr std::size_t kPiecePages = 64;
constexpr int kTries = 100;

sockaddr to_sockaddr(const net::Address& address) {
  sockaddr_in in{};
  in.sin_family = AF_INET;
  in.sin_port = htons(address.port);
  in.sin_addr.s_addr = htonl(address.v4());
  sockaddr generic{};
  std::memcpy(&generic, &in, sizeof in);
  return generic;
}

}  // namespace

Figures tcp_send(const net::Address& to, double seconds) {
  const sockaddr target = to_sockaddr(to);
  UniqueFd stream;
  for (int i = 0; i < kTries; ++i) {
    stream = UniqueFd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (::connect(stream.get(), &target, sizeof target) == 0) break;
    ::usleep(20'000);
  }
  Memory memory;
  Figures figures;
  const net::SystemClock clock;
  const double cpu = cpu_seconds();
  const net::Nanos begin = clock.now();
  const net::Nanos end = begin + static_cast<net::Nanos>(seconds * 1e9);
  while (clock.now() < end) {
    // Pages from all over the memory, gathered by the kernel: no copy of ours.
    std::array<iovec, kPiecePages> pieces;
    for (iovec& piece : pieces) piece = {memory.next(), kPageBytes};
    msghdr message{};
    message.msg_iov = pieces.data();
    message.msg_iovlen = pieces.size();
    const ssize_t n = ::sendmsg(stream.get(), &message, MSG_NOSIGNAL);
    if (n <= 0) break;
    figures.pages += static_cast<std::uint64_t>(n) / kPageBytes;
  }
  figures.seconds = static_cast<double>(clock.now() - begin) / 1e9;
  figures.cpu = (cpu_seconds() - cpu) / figures.seconds;
  return figures;
}

Figures tcp_receive(const net::Address& at) {
  const UniqueFd listener(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const int yes = 1;
  ::setsockopt(listener.get(), SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  const sockaddr own = to_sockaddr(at);
  if (::bind(listener.get(), &own, sizeof own) != 0 || ::listen(listener.get(), 1) != 0) {
    std::perror("hpc-vmm-net-raw: listen");
    return {};
  }
  const UniqueFd stream(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
  Memory memory;
  Figures figures;
  const net::SystemClock clock;
  const double cpu = cpu_seconds();
  const net::Nanos begin = clock.now();
  std::uint64_t bytes = 0;
  for (;;) {
    std::array<iovec, kPiecePages> pieces;
    for (iovec& piece : pieces) piece = {memory.next(), kPageBytes};
    const ssize_t n = ::readv(stream.get(), pieces.data(), static_cast<int>(pieces.size()));
    if (n <= 0) break;
    bytes += static_cast<std::uint64_t>(n);
  }
  figures.seconds = static_cast<double>(clock.now() - begin) / 1e9;
  figures.pages = bytes / kPageBytes;
  figures.cpu = (cpu_seconds() - cpu) / figures.seconds;
  return figures;
}

}  // namespace hpcvmm::bench
