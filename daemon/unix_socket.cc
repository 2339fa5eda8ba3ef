#include "daemon/unix_socket.hh"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <array>
#include <cstring>

namespace hpcvmm::daemon {

Result<UniqueFd> listen_unix(const std::string& path, int type, mode_t mode) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) return Error::of(ENAMETOOLONG, "path of a Unix socket");
  path.copy(address.sun_path, path.size());
  UniqueFd fd(::socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return Error::last("socket");
  struct stat s {};
  if (::lstat(path.c_str(), &s) == 0 && S_ISSOCK(s.st_mode)) ::unlink(path.c_str());
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    return Error::last("bind of a Unix socket");
  if (::chmod(path.c_str(), mode) != 0) return Error::last("chmod of a Unix socket");
  if (::listen(fd.get(), 1024) != 0) return Error::last("listen");
  return fd;
}

Status send_datagram(int fd, std::span<const std::byte> message, std::span<const int> descriptors) {
  iovec vector{const_cast<std::byte*>(message.data()), message.size()};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int) * 4)> control{};
  msghdr m{};
  m.msg_iov = &vector;
  m.msg_iovlen = 1;
  if (!descriptors.empty()) {
    if (descriptors.size() > 4) return Error::of(EINVAL, "more than 4 descriptors");
    m.msg_control = control.data();
    m.msg_controllen = CMSG_SPACE(descriptors.size_bytes());
    cmsghdr* const c = CMSG_FIRSTHDR(&m);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(descriptors.size_bytes());
    std::memcpy(CMSG_DATA(c), descriptors.data(), descriptors.size_bytes());
  }
  if (::sendmsg(fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL) < 0) return Error::last("sendmsg");
  return Unit{};
}

}  // namespace hpcvmm::daemon
