// Descriptors: the guest's calls that could close, overwrite or list the VMM's own.
#include <fcntl.h>
#include <linux/close_range.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <vector>

#include "vmm/deputy/calls.hh"
#include "vmm/deputy/gate.hh"
#include "vmm/deputy/host.hh"
#include "vmm/deputy/procfs.hh"
#include "vmm/mem/user_copy.hh"

namespace hpcvmm::deputy {

using sys::SysRet;

namespace {

constexpr unsigned kMostHidden = 1200;

/// Makes room at `fd` for a dup2 of the guest.  False: EBADF.
bool free_target(int old_fd, int fd) {
  if (!is_hidden(fd)) return true;
  rlimit limit{};
  raw_call(SYS_prlimit64, 0, RLIMIT_NOFILE, 0, word(&limit));
  if (static_cast<rlim_t>(fd) >= limit.rlim_cur) return false;  // where Linux refuses, too
  if (raw_call(SYS_fcntl, word(old_fd), F_GETFD) < 0) return false;
  return move_hidden(fd);
}

/// The three layouts of a directory entry.  Source: getdents(2).
struct DirentLayout {
  std::size_t length_at, name_at;
};
constexpr DirentLayout kDirent64{16, 19};  // both ABIs
constexpr DirentLayout kOldX64{16, 18};
constexpr DirentLayout kOldIa32{8, 10};
constexpr std::size_t kReaddirName = 10;  // readdir(2) of IA32: one entry a call, its name's length at 8

bool drops(const Task& t, ProcDir dir, const char* name) {
  if (dir == ProcDir::Tasks) return names_foreign_task(t, name);
  if (dir == ProcDir::MapFiles) return names_vmm_mapping(name);
  int fd = 0;
  if (!parse_fd(name, fd)) return false;
  // One of ours that has been closed since is not among the hidden ones any more.
  return is_hidden(fd) || raw_call(SYS_fcntl, word(fd), F_GETFD) == -EBADF;
}

struct Listing {
  std::uint64_t buffer;
  std::size_t bytes;
};

/// Squeezes out what the guest must not see.  Returns the bytes left, or -EFAULT.
std::int64_t filter_entries(const Task& t, const Listing& listing, const DirentLayout& layout, ProcDir dir) {
  const auto [buffer, bytes] = listing;
  std::vector<char> all(bytes);
  if (!mem::copy_in(all.data(), buffer, bytes)) return -EFAULT;
  std::size_t kept = 0;
  for (std::size_t at = 0; at + layout.name_at < bytes;) {
    std::uint16_t length = 0;
    std::memcpy(&length, all.data() + at + layout.length_at, sizeof length);
    // Another thread may have written to the buffer since.
    if (length <= layout.name_at || length > bytes - at) break;
    const char* name = all.data() + at + layout.name_at;
    const bool ends = std::memchr(name, 0, length - layout.name_at) != nullptr;
    if (!ends || !drops(t, dir, name)) {
      std::memmove(all.data() + kept, all.data() + at, length);
      kept += length;
    }
    at += length;
  }
  if (!mem::copy_out(buffer, all.data(), kept)) return -EFAULT;
  return static_cast<std::int64_t>(kept);
}

SysRet list_directory(const CallContext& c, const DirentLayout& layout) {
  if (is_hidden(c.as_int(0))) return SysRet::fail(EBADF);
  for (;;) {
    const SysRet rc = pass(c);
    if (rc.is_restart() || rc.value() <= 0) return rc;
    const ProcDir dir = proc_directory(c.as_int(0));
    if (dir == ProcDir::Other) return rc;
    const std::int64_t kept =
        filter_entries(c.task, {c.arg(1), static_cast<std::size_t>(rc.value())}, layout, dir);
    // Nothing left would say "end of directory".  Going on is repeatable: what was passed over stays
    // invisible.
    if (kept != 0) return SysRet::raw(kept);
  }
}

SysRet read_one_entry(const CallContext& c) {
  if (is_hidden(c.as_int(0))) return SysRet::fail(EBADF);
  for (;;) {
    const SysRet rc = pass(c);
    if (rc.is_restart() || rc.value() <= 0) return rc;
    const ProcDir dir = proc_directory(c.as_int(0));
    if (dir == ProcDir::Other) return rc;
    std::array<char, 64> name{};
    const std::ptrdiff_t n = mem::copy_in_string(name.data(), c.arg(1) + kReaddirName, name.size());
    if (n < 0 || static_cast<std::size_t>(n) == name.size() || !drops(c.task, dir, name.data())) return rc;
  }
}

}  // namespace

SysRet call_close(const CallContext& c) {
  if (is_hidden(c.as_int(0))) return SysRet::fail(EBADF);
  return pass(c);
}

SysRet call_close_range(const CallContext& c) {
  constexpr std::uint64_t kKnown = CLOSE_RANGE_UNSHARE | CLOSE_RANGE_CLOEXEC;
  const std::uint64_t first = c.arg(0) & 0xffff'ffffU;
  const std::uint64_t last = c.arg(1) & 0xffff'ffffU;
  const std::uint64_t flags = c.arg(2) & 0xffff'ffffU;
  if ((flags & ~kKnown) != 0 || first > last) return SysRet::fail(EINVAL);
  // Once for all pieces: a second UNSHARE would do nothing, but the first piece may be empty.
  if ((flags & CLOSE_RANGE_UNSHARE) != 0) {
    const std::int64_t rc = raw_call(SYS_unshare, CLONE_FILES);
    if (rc < 0) return SysRet::raw(rc);
  }
  const std::uint64_t rest = flags & CLOSE_RANGE_CLOEXEC;
  std::array<int, kMostHidden> ours{};
  const unsigned n = hidden_fds(ours.data(), kMostHidden);
  std::uint64_t from = first;
  for (unsigned i = 0; i < n; ++i) {
    const auto fd = static_cast<std::uint64_t>(ours[i]);
    if (fd < from) continue;
    if (fd > last) break;
    if (fd > from) raw_call(SYS_close_range, from, fd - 1, rest);
    from = fd + 1;
  }
  return from > last ? SysRet::ok() : SysRet::raw(raw_call(SYS_close_range, from, last, rest));
}

SysRet call_dup2(const CallContext& c) {
  if (is_hidden(c.as_int(0)) || !free_target(c.as_int(0), c.as_int(1))) return SysRet::fail(EBADF);
  return pass(c);
}

SysRet call_dup3(const CallContext& c) {
  if (c.as_int(0) == c.as_int(1) || (c.as_int(2) & ~O_CLOEXEC) != 0) return SysRet::fail(EINVAL);
  return call_dup2(c);
}

SysRet call_getdents(const CallContext& c) {
  if (c.row.call == sys::Call::readdir) return read_one_entry(c);
  return list_directory(c, c.abi == Abi::X64 ? kOldX64 : kOldIa32);
}

SysRet call_getdents64(const CallContext& c) { return list_directory(c, kDirent64); }

}  // namespace hpcvmm::deputy
