// Memory that is shared with other processes, at home: who is told of it, and what the other node has to
// know.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "vmm/mem/host_maps.hh"
#include "vmm/migrate/bytes.hh"
#include "vmm/migrate/home.hh"
#include "vmm/migrate/host.hh"
#include "vmm/migrate/trial.hh"

namespace hpcvmm::migrate {
namespace {

constexpr std::uint64_t kUffdPagefaultWp = 1U << 0U;
constexpr std::uint64_t kUffdWpShmem = 1U << 12U;
constexpr std::uint32_t kTmpfs = 0x01021994;  // statfs(2)
constexpr unsigned kMostTries = 200;
constexpr const char* kStaysWithFile = "a file that is written through memory stays where its file is";

bool g_served = false;  // NOLINT: written by Home::read_environment() alone

/// Opens what is mapped.  -1: `why` says why not.
template <class Connect> int open_mapped(const mem::HostFile& f, const char*& why, Connect connect) {
  std::array<char, 64> path{};
  std::snprintf(path.data(), path.size(), "/proc/self/map_files/%lx-%lx", static_cast<unsigned long>(f.begin),
                static_cast<unsigned long>(f.end));
  const auto open_memory = [&](const char* at) {
    struct statfs fs {};
    struct stat s {};
    if (::statfs(at, &fs) != 0 || ::stat(at, &s) != 0) return -1;
    errno = 0;
    // Opening a device could do something; opening memory waits for the server unless it knows us.
    const bool memory =
        static_cast<std::uint32_t>(fs.f_type) == kTmpfs && S_ISREG(s.st_mode) && s.st_ino == f.inode;
    if (!memory || !connect()) return -1;
    return ::open(at, O_RDWR | O_CLOEXEC);
  };
  errno = 0;
  int fd = open_memory(path.data());
  const int error = errno;
  // Without the right to that a name does, as long as there is one.
  if (fd < 0 && error == EPERM) fd = open_memory(f.path.data());
  why = error == EPERM ? "its sharers can only be served as root or with CAP_CHECKPOINT_RESTORE"
                       : kStaysWithFile;
  return fd;
}

/// Without HPCVMM_SHARE: what would help, if anything would.
const char* why_not_served(std::uint64_t at) {
  mem::HostFile f;
  struct statfs fs {};
  // Memory has no name, or one in a tmpfs.
  const bool on_disk = mem::host_file_at(at, f) && ::statfs(f.path.data(), &fs) == 0 &&
                       static_cast<std::uint32_t>(fs.f_type) != kTmpfs;
  return on_disk ? kStaysWithFile : "HPCVMM_SHARE=1 lets it move";
}

}  // namespace

bool Home::share_connect(std::string& why) {
  if (share_.connected()) return true;
  std::array<char, 64> name{};
  if (!share::server_name(host().cluster_fd(), name.data(), name.size())) return false;
  auto uffd = open_userfaultfd(-1, kUffdPagefaultWp | kUffdWpShmem);
  if (!uffd) {
    why = std::string(uffd.error().op) + ": give it access to /dev/userfaultfd, on Linux 5.19 or later";
    return false;
  }
  const share::Hooks hooks{host().hide_fd, host().close_fd};
  bool there = false;
  for (unsigned i = 0; i < kMostTries && !there; ++i) {
    there = static_cast<bool>(share_.connect(hooks, name.data(), *uffd));
    if (there) break;
    if (i % 50 == 0 && (host().start_share_server == nullptr || !host().start_share_server())) break;
    sleep_us(2000);
  }
  ::close(*uffd);
  if (there) share_.give_bell(poke_);
  if (!there) why = "its server cannot be started";
  return there;
}

/// A stretch that the server does not know of.  Under the mm lock.
void Home::share_one(std::uint64_t begin, std::uint64_t end) {
  if (!g_served) return share_.add(begin, end, 0, -1, why_not_served(begin));
  while (begin < end) {
    mem::HostFile f;
    if (!mem::host_file_at(begin, f)) {
      share_.add(begin, end, 0, -1, "it is not memory of a file system");
      return;
    }
    const std::uint64_t to = std::min(f.end, end);
    const char* why = "";
    std::string failed;
    const int fd = open_mapped(f, why, [&] { return share_connect(failed); });
    if (!failed.empty()) {
      share_failed_ = failed;
      return;
    }
    share_.add(begin, to, f.offset + (begin - f.begin), fd, why);
    if (fd >= 0) ::close(fd);
    begin = to;
  }
}

void Home::share_sync_locked() {
  std::vector<Range> news;
  for (const auto& [begin, v] : mm_->vmas_locked()) {
    if (!v.shared || v.steady) continue;
    share_.pieces(begin, v.end, [&](std::uint64_t from, std::uint64_t to, const share::Client::Range* r) {
      if (r == nullptr) news.push_back({from, to});
    });
  }
  for (const Range& r : news) share_one(r.begin, r.end);
}

void Home::read_environment() {
  const char* const text =
      std::getenv("HPCVMM_SHARE");  // NOLINT(concurrency-mt-unsafe): no second thread yet
  g_served = text != nullptr && text[0] == '1' && text[1] == 0;
  trial::read_environment();
}

bool Home::wants_files() const { return g_served; }

/// By whoever maps or unmaps shared memory, under the mm lock.
void Home::shared_changed() {
  share_sync_locked();
  shared_news_.store(true);
  poke();
}

void Home::shared_going(std::uint64_t begin, std::uint64_t end) { share_.remove(begin, end); }

/// By the mover, before the other node is asked.  From here on pages of what it shares may go there.
int Home::share_travel(std::uint32_t node, std::string& why) {
  share_travels_ = false;
  {
    const mem::LockGuard guard(mm_->lock());
    if (share_.empty() || !share_.connected()) return 0;
  }
  share::Request r;
  r.ask = share::Ask::Travel;
  r.node = node;
  share::Reply out;
  if (!share_.request(r, -1, out)) {
    why = "the server of its shared memory has ended";
    return EPERM;
  }
  if (out.code != 0) {
    why = std::string("shared memory: ") + out.text;
    return EBUSY;
  }
  share_server_ = out.text;
  share_travels_ = true;
  return 0;
}

void Home::share_back() {
  if (!std::exchange(share_travels_, false)) return;
  share::Request r;
  r.ask = share::Ask::Back;
  share::Reply out;
  static_cast<void>(share_.request(r, -1, out));
}

void Home::describe_shared(std::uint64_t begin, const mem::Vma& v, std::vector<MapEntry>& out) {
  const std::uint64_t end = v.file ? end_of_file(begin, v) : v.end;
  share_.pieces(begin, end, [&](std::uint64_t from, std::uint64_t to, const share::Client::Range* r) {
    const bool known = r != nullptr && r->why.empty();
    out.push_back({from, to, known ? v.prot : 0, known ? PageKind::Coherent : PageKind::Shared, 0,
                   static_cast<std::uint16_t>(known ? r->object : 0), known ? r->offset : 0});
  });
  if (end < v.end) out.push_back({end, v.end, 0, PageKind::Shared, 0, 0, 0});
}

bool Home::grew(std::uint64_t address) {
  if (!runs_away()) return false;
  const mem::LockGuard guard(mm_->lock());
  const auto it = mm_->vmas_locked().find(address);
  return it != mm_->vmas_locked().end() && it->second.shared && !it->second.steady;
}

bool Home::freeze_file(std::uint64_t device, std::uint64_t inode) {
  if (!share_.may_be_elsewhere(device, inode)) return false;
  share::Request r;
  r.ask = share::Ask::Freeze;
  r.device = device;
  r.inode = inode;
  share::Reply out;
  return share_.request(r, -1, out) && out.code == 0;
}

void Home::thaw_file(std::uint64_t device, std::uint64_t inode) {
  share::Request r;
  r.ask = share::Ask::Thaw;
  r.device = device;
  r.inode = inode;
  share::Reply out;
  static_cast<void>(share_.request(r, -1, out));
}

}  // namespace hpcvmm::migrate
