#include "vmm/deputy/procfs.hh"

#include <fcntl.h>
#include <linux/magic.h>
#include <linux/memfd.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <string>
#include <string_view>

#include "guest-agent/view/cpu_text.hh"
#include "hpcvmm/base/layout.hh"
#include "vmm/deputy/cluster_view.hh"
#include "vmm/deputy/gate.hh"
#include "vmm/deputy/host.hh"
#include "vmm/deputy/low_memory.hh"
#include "vmm/deputy/proc_text.hh"
#include "vmm/deputy/seccomp.hh"
#include "vmm/deputy/signals.hh"
#include "vmm/mem/host_maps.hh"
#include "vmm/mem/user_copy.hh"

namespace hpcvmm::deputy {
namespace {

using PathBuffer = std::array<char, 4096>;

bool exists(const char* path) {
  return raw_call(SYS_newfstatat, word(AT_FDCWD), word(path), word(std::array<struct stat, 1>{}.data()),
                  AT_SYMLINK_NOFOLLOW) == 0;
}

/// The path the kernel knows a descriptor by; empty if there is none to be had.
std::string_view path_of_fd(const char* dir, int fd, PathBuffer& buffer) {
  std::array<char, 64> link{};
  if (dir != nullptr) {
    std::snprintf(link.data(), link.size(), "%s", dir);
  } else {
    std::snprintf(link.data(), link.size(), "/proc/self/fd/%d", fd);
  }
  const std::int64_t n =
      raw_call(SYS_readlinkat, word(AT_FDCWD), word(link.data()), word(buffer.data()), buffer.size() - 1);
  if (n <= 0) return {};
  buffer[static_cast<std::size_t>(n)] = 0;
  return {buffer.data(), static_cast<std::size_t>(n)};
}

bool on_proc(int fd) {
  struct statfs s {};
  return raw_call(SYS_fstatfs, word(fd), word(&s)) == 0 && s.f_type == PROC_SUPER_MAGIC;
}

bool is_own_number(std::int64_t number) {
  if (number == raw_call(SYS_getpid)) return true;
  std::array<char, 64> path{};
  std::snprintf(path.data(), path.size(), "/proc/self/task/%ld", static_cast<long>(number));
  return exists(path.data());
}

ProcName meaning(std::string_view absolute) {
  const proc_text::Name name = proc_text::parse_name(absolute);
  switch (name.what) {
    case proc_text::What::Exe:
      return name.pid == 0 || is_own_number(name.pid) ? ProcName::Exe : ProcName::Other;
    case proc_text::What::Fd:
      return is_hidden(name.fd) && (name.pid == 0 || is_own_number(name.pid)) ? ProcName::HiddenFd
                                                                              : ProcName::Other;
    default: return ProcName::Other;
  }
}

/// Only names that can mean something here are worth finding out where they start.
bool is_telling(std::string_view relative) {
  const std::string_view last = relative.substr(relative.rfind('/') + 1);
  int fd = 0;
  return last == "exe" || (parse_fd(std::string(last).c_str(), fd) && is_hidden(fd));
}

ProcName look_at_path(int dir_fd, std::string_view path) {
  if (path.empty()) return ProcName::Other;
  if (path[0] == '/') return proc_text::is_candidate(path) ? meaning(path) : ProcName::Other;
  if (path.size() > 64 || !is_telling(path)) return ProcName::Other;
  PathBuffer base;
  const std::string_view start = path_of_fd(dir_fd == AT_FDCWD ? "/proc/self/cwd" : nullptr, dir_fd, base);
  if (!proc_text::is_candidate(start)) return ProcName::Other;
  return meaning(std::string(start) + '/' + std::string(path));
}

/// "/proc/12/task/13/maps" -> the process directory's name and what stands before and behind it.
struct OpenedName {
  std::string mount, pid;
  std::string_view dir, file;
};

OpenedName split_opened(std::string_view path) {
  OpenedName n;
  const std::size_t slash = path.rfind('/');
  if (slash == std::string_view::npos) return n;
  n.file = path.substr(slash + 1);
  n.dir = path.substr(0, slash);
  std::string_view rest = n.dir;
  const auto pop = [&rest] {
    const std::size_t at = rest.rfind('/');
    if (at == std::string_view::npos) return std::exchange(rest, std::string_view());
    const std::string_view last = rest.substr(at + 1);
    rest = rest.substr(0, at);
    return last;
  };
  std::string_view pid = pop();
  if (rest.ends_with("/task")) {
    pop();
    pid = pop();
  }
  n.pid = pid;
  n.mount = rest;
  return n;
}

struct FileId {
  std::uint64_t device = 0, inode = 0;
  bool operator==(const FileId&) const = default;
};

bool file_id(const char* path, FileId& id) {
  struct stat s {};
  if (raw_call(SYS_newfstatat, word(AT_FDCWD), word(path), word(&s), 0) != 0) return false;
  id = {s.st_dev, s.st_ino};
  return true;
}

/// A process whose program, for the host, is the VMM.  One that nobody can tell counts as such.
bool may_be_deputy(std::string_view process_dir) {
  FileId own;
  FileId other;
  if (!file_id("/proc/self/exe", own) || !file_id((std::string(process_dir) + "/exe").c_str(), other))
    return true;
  return own == other;
}

proc_text::View view_of(const Task& t) {
  proc_text::View v;
  v.vdso = t.process->vdso;
  v.brk_begin = t.process->mm->brk_start();
  v.brk_end = t.process->mm->brk_end();
  v.ia32 = t.process->abi == Abi::Ia32;
  v.is_vmm = [](std::uint64_t begin, std::uint64_t end) {
    const std::uint64_t bytes = end - begin;
    return touches_zone(begin, bytes) || mem::touches_host_vdso(begin, bytes) || is_low_page(begin, end);
  };
  return v;
}

proc_text::Status status_of(const Task& t) {
  Process& p = *t.process;
  proc_text::Status s;
  s.seccomp_mode = seccomp_mode(t);
  s.seccomp_filters = seccomp_filters(t);
  {
    const mem::LockGuard guard(p.lock);
    s.threads = p.tasks.size();
  }
  if (wire::view::Cluster c; read_cluster(c)) {
    const std::unique_ptr<wire::view::CpuSet> affinity = copy_affinity(t);
    const wire::view::CpuSet cpus = effective_affinity(affinity.get(), c);
    wire::view::CpuSet nodes;
    for (std::uint32_t i = 0; i < c.node_count; ++i)
      if (c.nodes[i].online != 0) nodes.add(c.nodes[i].id);
    s.cpus = view::cpu_mask(cpus, c.cpu_ids);
    s.cpu_list = view::cpu_list(cpus);
    s.nodes = view::cpu_mask(nodes, 1024);  // as many as Linux says on x86-64
    s.node_list = view::cpu_list(nodes);
  }
  const mem::LockGuard guard(p.signals->lock);
  for (int signo = 1; signo <= 64; ++signo) {
    const std::uint64_t handler = p.signals->actions[signo].handler;
    if (handler == 1) s.ignored |= bit(signo);
    if (handler > 1) s.caught |= bit(signo);
  }
  return s;
}

bool read_all(int fd, std::string& out) {
  constexpr std::size_t kPiece = 65536;
  for (;;) {
    const std::size_t have = out.size();
    out.resize(have + kPiece);
    const std::int64_t n = raw_call(SYS_read, word(fd), word(out.data() + have), kPiece);
    out.resize(have + static_cast<std::size_t>(n > 0 ? n : 0));
    if (n == 0) return true;
    if (n < 0 && n != -EINTR) return false;
  }
}

bool read_file(const std::string& path, std::string& out) {
  const std::int64_t fd = raw_call(SYS_openat, word(AT_FDCWD), word(path.c_str()), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return false;
  const bool ok = read_all(static_cast<int>(fd), out);
  raw_call(SYS_close, static_cast<std::uint64_t>(fd));
  return ok;
}

/// A read-only descriptor of a file with this text, or -errno.
std::int64_t text_file(const std::string& text) {
  const std::int64_t made = raw_call(SYS_memfd_create, word("maps"), MFD_CLOEXEC);
  if (made < 0) return made;
  const auto writer = static_cast<std::uint64_t>(made);
  std::size_t done = 0;
  while (done < text.size()) {
    const std::int64_t n = raw_call(SYS_write, writer, word(text.data() + done), text.size() - done);
    if (n <= 0) break;
    done += static_cast<std::size_t>(n);
  }
  std::array<char, 64> path{};
  std::snprintf(path.data(), path.size(), "/proc/self/fd/%d", static_cast<int>(made));
  const std::int64_t reader =
      done == text.size() ? raw_call(SYS_openat, word(AT_FDCWD), word(path.data()), O_RDONLY | O_CLOEXEC)
                          : -ENOMEM;
  raw_call(SYS_close, writer);
  return reader;
}

/// The guest's view of the file that `fd` has open.  False: it cannot be read.
bool make_view(const Task& t, int fd, const OpenedName& name, std::string& out) {
  std::string host;
  if (!read_all(fd, host)) return false;
  if (name.file == "status") {
    out = proc_text::filter_status(host, status_of(t));
    return true;
  }
  if (name.file == "stat") {
    std::int64_t pid = 0;
    std::from_chars(name.pid.data(), name.pid.data() + name.pid.size(), pid);
    out = stat_in_view(t, host, pid);
    return true;
  }
  const proc_text::View view = view_of(t);
  if (name.file == "numa_maps") {
    out = proc_text::filter_numa_maps(host, view);
  } else if (name.file == "smaps_rollup") {
    std::string smaps;
    if (!read_file(std::string(name.dir) + "/smaps", smaps)) return false;
    out = proc_text::filter_rollup(host, smaps, view);
  } else {
    out = proc_text::filter_maps(host, view);
  }
  return true;
}

sys::SysRet refuse(int fd, int error) {
  raw_call(SYS_close, word(fd));
  return sys::SysRet::fail(error);
}

sys::SysRet replace_by_view(Task& t, int fd, const OpenedName& name) {
  const std::int64_t status = raw_call(SYS_fcntl, word(fd), F_GETFL);
  if (status < 0 || (status & O_PATH) != 0) return sys::SysRet::ok(word(fd));
  if ((status & O_ACCMODE) == O_WRONLY) return sys::SysRet::ok(word(fd));  // there is nothing to write
  std::string text;
  if (!make_view(t, fd, name, text)) return refuse(fd, EACCES);
  const std::int64_t view = text_file(text);
  if (view < 0) return refuse(fd, static_cast<int>(-view));
  const std::int64_t cloexec = raw_call(SYS_fcntl, word(fd), F_GETFD) & FD_CLOEXEC;
  const std::int64_t rc =
      raw_call(SYS_dup3, static_cast<std::uint64_t>(view), word(fd), cloexec != 0 ? O_CLOEXEC : 0);
  raw_call(SYS_close, static_cast<std::uint64_t>(view));
  return rc < 0 ? refuse(fd, static_cast<int>(-rc)) : sys::SysRet::ok(word(fd));
}

}  // namespace

sys::SysRet open_text(const std::string& text, bool cloexec) {
  const std::int64_t fd = text_file(text);
  if (fd < 0) return sys::SysRet::raw(fd);
  // The lowest number that is free, as open(2) gives it: text_file() needed two.
  const auto made = static_cast<std::uint64_t>(fd);
  const std::int64_t lowest = raw_call(SYS_fcntl, made, cloexec ? F_DUPFD_CLOEXEC : F_DUPFD, 0);
  raw_call(SYS_close, made);
  return sys::SysRet::raw(lowest);
}

bool parse_fd(const char* name, int& fd) {
  const std::string_view text(name);
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), fd, 10);
  return error == std::errc{} && stop == text.data() + text.size() && fd >= 0;
}

