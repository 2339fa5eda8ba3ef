// Memory that is shared with other processes, at the remote: mapped from the node's share server.
#include <sys/mman.h>
#include <unistd.h>

#include "vmm/migrate/bytes.hh"
#include "vmm/migrate/host.hh"
#include "vmm/migrate/remote_impl.hh"

namespace hpcvmm::migrate {
namespace {
constexpr std::uint64_t kUffdPagefaultWp = 1U << 0U;
constexpr std::uint64_t kUffdWpShmem = 1U << 12U;
}  // namespace

void Remote::on_share_server(const ShareServer& s) {
  auto uffd = open_userfaultfd(uffd_device, kUffdPagefaultWp | kUffdWpShmem);
  if (!uffd) return;
  const share::Hooks hooks{host().hide_fd, host().close_fd};
  static_cast<void>(!share_.connect(hooks, s.name, *uffd));
  ::close(*uffd);
}

/// In the place of a mapping that has just been made.  False: the server is not there, or no memory.
bool Remote::map_coherent(const MapEntry& e) {
  if (!share_.connected()) return false;
  share::Request r;
  r.ask = share::Ask::Get;
  r.object = e.file;
  r.begin = e.begin;
  r.end = e.end;
  r.offset = e.offset;
  share::Reply out;
  int fd = -1;
  if (!share_.request(r, -1, out, &fd) || out.code != 0 || fd < 0) return false;
  const auto prot = static_cast<int>(e.prot & (PROT_READ | PROT_WRITE | PROT_EXEC));
  void* at = MAP_FAILED;
  {
    const mem::LockGuard guard(mm_->lock());
    at = ::mmap(pointer(e.begin), e.end - e.begin, prot, MAP_SHARED | MAP_FIXED, fd,
                static_cast<off_t>(e.offset));
  }
  ::close(fd);
  if (at == MAP_FAILED) return false;
  r.ask = share::Ask::Add;
  return share_.request(r, -1, out) && out.code == 0;
}

void Remote::unmap_coherent(std::uint64_t begin, std::uint64_t end) {
  if (!share_.connected()) return;
  share::Request r;
  r.ask = share::Ask::Remove;
  r.begin = begin;
  r.end = end;
  share::Reply out;
  static_cast<void>(share_.request(r, -1, out));
}

}  // namespace hpcvmm::migrate
