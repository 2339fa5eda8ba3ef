#include "vmm/migrate/written.hh"

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>

#include <array>

#include "vmm/migrate/host.hh"
#include "vmm/migrate/pages.hh"

namespace hpcvmm::migrate {
namespace {

// Of kernel headers newer than those this is built with.
constexpr std::uint64_t kWpAsync = 1U << 15;  // UFFD_FEATURE_WP_ASYNC
struct ScanRegion {                           // struct page_region
  std::uint64_t start, end, categories;
};
struct ScanArg {  // struct pm_scan_arg
  std::uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages;
  std::uint64_t category_inverted, category_mask, category_anyof_mask, return_mask;
};
constexpr unsigned long kPagemapScan = _IOWR('f', 16, ScanArg);
constexpr std::uint64_t kIsWritten = 1U << 1;   // PAGE_IS_WRITTEN
constexpr std::uint64_t kWpMatching = 1U << 0;  // PM_SCAN_WP_MATCHING

}  // namespace

Status WrittenPages::open() {
  HPCVMM_TRY(const int fd, open_userfaultfd(-1, kWpAsync));
  host().hide_fd(fd, &uffd_);
  const int pagemap = ::open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
  if (pagemap < 0) {
    const Error e = Error::last("/proc/self/pagemap");
    close();
    return e;
  }
  host().hide_fd(pagemap, &pagemap_);
  return Unit{};
}

void WrittenPages::close() {
  for (int* fd : {&uffd_, &pagemap_}) {
    if (*fd >= 0) host().close_fd(*fd);
    *fd = -1;
  }
}

Status WrittenPages::track(std::uint64_t begin, std::uint64_t end) {
  uffdio_register r{};
  r.range = {begin, end - begin};
  r.mode = UFFDIO_REGISTER_MODE_WP;
  if (::ioctl(uffd_, UFFDIO_REGISTER, &r) != 0) return Error::last("UFFDIO_REGISTER");
  uffdio_writeprotect w{};
  w.range = r.range;
  w.mode = UFFDIO_WRITEPROTECT_MODE_WP;
  while (::ioctl(uffd_, UFFDIO_WRITEPROTECT, &w) != 0)
    if (errno != EAGAIN) return Error::last("UFFDIO_WRITEPROTECT");
  return Unit{};
}

void WrittenPages::untrack(std::uint64_t begin, std::uint64_t end) {
  uffdio_range r{begin, end - begin};
  ::ioctl(uffd_, UFFDIO_UNREGISTER, &r);
}

Status WrittenPages::collect(std::uint64_t begin, std::uint64_t end, bool again, std::vector<Range>& out) {
  std::array<ScanRegion, 256> found{};
  ScanArg s{};
  s.size = sizeof s;
  s.flags = again ? kWpMatching : 0;
  s.end = end;
  s.vec = reinterpret_cast<std::uint64_t>(found.data());
  s.vec_len = found.size();
  s.category_mask = s.return_mask = kIsWritten;
  for (s.start = begin; s.start < end; s.start = s.walk_end) {
    const int n = ::ioctl(pagemap_, kPagemapScan, &s);
    if (n < 0) return Error::last("PAGEMAP_SCAN");
    for (int i = 0; i < n; ++i) {
      const auto& r = found[static_cast<std::size_t>(i)];
      out.push_back({r.start, r.end});
    }
  }
  return Unit{};
}

}  // namespace hpcvmm::migrate
