#include "vmm/sys/messages.hh"

#include <algorithm>
#include <bit>
#include <iterator>

namespace hpcvmm::sys {
namespace {

// By number, from 1.  Source: linux/net.h.  accept, send and recv are their larger sisters with zeros.
constexpr SocketCall kSocketCalls[] = {
    {Call::socket, 3},   {Call::bind, 3},        {Call::connect, 3},     {Call::listen, 2},
    {Call::accept4, 3},  {Call::getsockname, 3}, {Call::getpeername, 3}, {Call::socketpair, 4},
    {Call::sendto, 4},   {Call::recvfrom, 4},    {Call::sendto, 6},      {Call::recvfrom, 6},
    {Call::shutdown, 2}, {Call::setsockopt, 5},  {Call::getsockopt, 5},  {Call::sendmsg, 3},
    {Call::recvmsg, 3},  {Call::accept4, 4},     {Call::recvmmsg, 5},    {Call::sendmmsg, 4},
};

void* pointer32(std::uint32_t word) { return std::bit_cast<void*>(std::uint64_t{word}); }

}  // namespace

bool read_iovec(Abi abi, ReadGuest read, std::uint64_t at, std::size_t count, iovec* to) {
  if (abi == Abi::X64) return read(to, at, count * sizeof(iovec));
  constexpr std::size_t kPiece = 64;
  std::array<Iovec32, kPiece> small{};
  for (std::size_t done = 0; done < count;) {
    const std::size_t n = std::min(kPiece, count - done);
    if (!read(small.data(), at + done * sizeof small[0], n * sizeof small[0])) return false;
    for (std::size_t i = 0; i < n; ++i)
      to[done + i] = {pointer32(small[i].base),
                      static_cast<std::size_t>(std::int64_t{static_cast<std::int32_t>(small[i].len)})};
    done += n;
  }
  return true;
}

bool read_msghdr(Abi abi, ReadGuest read, std::uint64_t at, msghdr& to) {
  if (abi == Abi::X64) return read(&to, at, sizeof to);
  Msghdr32 m{};
  if (!read(&m, at, sizeof m)) return false;
  to = {};
  to.msg_name = pointer32(m.name);
  to.msg_namelen = static_cast<socklen_t>(m.namelen);
  to.msg_iov = static_cast<iovec*>(pointer32(m.iov));
  to.msg_iovlen = m.iovlen;
  to.msg_control = pointer32(m.control);
  to.msg_controllen = m.controllen;
  to.msg_flags = static_cast<int>(m.flags);
  return true;
}

const SocketCall* socket_call(std::uint64_t number) {
  return number >= 1 && number <= std::size(kSocketCalls) ? &kSocketCalls[number - 1] : nullptr;
}

}  // namespace hpcvmm::sys
