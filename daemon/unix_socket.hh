// Unix sockets: listening at a path, sending datagrams with descriptors.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <span>
#include <string>

#include "hpcvmm/base/result.hh"
#include "hpcvmm/base/unique_fd.hh"

namespace hpcvmm::daemon {

/// Listens at `path`, non-blocking, close-on-exec, with these permissions; a socket that stands there already
/// is replaced. Errors: ENAMETOOLONG over 107 bytes; those of socket, bind, chmod, listen.
Result<UniqueFd> listen_unix(const std::string& path, int type, mode_t mode);

/// Sends one datagram without waiting.  At most 4 descriptors.  Errors: EAGAIN the other end does not read;
/// those of sendmsg(2).
Status send_datagram(int fd, std::span<const std::byte> message, std::span<const int> descriptors);

}  // namespace hpcvmm::daemon
