#include "vmm/share/server/sharers.hh"

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace hpcvmm::share::sharers {
namespace {

int set_protection(const Sharer& c, std::uint64_t begin, std::uint64_t bytes, bool on) {
  uffdio_writeprotect w{};
  w.range = {begin, bytes};
  w.mode = on ? UFFDIO_WRITEPROTECT_MODE_WP : 0;
  // EAGAIN: its mappings are changing at this moment.
  while (::ioctl(c.uffd.get(), UFFDIO_WRITEPROTECT, &w) != 0)
    if (errno != EAGAIN) return errno;
  return 0;
}

int register_range(const Sharer& c, std::uint64_t begin, std::uint64_t end) {
  uffdio_register r{};
  r.range = {begin, end - begin};
  r.mode = UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_WP;
  if (::ioctl(c.uffd.get(), UFFDIO_REGISTER, &r) != 0) return errno;
  return 0;
}

void unregister_range(const Sharer& c, std::uint64_t begin, std::uint64_t end) {
  uffdio_range r{begin, end - begin};
  ::ioctl(c.uffd.get(), UFFDIO_UNREGISTER, &r);
}

/// Calls each(client, address) for every place where the page is mapped.
template <class F> void each_place(Object& o, std::uint64_t page, F each) {
  const std::uint64_t at = page * kPageBytes;
  for (Sharer* c : o.clients)
    for (const auto& [begin, r] : c->ranges)
      if (r.object == &o && at >= r.offset && at - r.offset < r.end - begin)
        each(*c, begin + (at - r.offset));
}

template <class F> void each_range(Object& o, F each) {
  for (Sharer* c : o.clients)
    for (const auto& [begin, r] : c->ranges)
      if (r.object == &o) each(*c, begin, r.end);
}

void refresh_clients(Object& o, Sharer& c) {
  const bool maps = std::any_of(c.ranges.begin(), c.ranges.end(),
                                [&](const auto& entry) { return entry.second.object == &o; });
  const auto it = std::find(o.clients.begin(), o.clients.end(), &c);
  if (maps && it == o.clients.end()) o.clients.push_back(&c);
  if (!maps && it != o.clients.end()) o.clients.erase(it);
  if (maps) return;
  for (auto& [page, list] : o.waiters) std::erase_if(list, [&](const Waiter& w) { return w.client == &c; });
}

}  // namespace

int add(Sharer& c, std::uint64_t begin, const Sharer::Range& r) {
  remove(c, begin, r.end);
  if (r.object->watched) {
    if (const int e = register_range(c, begin, r.end)) return e;
    // Whatever may be written here is told by the first write.
    if (const int e = set_protection(c, begin, r.end - begin, true)) return e;
  }
  c.ranges[begin] = r;
  refresh_clients(*r.object, c);
  return 0;
}

void remove(Sharer& c, std::uint64_t begin, std::uint64_t end) {
  for (auto it = c.ranges.begin(); it != c.ranges.end();) {
    const std::uint64_t from = it->first;
    const Sharer::Range r = it->second;
    if (from >= end || r.end <= begin) {
      ++it;
      continue;
    }
    it = c.ranges.erase(it);
    if (from < begin) c.ranges[from] = {begin, r.object, r.offset};
    if (r.end > end) c.ranges[end] = {r.end, r.object, r.offset + (end - from)};
    uffdio_range woken{std::max(from, begin), std::min(r.end, end) - std::max(from, begin)};
    if (r.object->watched) ::ioctl(c.uffd.get(), UFFDIO_WAKE, &woken);
    refresh_clients(*r.object, c);
  }
}

int watch(Object& o) {
  int error = 0;
  each_range(o, [&](const Sharer& c, std::uint64_t begin, std::uint64_t end) {
    if (error == 0) error = register_range(c, begin, end);
    // Who has just ended has no address space any more; registering calls that ENOMEM.
    if (error == ENOMEM && set_protection(c, begin, kPageBytes, false) == ESRCH) error = 0;
  });
  if (error == 0) {
    o.watched = true;
    return 0;
  }
  unwatch(o);
  return error;
}

void unwatch(Object& o) {
  o.watched = false;
  o.waiters.clear();
  each_range(o, unregister_range);
}

void protect(Object& o, std::uint64_t page) {
  each_place(o, page, [](const Sharer& c, std::uint64_t at) { set_protection(c, at, kPageBytes, true); });
}

void read(Object& o, std::uint64_t page, Content& out) {
  const auto at = static_cast<off_t>(page * kPageBytes);
  ::fallocate(o.fd.get(), FALLOC_FL_KEEP_SIZE, at, kPageBytes);
  const ssize_t n = ::pread(o.fd.get(), out.data(), out.size(), at);
  std::fill(out.begin() + std::max<ssize_t>(n, 0), out.end(), std::byte{0});
}

void drop(Object& o, std::uint64_t page) {
  ::fallocate(o.fd.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(page * kPageBytes),
              kPageBytes);
}

void take(Object& o, std::uint64_t page, Content& out) {
  protect(o, page);
  const ssize_t n = ::pread(o.fd.get(), out.data(), out.size(), static_cast<off_t>(page * kPageBytes));
  std::fill(out.begin() + std::max<ssize_t>(n, 0), out.end(), std::byte{0});
  drop(o, page);
}

void put(Object& o, std::uint64_t page, const Content& content, bool write) {
  if (!write) protect(o, page);
  while (::pwrite(o.fd.get(), content.data(), content.size(), static_cast<off_t>(page * kPageBytes)) < 0 &&
         errno == EINTR) {
  }
}

void wake_one(const Sharer& c, std::uint64_t address, bool write) {
  if (write) set_protection(c, address, kPageBytes, false);
  uffdio_range r{address, kPageBytes};
  ::ioctl(c.uffd.get(), UFFDIO_WAKE, &r);
}

void wake(Object& o, std::uint64_t page, bool write) {
  const auto it = o.waiters.find(page);
  if (it == o.waiters.end()) return;
  const std::vector<Waiter> all = std::move(it->second);
  o.waiters.erase(it);
  for (const Waiter& w : all) wake_one(*w.client, w.address, write);
}

void zero(const Sharer& c, std::uint64_t address) {
  uffdio_zeropage z{};
  z.range = {address, kPageBytes};
  while (::ioctl(c.uffd.get(), UFFDIO_ZEROPAGE, &z) != 0) {
    if (errno == EAGAIN) continue;
    wake_one(c, address, false);  // it is there, or the mapping is gone
    return;
  }
}

bool next(const Sharer& c, Fault& out) {
  uffd_msg m{};
  for (;;) {
    const ssize_t n = ::read(c.uffd.get(), &m, sizeof m);
    if (n < 0 && errno == EINTR) continue;
    if (n != static_cast<ssize_t>(sizeof m)) return false;
    if (m.event != UFFD_EVENT_PAGEFAULT) continue;
    out.address = m.arg.pagefault.address & ~std::uint64_t{kPageBytes - 1};
    out.write = (m.arg.pagefault.flags & UFFD_PAGEFAULT_FLAG_WRITE) != 0;
    out.is_protected = (m.arg.pagefault.flags & UFFD_PAGEFAULT_FLAG_WP) != 0;
    return true;
  }
}

Object* find(const Sharer& c, std::uint64_t address, std::uint64_t& page) {
  auto it = c.ranges.upper_bound(address);
  if (it == c.ranges.begin()) return nullptr;
  --it;
  if (address >= it->second.end) return nullptr;
  page = (it->second.offset + (address - it->first)) / kPageBytes;
  return it->second.object;
}

}  // namespace hpcvmm::share::sharers