ProcName look_at_own_name(int dir_fd, const char* path) { return look_at_path(dir_fd, path); }

ProcName look_at_name(int dir_fd, std::uint64_t guest_path) {
  // Most paths are short and not in /proc; only one that is deserves the whole buffer.
  std::array<char, 128> head;
  std::ptrdiff_t n = mem::copy_in_string(head.data(), guest_path, head.size());
  if (n <= 0) return ProcName::Other;
  const auto size = static_cast<std::size_t>(n);
  if (size < head.size()) return look_at_path(dir_fd, {head.data(), size});
  if (head[0] != '/' || !proc_text::is_candidate({head.data(), size})) return ProcName::Other;
  PathBuffer whole;
  n = mem::copy_in_string(whole.data(), guest_path, whole.size());
  if (n <= 0 || static_cast<std::size_t>(n) == whole.size()) return ProcName::Other;
  return look_at_path(dir_fd, {whole.data(), static_cast<std::size_t>(n)});
}

bool is_own_exe_path(Task& t, const char* path) {
  static_cast<void>(t);  // the calling thread's, always
  return path[0] == '/' && look_at_path(AT_FDCWD, path) == ProcName::Exe;
}

bool is_own_exe_link(int fd) {
  if (!on_proc(fd)) return false;
  PathBuffer buffer;
  const std::string_view path = path_of_fd(nullptr, fd, buffer);
  return proc_text::is_candidate(path) && meaning(path) == ProcName::Exe;
}

