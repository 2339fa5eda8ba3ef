#include "vmm/share/server/doorkeeper.hh"

#include <fcntl.h>
#include <sys/fanotify.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <string>

namespace hpcvmm::share {
namespace {
std::string path_of(int fd) { return "/proc/self/fd/" + std::to_string(fd); }
}  // namespace

Doorkeeper::Doorkeeper()
    : fd_(::fanotify_init(FAN_CLASS_CONTENT | FAN_CLOEXEC | FAN_NONBLOCK,
                          O_RDONLY | O_CLOEXEC | O_LARGEFILE)) {}

bool Doorkeeper::guard(int fd) {
  return fd_ && ::fanotify_mark(fd_.get(), FAN_MARK_ADD, FAN_OPEN_PERM, AT_FDCWD, path_of(fd).c_str()) == 0;
}

void Doorkeeper::leave(int fd) {
  if (fd_) ::fanotify_mark(fd_.get(), FAN_MARK_REMOVE, FAN_OPEN_PERM, AT_FDCWD, path_of(fd).c_str());
}

bool Doorkeeper::next(Visitor& out) {
  fanotify_event_metadata e{};
  // One at a time: the room is that of one event.
  if (::read(fd_.get(), &e, sizeof e) < static_cast<ssize_t>(sizeof e) || e.fd < 0) return false;
  out.pid = e.pid;
  out.file = UniqueFd(e.fd);
  return true;
}

void Doorkeeper::let_in(const Visitor& v) {
  fanotify_response r{};
  r.fd = v.file.get();
  r.response = FAN_ALLOW;
  static_cast<void>(0 > ::write(fd_.get(), &r, sizeof r));
}

}  // namespace hpcvmm::share
