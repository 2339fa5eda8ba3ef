#include "vmm/names/home.hh"

#include <fcntl.h>
#include <linux/capability.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "hpcvmm/base/layout.hh"
#include "vmm/mem/arena.hh"

namespace hpcvmm::names {

using wire::names::HomePage;
using wire::names::Id;
namespace local = wire::local;

void Home::take(int page, int bell, const Hooks& hooks) {
  hooks_ = hooks;
  if (page < 0 || bell < 0 || page_ != nullptr) {
    for (const int fd : {page, bell})
      if (fd >= 0) ::close(fd);
    return;
  }
  const std::uint64_t at = mem::arena_reserve(kPageSize);
  void* const mapped = at == 0 ? MAP_FAILED
                               : ::mmap(reinterpret_cast<void*>(at), sizeof(HomePage), PROT_READ,  // NOLINT
                                        MAP_SHARED | MAP_FIXED_NOREPLACE, page, 0);
  ::close(page);
  hooks_.hide_fd(bell, &bell_);
  if (mapped == MAP_FAILED) return;
  page_ = static_cast<const HomePage*>(mapped);
  struct stat root {};
  struct stat space {};
  usable_ = ::stat("/", &root) == 0 && ::stat("/proc/self/ns/mnt", &space) == 0 &&
            page_->root == Id{root.st_dev, root.st_ino} && page_->mount_namespace == space.st_ino;
}

void Home::close() {
  usable_ = false;
  if (bell_ >= 0) hooks_.close_fd(bell_);
  bell_ = -1;
}

std::uint64_t Home::epoch() const {
  if (!usable_.load(std::memory_order_relaxed) || bell_ < 0) return 0;
  epoll_event e{};
  // Nothing to be read: all that has happened was read the last time, or before.  Something: it is read next
  // time at the latest.
  const long pending = ::syscall(SYS_epoll_wait, bell_, &e, 1, 0);
  return page_->begun.load(std::memory_order_seq_cst) + (pending == 0 ? 0 : 1);
}

void Home::describe(Circumstances& out, bool descriptors) const {
  out = {};
  if (!usable_) return;
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct caps[2] = {};
  const auto user = static_cast<std::uint32_t>(::syscall(SYS_geteuid));
  struct stat here {};
  // access(2) asks for the real user, everything else for the effective one.
  if (user != static_cast<std::uint32_t>(::syscall(SYS_getuid)) || ::stat(".", &here) != 0 ||
      ::syscall(SYS_capget, &header, caps) != 0)
    return;
  constexpr std::uint32_t kAll = 1U << CAP_DAC_OVERRIDE | 1U << CAP_DAC_READ_SEARCH;
  out.flags = kUsable | ((caps[0].effective & kAll) == kAll ? kPowerful : 0);
  out.user = user;
  out.here = {here.st_dev, here.st_ino};
  const long n = ::syscall(SYS_getcwd, out.path, sizeof out.path);
  if (n <= 0 || out.path[0] != '/') out.path[0] = 0;
  rlimit most{};
  if (!descriptors || ::getrlimit(RLIMIT_NOFILE, &most) != 0 || most.rlim_cur < kMostDescriptors) return;
  for (unsigned fd = 0; fd < kMostDescriptors; ++fd)
    if (::syscall(SYS_fcntl, fd, F_GETFD) >= 0) out.descriptors |= std::uint64_t{1} << fd;
  out.flags |= kDescriptors;
}

bool Home::changes(std::uint64_t call) {
  switch (call) {
    case SYS_chdir:
    case SYS_fchdir: return true;
    case SYS_chroot:
    case SYS_pivot_root:
    case SYS_unshare:
    case SYS_setns:
    case SYS_setuid:
    case SYS_setreuid:
    case SYS_setresuid:
    case SYS_setfsuid:
    case SYS_capset:
    case SYS_mount:
    case SYS_umount2: forbid(); return true;
    default: return false;
  }
}

/// hpcd's descriptor of that inode; -1: it has none.
int Home::hold_of(const Id& id) const {
  const int socket_path = hooks_.cluster_fd != nullptr ? hooks_.cluster_fd() : -1;
  if (socket_path < 0) return -1;
  sockaddr_un to{};
  to.sun_family = AF_UNIX;
  std::snprintf(to.sun_path, sizeof to.sun_path, "/proc/self/fd/%d", socket_path);
  const int fd = ::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
  if (fd < 0) return -1;
  local::NamesHold ask;
  ask.id = id;
  int found = -1;
  pollfd p{fd, POLLIN, 0};
  if (::connect(fd, reinterpret_cast<const sockaddr*>(&to), sizeof to) == 0 &&
      ::send(fd, &ask, sizeof ask, MSG_NOSIGNAL) == sizeof ask && ::poll(&p, 1, 5000) == 1) {
    local::NamesHold answer;
    iovec room{&answer, sizeof answer};
    alignas(cmsghdr) char extra[CMSG_SPACE(sizeof(int))] = {};
    msghdr m{};
    m.msg_iov = &room;
    m.msg_iovlen = 1;
    m.msg_control = extra;
    m.msg_controllen = sizeof extra;
    const cmsghdr* const c = ::recvmsg(fd, &m, MSG_CMSG_CLOEXEC) > 0 ? CMSG_FIRSTHDR(&m) : nullptr;
    if (c != nullptr && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS)
      std::memcpy(&found, CMSG_DATA(c), sizeof found);
  }
  ::close(fd);
  return found;
}

const char* Home::reopen(const Reopen& r, const char* path) const {
  const auto is_it = [&r](int fd) {
    struct stat s {};
    return ::fstat(fd, &s) == 0 && r.id == Id{s.st_dev, s.st_ino};
  };
  const int flags = static_cast<int>(r.flags);
  // A descriptor shows how it was opened, to fcntl(F_GETFL) and in /proc.
  const auto open = [this, &r](const char* name, int how) {
    if (r.small == 0 || hooks_.open_small == nullptr) return ::open(name, how);
    return static_cast<int>(hooks_.open_small(name, how));
  };
  int fd = open(path, flags);
  if (fd >= 0 && !is_it(fd)) {
    ::close(fd);
    fd = -1;
  }
  if (fd < 0) {
    // Its name has gone, or is another file's; hpcd has kept the file.
    char kept[32];
    const int held = hold_of(r.id);
    if (held < 0) return "a file that it had open has gone before home could open it";
    std::snprintf(kept, sizeof kept, "/proc/self/fd/%d", held);
    fd = open(kept, flags & ~O_NOFOLLOW);
    ::close(held);
    if (fd < 0) return "a file that it had open cannot be opened at home";
  }
  if (r.position != 0 && ::lseek(fd, static_cast<off_t>(r.position), SEEK_SET) < 0)
    return "a file that it had open cannot be positioned";
  if (fd == r.descriptor) return nullptr;
  const long rc = ::syscall(SYS_dup3, fd, r.descriptor, flags & O_CLOEXEC);
  ::close(fd);
  return rc < 0 ? "a file that it had open has no place among its descriptors" : nullptr;
}

}  // namespace hpcvmm::names