sys::SysRet guard_opened(Task& t, sys::SysRet opened) {
  if (opened.is_restart() || opened.is_error()) return opened;
  const auto fd = static_cast<int>(opened.value());
  if (!on_proc(fd)) return opened;
  const bool isolates = t.process->engine_kind == engine::Kind::Kvm;
  PathBuffer buffer;
  const std::string_view path = path_of_fd(nullptr, fd, buffer);
  // Without a /proc in sight (chroot) nobody can tell a memory file from another: none is safe.
  if (path.empty()) return isolates ? refuse(fd, EACCES) : opened;
  const OpenedName name = split_opened(path);
  if (name.file == "mem") {
    // Only a process directory has one that counts; the kernel's own files of that name lie elsewhere.
    return isolates && may_be_deputy(name.dir) ? refuse(fd, EACCES) : opened;
  }
  // Everybody's, for ps and top: it names CPUs.
  if (name.file == "stat" && view_fd() >= 0 &&
      name.pid.find_first_not_of("0123456789") == std::string::npos && !name.pid.empty())
    return replace_by_view(t, fd, name);
  if (!proc_text::is_telling_file(name.file)) return opened;
  if (!exists((name.mount + "/self/task/" + name.pid).c_str())) return opened;
  return replace_by_view(t, fd, name);
}

