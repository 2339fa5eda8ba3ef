#include "vmm/load/program.hh"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <utility>

#include "vmm/load/script.hh"

namespace hpcvmm::load {
namespace {

constexpr int kExecveCheck = 0x10000;  // AT_EXECVE_CHECK, Linux 6.14; not in older headers
constexpr unsigned kMaxScripts = 5;    // exec_binprm(): the sixth interpreter is opened, then refused

Verdict last_error(const char* why) { return Verdict::fail(errno != 0 ? errno : EIO, why); }

Verdict check_access(int fd, unsigned long mount, Probe probe) {
  if (probe == Probe::Kernel) {
    char name[] = "check";
    char* const argv[] = {name, nullptr};
    char* const envp[] = {nullptr};
    const int flags = AT_EMPTY_PATH | kExecveCheck;
    if (::syscall(SYS_execveat, fd, "", argv, envp, flags) == 0) return {};
    // EINVAL: a kernel without the flag.
    if (errno != EINVAL) return last_error("not permitted to execute this file");
  }
  if ((mount & ST_NOEXEC) != 0) return Verdict::fail(EACCES, "on a file system mounted noexec");
  if (::syscall(SYS_faccessat2, fd, "", X_OK, AT_EACCESS | AT_EMPTY_PATH) != 0) {
    return last_error("no permission to execute this file");
  }
  return {};
}

Verdict check_file(int fd, ExecFile& out, Probe probe) {
  struct stat st {};
  if (::fstat(fd, &st) != 0) return last_error("cannot stat the file");
  if (S_ISLNK(st.st_mode)) return Verdict::fail(ELOOP, "symbolic link, and AT_SYMLINK_NOFOLLOW was given");
  if (!S_ISREG(st.st_mode)) return Verdict::fail(EACCES, "not a regular file");
  out.mode = st.st_mode;
  out.uid = st.st_uid;
  out.gid = st.st_gid;
  struct statfs fs {};
  if (::fstatfs(fd, &fs) != 0) return last_error("cannot stat the file system");
  const auto mount = static_cast<unsigned long>(fs.f_flags);
  out.nosuid = (mount & ST_NOSUID) != 0;
  return check_access(fd, mount, probe);
}

// A descriptor that can be read and mapped, of the same file as `fd` (which may be O_PATH or write-only).
int reopen(int fd) {
  const int mode = ::fcntl(fd, F_GETFL);
  if (mode >= 0 && (mode & O_PATH) == 0 && (mode & O_ACCMODE) != O_WRONLY) {
    return ::fcntl(fd, F_DUPFD_CLOEXEC, 0);  // shares the offset, but only pread and mmap are used
  }
  const std::string link = "/proc/self/fd/" + std::to_string(fd);
  return ::open(link.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
}

bool same_file(int a, int b) {
  struct stat sa {};
  struct stat sb {};
  return ::fstat(a, &sa) == 0 && ::fstat(b, &sb) == 0 && sa.st_dev == sb.st_dev && sa.st_ino == sb.st_ino;
}

Verdict take_readable(int fd, ExecFile& out) {
  if (fd >= 0) {
    out.fd = UniqueFd(fd);
    return {};
  }
  if (errno != EACCES && errno != EPERM) return last_error("cannot open the file");
  out.unreadable = true;
  return {};
}

bool has_file_caps(int fd) {
  std::array<std::byte, 64> value{};
  return ::fgetxattr(fd, "security.capability", value.data(), value.size()) > 0;
}

// Only what would change this process counts: a root shell runs `su` in a micro-VM like any other program.
Native judge_privilege(const ExecFile& file) {
  if (file.unreadable) return Native::Unreadable;
  if (file.nosuid || ::prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1) return Native::No;
  const bool set_uid = (file.mode & S_ISUID) != 0 && file.uid != ::geteuid();
  // Without group-execute the bit once meant mandatory locking; Linux ignores it for exec.
  const bool gid_bits = (file.mode & S_ISGID) != 0 && (file.mode & S_IXGRP) != 0;
  if (set_uid || (gid_bits && file.gid != ::getegid())) return Native::SetId;
  const bool all_root = ::getuid() == 0 && ::geteuid() == 0;
  if (!all_root && has_file_caps(file.fd.get())) return Native::FileCaps;
  return Native::No;
}

std::string execfn_of(const ExecRequest& request) {
  if (request.dirfd == AT_FDCWD || (!request.path.empty() && request.path[0] == '/')) return request.path;
  std::string name = "/dev/fd/" + std::to_string(request.dirfd);
  if (!request.path.empty()) name += "/" + request.path;
  return name;
}

// A script is opened again by its interpreter, by name; /dev/fd/N is gone by then if N closes on exec.
bool vanishes_on_exec(const ExecRequest& request, const std::string& execfn) {
  if (execfn == request.path) return false;
  const int flags = ::fcntl(request.dirfd, F_GETFD);
  return flags >= 0 && (flags & FD_CLOEXEC) != 0;
}

void rewrite_argv(Program& out, ScriptLine& line) {
  std::vector<std::string> argv;
  argv.reserve(out.argv.size() + 2);
  argv.push_back(line.interpreter);
  if (line.has_argument) argv.push_back(std::move(line.argument));
  argv.push_back(out.path);
  for (std::size_t i = 1; i < out.argv.size(); ++i) argv.push_back(std::move(out.argv[i]));
  out.argv = std::move(argv);
  out.path = std::move(line.interpreter);
}

}  // namespace

Verdict open_executable(int dirfd, const char* path, int flags, ExecFile& out, Probe probe) {
  if ((flags & ~(AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW)) != 0) return Verdict::fail(EINVAL, "unknown flags");
  if (path[0] == '\0') {
    if ((flags & AT_EMPTY_PATH) == 0) return Verdict::fail(ENOENT, "empty path");
    if (dirfd == AT_FDCWD) return Verdict::fail(EACCES, "not a regular file");
    const Verdict verdict = check_file(dirfd, out, probe);
    return verdict.ok() ? take_readable(reopen(dirfd), out) : verdict;
  }
  const int nofollow = (flags & AT_SYMLINK_NOFOLLOW) != 0 ? O_NOFOLLOW : 0;
  // O_PATH first, because opening a FIFO or a device has effects.  If the name means another file by the
  // second open, both steps start again.
  for (int attempt = 0; attempt < 16; ++attempt) {
    const UniqueFd place(::openat(dirfd, path, O_PATH | O_CLOEXEC | nofollow));
    if (!place) return last_error("cannot find the file");
    const Verdict verdict = check_file(place.get(), out, probe);
    if (!verdict.ok()) return verdict;
    const int fd = ::openat(dirfd, path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK | nofollow);
    if (fd >= 0 && !same_file(fd, place.get())) {
      ::close(fd);
      continue;
    }
    return take_readable(fd, out);
  }
  return Verdict::fail(ETXTBSY, "the file is being replaced all the time");
}

Verdict open_interpreter(const std::string& path, ExecFile& out) {
  if (path.empty()) return Verdict::fail(EACCES, "empty interpreter path");
  return open_executable(AT_FDCWD, path.c_str(), 0, out);
}

Verdict resolve_program(const ExecRequest& request, Program& out) {
  out.execfn = execfn_of(request);
  out.path = out.execfn;
  out.argv = request.argv;
  if (out.argv.empty()) out.argv.emplace_back();
  out.scripts = 0;
  out.secure = ::getuid() != ::geteuid() || ::getgid() != ::getegid();

  ExecFile file;
  Verdict verdict = open_executable(request.dirfd, request.path.c_str(), request.flags, file);
  for (; verdict.ok(); ++out.scripts) {
    if (out.scripts > kMaxScripts) return Verdict::fail(ELOOP, "more than five #! scripts in a row");
    out.native = judge_privilege(file);
    if (file.unreadable) return {};
    std::array<std::byte, kHeadBytes> head{};
    if (::pread(file.fd.get(), head.data(), head.size(), 0) < 0) return last_error("cannot read the file");
    ScriptLine line = parse_script(head);
    if (!line.is_script) {
      out.header = parse_header(head, Role::Program);
      out.fd = std::move(file.fd);
      return out.header.verdict;
    }
    if (!line.verdict.ok()) return line.verdict;
    if (vanishes_on_exec(request, out.execfn)) {
      return Verdict::fail(ENOENT, "script on a descriptor that closes on exec");
    }
    rewrite_argv(out, line);
    file = ExecFile{};
    verdict = open_interpreter(out.path, file);
  }
  return verdict;
}

}  // namespace hpcvmm::load
