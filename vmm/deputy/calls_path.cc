// Calls that name files.  Two names mean something else to the host than to the guest: the link to the
// program of this process, and the VMM's descriptors under /proc/self/fd.
#include <fcntl.h>
#include <sys/syscall.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <string>

#include "vmm/deputy/calls.hh"
#include "vmm/deputy/cluster_view.hh"
#include "vmm/deputy/gate.hh"
#include "vmm/deputy/host.hh"
#include "vmm/deputy/procfs.hh"
#include "vmm/mem/user_copy.hh"
#include "vmm/sys/passthrough.hh"

namespace hpcvmm::deputy {

using sys::Call;
using sys::SysRet;

namespace {

constexpr std::uint64_t kFstat32 = 108, kFstat64Ia32 = 197, kOldFstat = 28;

/// The arguments with the program's path in place of the one at index `at`.
sys::Args with_program(const CallContext& c, unsigned at) {
  sys::Args a{};
  const unsigned count = sys::shape_of(c.row).count;
  for (unsigned i = 0; i < count; ++i) a[i] = c.arg(i);
  a[at] = word(c.task.process->exe.c_str());
  return a;
}

/// The pointers of the row other than the path have to be checked as pass() would.
bool pointers_allowed(const CallContext& c) {
  return sys::check_flat(c.row, c.abi, c.args, host_gate()) == 0;
}

/// open(2) of a name that means the cluster.
SysRet open_view(const ViewName& name, std::uint64_t flags) {
  if ((flags & (O_ACCMODE | O_TRUNC)) != O_RDONLY && !name.path.starts_with("../"))
    return SysRet::fail(EACCES);
  if (name.is_text) {
    if ((flags & O_DIRECTORY) != 0) return SysRet::fail(ENOTDIR);
    return open_text(name.text, (flags & O_CLOEXEC) != 0);
  }
  constexpr std::uint64_t kMaking = O_CREAT | O_EXCL;
  return gate64(SYS_openat, {word(view_fd()), word(name.path.c_str()), flags & ~kMaking, 0, 0, 0});
}

/// The flags of an open call, wherever it has them.
std::uint64_t open_flags(const CallContext& c, unsigned path_at) {
  if (c.row.call == Call::creat) return O_WRONLY | O_CREAT | O_TRUNC;
  if (c.row.call != Call::openat2) return static_cast<std::uint32_t>(c.arg(path_at + 1));
  std::uint64_t flags = 0;
  return mem::get(flags, c.arg(2)) ? flags : 0;
}

SysRet open_named(const CallContext& c, int dir_fd, unsigned path_at, std::uint64_t nr64, bool no_follow) {
  if (is_hidden(dir_fd)) return SysRet::fail(EBADF);
  switch (look_at_name(dir_fd, c.arg(path_at))) {
    case ProcName::HiddenFd: return SysRet::fail(ENOENT);
    case ProcName::Exe:
      if (no_follow) break;
      if (!pointers_allowed(c)) return SysRet::fail(EFAULT);
      return guard_opened(c.task, gate64(nr64, with_program(c, path_at)));
    case ProcName::Other: break;
  }
  if (ViewName name; find_view_name(c.task, dir_fd, c.arg(path_at), name))
    if (const auto flags = open_flags(c, path_at); !name.reads_only || (flags & O_ACCMODE) == O_RDONLY)
      return open_view(name, flags);
  return guard_opened(c.task, pass(c));
}

/// What readlink says of the guest's program.
SysRet program_link(const CallContext& c, std::uint64_t buffer, std::uint64_t room) {
  if (static_cast<std::int32_t>(room) <= 0) return SysRet::fail(EINVAL);
  const std::string& exe = c.task.process->exe;
  std::string text = exe;
  // As the kernel marks a program that was removed.
  if (raw_call(SYS_faccessat, word(AT_FDCWD), word(exe.c_str()), F_OK) == -ENOENT) text += " (deleted)";
  const std::size_t n = std::min<std::size_t>(text.size(), static_cast<std::uint32_t>(room));
  if (!mem::copy_out(buffer, text.data(), n)) return SysRet::fail(EFAULT);
  return SysRet::ok(n);
}

/// Takes run_dir/view out of a path that the kernel has put into the guest's buffer; `ends`: bytes behind it.
SysRet without_prefix(const SysRet& rc, std::uint64_t buffer, unsigned ends) {
  if (view_fd() < 0 || rc.is_restart() || rc.value() <= static_cast<std::int64_t>(ends)) return rc;
  std::string path(static_cast<std::size_t>(rc.value()) - ends, 0);
  if (!mem::copy_in(path.data(), buffer, path.size()) || !strip_view_prefix(path)) return rc;
  if (!mem::copy_out(buffer, path.c_str(), path.size() + ends)) return SysRet::fail(EFAULT);
  return SysRet::ok(path.size() + ends);
}

SysRet read_link(const CallContext& c, int dir_fd, unsigned path_at) {
  if (is_hidden(dir_fd)) return SysRet::fail(EBADF);
  const std::uint64_t path = c.arg(path_at);
  switch (look_at_name(dir_fd, path)) {
    case ProcName::HiddenFd: return SysRet::fail(ENOENT);
    case ProcName::Exe: return program_link(c, c.arg(path_at + 1), c.arg(path_at + 2));
    case ProcName::Other: break;
  }
  char first = 1;
  if (dir_fd != AT_FDCWD && mem::get(first, path) && first == 0 && is_own_exe_link(dir_fd))
    return program_link(c, c.arg(path_at + 1), c.arg(path_at + 2));
  if (ViewName name; find_view_name(c.task, dir_fd, path, name) && name.is_file) {
    if (!pointers_allowed(c)) return SysRet::fail(EFAULT);
    return gate64(SYS_readlinkat,
                  {word(view_fd()), word(name.path.c_str()), c.arg(path_at + 1), c.arg(path_at + 2), 0, 0});
  }
  return without_prefix(pass(c), c.arg(path_at + 1), 0);
}

/// IA32 stat layouts exist only behind int 0x80, which cannot take a path of ours: by descriptor instead.
SysRet stat_program32(const CallContext& c, std::uint64_t fstat_nr, std::uint64_t buffer) {
  const std::int64_t fd =
      raw_call(SYS_openat, word(AT_FDCWD), word(c.task.process->exe.c_str()), O_PATH | O_CLOEXEC);
  if (fd < 0) return SysRet::raw(fd);
  const SysRet rc = gate32(fstat_nr, {static_cast<std::uint64_t>(fd), buffer, 0, 0, 0, 0});
  raw_call(SYS_close, static_cast<std::uint64_t>(fd));
  return rc;
}

/// stat and access of a name that means the cluster.
SysRet examine_view(const CallContext& c, const ViewName& name, unsigned path_at, bool at_link) {
  if (!pointers_allowed(c)) return SysRet::fail(EFAULT);
  const std::uint64_t at = word(view_fd());
  const std::uint64_t path = word(name.path.c_str());
  const std::uint64_t link_flag = at_link ? AT_SYMLINK_NOFOLLOW : 0;
  switch (c.row.call) {
    case Call::access:
    case Call::faccessat: return gate64(SYS_faccessat, {at, path, c.arg(path_at + 1), 0, 0, 0});
    case Call::faccessat2:
    case Call::statx:
      return gate64(static_cast<std::uint64_t>(c.row.nr64), {at, path, c.arg(2), c.arg(3), c.arg(4), 0});
    default: break;
  }
  const std::uint64_t buffer = c.arg(path_at + 1);
  if (c.abi == Abi::X64) return gate64(SYS_newfstatat, {at, path, buffer, link_flag, 0, 0});
  const std::uint64_t no_follow = at_link ? O_NOFOLLOW : 0;
  const std::int64_t fd = raw_call(SYS_openat, at, path, O_PATH | O_CLOEXEC | no_follow);
  if (fd < 0) return SysRet::raw(fd);
  const bool is_wide =
      c.row.call == Call::stat64 || c.row.call == Call::lstat64 || c.row.call == Call::fstatat64;
  const bool is_oldest = c.row.call == Call::oldstat || c.row.call == Call::oldlstat;
  const std::uint64_t nr = is_wide ? kFstat64Ia32 : is_oldest ? kOldFstat : kFstat32;
  const SysRet rc = gate32(nr, {static_cast<std::uint64_t>(fd), buffer, 0, 0, 0, 0});
  raw_call(SYS_close, static_cast<std::uint64_t>(fd));
  return rc;
}

SysRet on_program(const CallContext& c, unsigned path_at) {
  if (!pointers_allowed(c)) return SysRet::fail(EFAULT);
  if (c.abi == Abi::Ia32) {
    switch (c.row.call) {
      case Call::stat: return stat_program32(c, kFstat32, c.arg(path_at + 1));
      case Call::oldstat: return stat_program32(c, kOldFstat, c.arg(path_at + 1));
      case Call::stat64:
      case Call::fstatat64: return stat_program32(c, kFstat64Ia32, c.arg(path_at + 1));
      default: break;
    }
  }
  const int nr = c.abi == Abi::X64 ? c.row.nr64 : c.row.twin_nr;
  if (nr < 0) return pass(c);
  return gate64(static_cast<std::uint64_t>(nr), with_program(c, path_at));
}

/// Flags of the *at calls that end at the link itself.
bool stays_at_link(const CallContext& c) {
  switch (c.row.call) {
    case Call::lstat:
    case Call::lstat64:
    case Call::oldlstat: return true;
    case Call::statx: return (c.as_int(2) & AT_SYMLINK_NOFOLLOW) != 0;
    case Call::fstatat64:
    case Call::newfstatat:
    case Call::faccessat2: return (c.as_int(3) & AT_SYMLINK_NOFOLLOW) != 0;
    default: return false;
  }
}

SysRet examine(const CallContext& c, int dir_fd, unsigned path_at) {
  if (is_hidden(dir_fd)) return SysRet::fail(EBADF);
  switch (look_at_name(dir_fd, c.arg(path_at))) {
    case ProcName::HiddenFd: return SysRet::fail(ENOENT);
    case ProcName::Exe: return stays_at_link(c) ? pass(c) : on_program(c, path_at);
    case ProcName::Other: break;
  }
  if (ViewName name; find_view_name(c.task, dir_fd, c.arg(path_at), name) && name.is_file)
    return examine_view(c, name, path_at, stays_at_link(c));
  return pass(c);
}

}  // namespace

SysRet call_open(const CallContext& c) {
  // creat(2) has its mode where open(2) has flags; none of its own can mean O_NOFOLLOW.
  const bool is_creat = c.row.call == Call::creat;
  if (is_creat && look_at_name(AT_FDCWD, c.arg(0)) != ProcName::Other) return SysRet::fail(EACCES);
  return open_named(c, AT_FDCWD, 0, SYS_open, !is_creat && (c.as_int(1) & O_NOFOLLOW) != 0);
}

SysRet call_openat(const CallContext& c) {
  return open_named(c, c.as_int(0), 1, SYS_openat, (c.as_int(2) & O_NOFOLLOW) != 0);
}

SysRet call_openat2(const CallContext& c) {
  std::uint64_t flags = 0;
  if (!mem::get(flags, c.arg(2))) return SysRet::fail(EFAULT);
  // RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS: the kernel refuses the link by itself.
  std::uint64_t resolve = 0;
  if (!mem::get(resolve, c.arg(2) + 16)) resolve = 0;
  const bool no_follow = (flags & O_NOFOLLOW) != 0 || (resolve & 0x06) != 0;
  return open_named(c, c.as_int(0), 1, SYS_openat2, no_follow);
}

SysRet call_readlink(const CallContext& c) { return read_link(c, AT_FDCWD, 0); }

SysRet call_readlinkat(const CallContext& c) { return read_link(c, c.as_int(0), 1); }

SysRet call_chdir(const CallContext& c) {
  ViewName name;
  if (!find_view_name(c.task, AT_FDCWD, c.arg(0), name) || !name.is_file) return pass(c);
  const std::int64_t fd =
      raw_call(SYS_openat, word(view_fd()), word(name.path.c_str()), O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return SysRet::raw(fd);
  const SysRet rc = gate64(SYS_fchdir, {static_cast<std::uint64_t>(fd), 0, 0, 0, 0, 0});
  raw_call(SYS_close, static_cast<std::uint64_t>(fd));
  return rc;
}

/// Such files have no attributes; ls asks for them.
SysRet call_path_xattr(const CallContext& c) {
  ViewName name;
  if (!find_view_name(c.task, AT_FDCWD, c.arg(0), name)) return pass(c);
  const bool lists = c.row.call == Call::listxattr || c.row.call == Call::llistxattr;
  return lists ? SysRet::ok() : SysRet::fail(ENODATA);
}

SysRet call_getcwd(const CallContext& c) { return without_prefix(pass(c), c.arg(0), 1); }

SysRet call_path_first(const CallContext& c) { return examine(c, AT_FDCWD, 0); }

SysRet call_path_second(const CallContext& c) { return examine(c, c.as_int(0), 1); }

}  // namespace hpcvmm::deputy
