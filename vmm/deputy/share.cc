#include "vmm/deputy/share.hh"

#include <fcntl.h>
#include <linux/sched.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

#include "vmm/deputy/gate.hh"
#include "vmm/deputy/home.hh"
#include "vmm/deputy/host.hh"
#include "vmm/deputy/launch.hh"
#include "vmm/deputy/stacks.hh"
#include "vmm/mem/arena.hh"
#include "vmm/migrate/host.hh"
#include "vmm/share/server/server.hh"

extern "C" std::int64_t hpcvmm_clone_vm(const void* args, std::size_t bytes, void (*start)(void*), void* arg);

namespace hpcvmm::deputy {
namespace {

constexpr std::size_t kStackBytes = std::size_t{32} << 10U;
constexpr int kCluster = 3;
constexpr int kSelf = 4;

/// struct clone_args of clone3(2), first version.
struct CloneArgs {
  std::uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls;
};

struct Birth {
  int self, cluster;
  void* stack;  // of the second
};

// Both run in memory that is ours, while this thread waits: system calls only.

[[noreturn]] void become_server(void* arg) {
  const Birth b = *static_cast<Birth*>(arg);
  raw_call(SYS_dup3, word(b.cluster), kCluster, 0);
  raw_call(SYS_dup3, word(b.self), kSelf, O_CLOEXEC);
  raw_call(SYS_close_range, kSelf + 1, ~0U, 0);
  const char* const null = "/dev/null";
  for (int fd = 0; fd < 3; ++fd) raw_call(SYS_close, word(fd));
  // Without /dev/null (a bare root directory) the three stay closed but for copies of the socket's name.
  for (int fd = 0; fd < 3; ++fd)
    if (raw_call(SYS_openat, word(AT_FDCWD), word(null), O_RDWR) < 0)
      raw_call(SYS_dup3, kCluster, word(fd), 0);
  raw_call(SYS_chdir, word("/"));
  const std::uint64_t none = 0;
  raw_call(SYS_rt_sigprocmask, SIG_SETMASK, word(&none), 0, 8);
  const char* const argv[] = {"hpc-vmm", "share", nullptr};
  const char* const envp[] = {nullptr};
  raw_call(SYS_execveat, kSelf, word(""), word(argv), word(envp), AT_EMPTY_PATH);
  raw_call(SYS_exit_group, 127);
  __builtin_unreachable();
}

[[noreturn]] void between(void* arg) {
  raw_call(SYS_setsid);
  CloneArgs a{};
  a.flags = CLONE_VM | CLONE_VFORK;
  a.exit_signal = SIGCHLD;
  a.stack = word(static_cast<Birth*>(arg)->stack);
  a.stack_size = kStackBytes;
  const std::int64_t rc = hpcvmm_clone_vm(
      &a, sizeof a, [](void* p) { become_server(p); }, arg);
  raw_call(SYS_exit_group, rc < 0 ? 1 : 0);
  __builtin_unreachable();
}

}  // namespace

bool start_share_server() {
  if (self_fd() < 0 || cluster_fd() < 0) return false;
  auto* const stacks = static_cast<char*>(mem::arena_map(2 * kStackBytes));
  if (stacks == nullptr) return false;
  Birth b{self_fd(), cluster_fd(), stacks + kStackBytes};
  std::uint64_t all = ~std::uint64_t{0};
  std::uint64_t before = 0;
  raw_call(SYS_rt_sigprocmask, SIG_SETMASK, word(&all), word(&before), 8);
  CloneArgs a{};
  // No signal tells the guest of a child that is not its own.
  a.flags = CLONE_VM | CLONE_VFORK;
  a.stack = word(stacks);
  a.stack_size = kStackBytes;
  const std::int64_t child = hpcvmm_clone_vm(
      &a, sizeof a, [](void* p) { between(p); }, &b);
  int status = -1;
  if (child > 0)
    while (raw_call(SYS_wait4, static_cast<std::uint64_t>(child), word(&status), word(__WCLONE)) == -EINTR) {
    }
  raw_call(SYS_rt_sigprocmask, SIG_SETMASK, word(&before), 0, 8);
  mem::arena_unmap(stacks, 2 * kStackBytes);
  return child > 0 && status == 0;
}

void serve_share() {
  migrate::HostHooks hooks;
  hooks.hide_fd = [](int fd, int* owner) {
    if (owner != nullptr) *owner = fd;
    return fd;
  };
  hooks.close_fd = [](int fd) { ::close(fd); };
  hooks.say = say;
  hooks.thread_id = [] { return static_cast<int>(raw_call(SYS_gettid)); };
  hooks.process_id = [] { return static_cast<int>(raw_call(SYS_getpid)); };
  migrate::set_host_hooks(hooks);
  rlimit files{};
  if (::getrlimit(RLIMIT_NOFILE, &files) == 0) {
    files.rlim_cur = files.rlim_max;
    ::setrlimit(RLIMIT_NOFILE, &files);
  }
  ::fcntl(kCluster, F_SETFD, FD_CLOEXEC);
  share::serve_home(kCluster);
}

FilesAtHome::FilesAtHome(const CallContext& c) : task_(c.task) {
  if (!home_of(task_).files_may_be_elsewhere()) return;
  using sys::Call;
  switch (c.row.call) {
    case Call::read:
    case Call::write:
    case Call::pread64:
    case Call::pwrite64:
    case Call::readv:
    case Call::writev:
    case Call::preadv:
    case Call::pwritev:
    case Call::preadv2:
    case Call::pwritev2:
    case Call::ftruncate:
    case Call::ftruncate64:
    case Call::fallocate:
    case Call::lseek: freeze(c.as_int(0), files_[0]); return;
    case Call::sendfile:
    case Call::sendfile64:
      freeze(c.as_int(0), files_[0]);
      freeze(c.as_int(1), files_[1]);
      return;
    case Call::splice:
    case Call::copy_file_range:
      freeze(c.as_int(0), files_[0]);
      freeze(c.as_int(2), files_[1]);
      return;
    default: return;
  }
}

void FilesAtHome::freeze(int fd, File& f) {
  struct stat s {};
  if (::fstat(fd, &s) != 0 || !S_ISREG(s.st_mode)) return;
  f.device = s.st_dev;
  f.inode = s.st_ino;
  f.frozen = home_of(task_).freeze_file(f.device, f.inode);
}

FilesAtHome::~FilesAtHome() {
  for (const File& f : files_)
    if (f.frozen) home_of(task_).thaw_file(f.device, f.inode);
}

}  // namespace hpcvmm::deputy
