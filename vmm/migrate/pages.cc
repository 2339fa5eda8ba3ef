#include "vmm/migrate/pages.hh"

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "hpcvmm/base/layout.hh"
#include "vmm/mem/host_maps.hh"
#include "vmm/migrate/host.hh"

#ifndef USERFAULTFD_IOC_NEW
#define USERFAULTFD_IOC_NEW _IO(0xAA, 0x00)
#endif

namespace hpcvmm::migrate {
namespace {

int g_pagemap = -1, g_mem = -1;  // NOLINT: opened once

Uffd::Fault fault_of(const uffd_msg& m) {
  Uffd::Fault f;
  f.page = page_down(m.arg.pagefault.address);
  f.write = (m.arg.pagefault.flags & UFFD_PAGEFAULT_FLAG_WRITE) != 0;
  f.protect = (m.arg.pagefault.flags & UFFD_PAGEFAULT_FLAG_WP) != 0;
  return f;
}

}  // namespace

Result<int> open_userfaultfd(int device, std::uint64_t features) {
  const int flags = O_CLOEXEC | O_NONBLOCK;
  int opened = -1;
  int fd = -1;
  if (device < 0) opened = device = ::open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
  if (device >= 0) fd = ::ioctl(device, USERFAULTFD_IOC_NEW, flags);
  if (opened >= 0) ::close(opened);
  if (fd < 0) fd = static_cast<int>(::syscall(SYS_userfaultfd, flags));
  if (fd < 0) return Error::last("userfaultfd");
  uffdio_api api{};
  api.api = UFFD_API;
  api.features = features;
  if (::ioctl(fd, UFFDIO_API, &api) == 0) return fd;
  const Error e = Error::last("userfaultfd: this kernel lacks the kind of write-protection");
  ::close(fd);
  return e;
}

Status Uffd::open(int device) {
  HPCVMM_TRY(const int fd, open_userfaultfd(device, UFFD_FEATURE_PAGEFAULT_FLAG_WP));
  host().hide_fd(fd, &fd_);
  return Unit{};
}

void Uffd::close() {
  if (fd_ >= 0) host().close_fd(fd_);
  fd_ = -1;
}

Status Uffd::watch(std::uint64_t begin, std::uint64_t end) {
  uffdio_register r{};
  r.range = {begin, end - begin};
  r.mode = UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_WP;
  if (::ioctl(fd_, UFFDIO_REGISTER, &r) != 0) return Error::last("UFFDIO_REGISTER");
  return Unit{};
}

void Uffd::unwatch(std::uint64_t begin, std::uint64_t end) {
  uffdio_range r{begin, end - begin};
  ::ioctl(fd_, UFFDIO_UNREGISTER, &r);
}

int Uffd::copy(std::uint64_t page, const void* data) {
  for (;;) {
    uffdio_copy c{};
    c.dst = page;
    c.src = reinterpret_cast<std::uint64_t>(data);
    c.len = kPageSize;
    if (::ioctl(fd_, UFFDIO_COPY, &c) == 0) return 0;
    // EAGAIN: mappings are changing under us; nothing was copied.
    if (errno != EAGAIN) return errno;
  }
}

unsigned Uffd::copy(std::uint64_t page, const void* data, unsigned count) {
  uffdio_copy c{};
  c.dst = page;
  c.src = reinterpret_cast<std::uint64_t>(data);
  c.len = count * kPageSize;
  if (::ioctl(fd_, UFFDIO_COPY, &c) == 0) return count;
  // What it says when it stops in the middle: Documentation/admin-guide/mm/userfaultfd.rst.
  return c.copy > 0 ? static_cast<unsigned>(static_cast<std::uint64_t>(c.copy) / kPageSize) : 0;
}

int Uffd::zero(std::uint64_t page) {
  for (;;) {
    uffdio_zeropage z{};
    z.range = {page, kPageSize};
    if (::ioctl(fd_, UFFDIO_ZEROPAGE, &z) == 0) return 0;
    if (errno != EAGAIN) return errno;
  }
}

void Uffd::wake(std::uint64_t page) {
  uffdio_range r{page, kPageSize};
  ::ioctl(fd_, UFFDIO_WAKE, &r);
}

bool Uffd::take(std::uint64_t page, void* out) {
  if (!page_present(page)) return false;
  uffdio_writeprotect w{};
  w.range = {page, kPageSize};
  w.mode = UFFDIO_WRITEPROTECT_MODE_WP;
  while (::ioctl(fd_, UFFDIO_WRITEPROTECT, &w) != 0)
    if (errno != EAGAIN) return false;
  if (!read_page(page, out)) return false;
  ::madvise(reinterpret_cast<void*>(page), kPageSize, MADV_DONTNEED);  // NOLINT(performance-no-int-to-ptr)
  wake(page);
  return true;
}

bool Uffd::next(Fault& out) {
  uffd_msg m{};
  for (;;) {
    const ssize_t n = ::read(fd_, &m, sizeof m);
    if (n < 0 && errno == EINTR) continue;
    if (n != static_cast<ssize_t>(sizeof m)) return false;
    if (m.event != UFFD_EVENT_PAGEFAULT) continue;
    out = fault_of(m);
    return true;
  }
}

// Source: Documentation/admin-guide/mm/pagemap.rst: bit 63 present, bit 62 swapped.
void pages_present(std::uint64_t begin, std::span<std::uint8_t> out) {
  std::array<std::uint64_t, 512> words{};
  for (std::size_t done = 0; done < out.size();) {
    const std::size_t n = std::min(words.size(), out.size() - done);
    const ssize_t got = ::pread(g_pagemap, words.data(), n * sizeof words[0],
                                static_cast<off_t>((begin / kPageSize + done) * sizeof words[0]));
    const std::size_t whole = got > 0 ? static_cast<std::size_t>(got) / sizeof words[0] : 0;
    for (std::size_t i = 0; i < n; ++i) out[done + i] = i < whole && words[i] >> 62 != 0 ? 1 : 0;
    done += n;
  }
}

// Source: as above; bit 61: a file's page (or of shared memory), in memory or in swap.
void pages_private(std::uint64_t begin, std::span<std::uint8_t> out) {
  std::array<std::uint64_t, 512> words{};
  for (std::size_t done = 0; done < out.size();) {
    const std::size_t n = std::min(words.size(), out.size() - done);
    const ssize_t got = ::pread(g_pagemap, words.data(), n * sizeof words[0],
                                static_cast<off_t>((begin / kPageSize + done) * sizeof words[0]));
    const std::size_t whole = got > 0 ? static_cast<std::size_t>(got) / sizeof words[0] : 0;
    for (std::size_t i = 0; i < n; ++i)
      out[done + i] = i >= whole || (words[i] >> 62 != 0 && (words[i] >> 61 & 1) == 0) ? 1 : 0;
    done += n;
  }
}

bool page_present(std::uint64_t page) {
  std::uint8_t one = 0;
  pages_present(page, {&one, 1});
  return one != 0;
}

std::size_t read_pages(std::uint64_t page, std::size_t count, void* out) {
  iovec to{out, count * kPageSize};
  iovec from{reinterpret_cast<void*>(page), count * kPageSize};  // NOLINT(performance-no-int-to-ptr)
  const ssize_t n = ::process_vm_readv(static_cast<pid_t>(::syscall(SYS_getpid)), &to, 1, &from, 1, 0);
  return n < 0 ? 0 : static_cast<std::size_t>(n) / kPageSize;
}

bool read_page(std::uint64_t page, void* out) {
  if (read_pages(page, 1, out) == 1) return true;
  // Rights that the guest has taken away do not keep its pages from moving.  Source: proc(5), /proc/pid/mem.
  return g_mem >= 0 &&
         ::pread(g_mem, out, kPageSize, static_cast<off_t>(page)) == static_cast<ssize_t>(kPageSize);
}

// The kernel copies the set before it looks at `how`.  Source: rt_sigprocmask(2).
bool touch(std::uint64_t at) {
  constexpr int kNoSuchHow = 99;
  return ::syscall(SYS_rt_sigprocmask, kNoSuchHow, at, nullptr, 8) == 0 || errno != EFAULT;
}

bool is_zero_page(const void* data) {
  const auto* const words = static_cast<const std::uint64_t*>(data);
  for (std::size_t i = 0; i < kPageSize / sizeof words[0]; i += 8) {
    const std::uint64_t* const w = words + i;
    if ((w[0] | w[1] | w[2] | w[3] | w[4] | w[5] | w[6] | w[7]) != 0) return false;
  }
  return true;
}

void open_pagemap() {
  if (g_pagemap >= 0) return;
  const int fd = ::open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
  if (fd >= 0) host().hide_fd(fd, &g_pagemap);
  const int mem = ::open("/proc/self/mem", O_RDONLY | O_CLOEXEC);
  if (mem >= 0) host().hide_fd(mem, &g_mem);
}

void keep_maps() {
  int& kept = mem::kept_maps();
  const int fd = kept < 0 ? ::open("/proc/self/maps", O_RDONLY | O_CLOEXEC) : -1;
  if (fd >= 0) host().hide_fd(fd, &kept);
}

void forget_pagemap() {
  if (int& kept = mem::kept_maps(); kept >= 0) {
    host().close_fd(kept);
    kept = -1;
  }
  if (g_pagemap >= 0) host().close_fd(g_pagemap);
  if (g_mem >= 0) host().close_fd(g_mem);
  g_pagemap = g_mem = -1;
}

}  // namespace hpcvmm::migrate