ProcDir proc_directory(int fd) {
  if (!on_proc(fd)) return ProcDir::Other;
  PathBuffer buffer;
  const std::string_view path = path_of_fd(nullptr, fd, buffer);
  const OpenedName name = split_opened(path);
  ProcDir dir = ProcDir::Other;
  if (name.file == "fd" || name.file == "fdinfo") dir = ProcDir::Descriptors;
  if (name.file == "map_files") dir = ProcDir::MapFiles;
  if (name.file == "task") dir = ProcDir::Tasks;
  if (dir == ProcDir::Other || !exists((name.mount + "/self/task/" + name.pid).c_str()))
    return ProcDir::Other;
  return dir;
}

bool names_foreign_task(const Task& t, const char* name) {
  int tid = 0;
  if (!parse_fd(name, tid)) return false;
  const mem::LockGuard guard(t.process->lock);
  for (const Task* other : t.process->tasks)
    if (other->tid == tid) return false;
  // The leader's host thread outlives it, as on Linux.
  return tid != raw_call(SYS_getpid);
}

bool names_vmm_mapping(const char* name) {
  proc_text::Range r;
  return proc_text::parse_range(name, r) &&
         (touches_zone(r.begin, r.end - r.begin) || mem::touches_host_vdso(r.begin, r.end - r.begin) ||
          is_low_page(r.begin, r.end));
}

}  // namespace hpcvmm::deputy
