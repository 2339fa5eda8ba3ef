#include "daemon/spawn.hh"

#include <fcntl.h>
#include <pwd.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "daemon/balance/meter.hh"
#include "daemon/facts.hh"

namespace hpcvmm::daemon {

namespace {

/// Everything the child needs, ready made: it shares our memory until exec and must not allocate.
struct Plan {
  int executable, socket, kvm, userfaultfd, null;
  const std::vector<UniqueFd>* groups;
  uid_t uid;
  gid_t gid;
  const cpu_set_t* cpus;
  const char* engine;  // what it prepares itself for
  pid_t parent;
  int error;         // set by the child
  const char* step;  // set by the child
};

// Raw calls: glibc's setuid() would change our own threads, which the child's memory shows it.
bool change_user(const Plan& p) {
  if (p.uid == 0) return true;
  return ::syscall(SYS_setgroups, 0, nullptr) == 0 && ::syscall(SYS_setresgid, p.gid, p.gid, p.gid) == 0 &&
         ::syscall(SYS_setresuid, p.uid, p.uid, p.uid) == 0;
}

bool place_descriptors(const Plan& p) {
  if (::dup2(p.null, 0) < 0 || ::dup2(p.null, 1) < 0 || ::dup2(p.socket, 3) < 0) return false;
  if (p.kvm >= 0 ? ::dup2(p.kvm, 4) < 0 : (::close(4), false)) return false;
  if (p.userfaultfd >= 0 ? ::dup2(p.userfaultfd, 5) < 0 : (::close(5), false)) return false;
  // All the rest closes on exec; whoever opened something without that flag is not forgiven.
  return ::syscall(SYS_close_range, 6, ~0U, 1U << 2 /* CLOSE_RANGE_CLOEXEC */) == 0;
}

int child(void* argument) {
  Plan& p = *static_cast<Plan*>(argument);
  const auto fail = [&p](const char* step) {
    p.error = errno;
    p.step = step;
    ::_exit(127);
  };
  // While it has the right to; 0 is whoever writes.
  for (const UniqueFd& group : *p.groups)
    if (::write(group.get(), "0", 1) != 1) fail("control group of a remote");
  if (!place_descriptors(p)) fail("descriptors of a remote");
  ::setsid();
  ::sched_setaffinity(0, sizeof *p.cpus, p.cpus);
  const rlimit no_core{0, 0};
  ::setrlimit(RLIMIT_CORE, &no_core);
  // It keeps our precedence until it runs: hpcd stands still until then (CLONE_VFORK).
  if (!change_user(p)) fail("user of a remote");
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) fail("PR_SET_NO_NEW_PRIVS");
  // After the user has changed: that clears it.
  if (::prctl(PR_SET_PDEATHSIG, SIGKILL) != 0) fail("PR_SET_PDEATHSIG");
  if (::getppid() != p.parent) ::_exit(127);
  for (int s = 1; s < 32; ++s)
    if (s != SIGKILL && s != SIGSTOP) ::signal(s, SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  const char* const arguments[] = {"hpc-vmm", "remote", p.engine, nullptr};
  static const char* const kEnvironment[] = {"PATH=/usr/local/bin:/usr/bin:/bin", "LC_ALL=C", nullptr};
  ::syscall(SYS_execveat, p.executable, "", arguments, kEnvironment, AT_EMPTY_PATH);
  fail("execute hpc-vmm remote");
  return 127;
}

/// Above the numbers that the child fills.
UniqueFd high(UniqueFd fd) {
  if (!fd || fd.get() >= 16) return fd;
  return UniqueFd(::fcntl(fd.get(), F_DUPFD_CLOEXEC, 16));
}

std::string own_folder() {
  std::array<char, 4096> exe{};
  const ssize_t n = ::readlink("/proc/self/exe", exe.data(), exe.size() - 1);
  const std::string path(exe.data(), n > 0 ? static_cast<std::size_t>(n) : 0);
  return path.substr(0, path.rfind('/'));
}

}  // namespace

std::variant<RemoteKit, Refusal> make_remote_kit(const Config& config) {
  RemoteKit kit;
  kit.spares = config.spare_remotes;
  const std::string path = config.remote.empty() ? own_folder() + "/hpc-vmm" : config.remote;
  kit.executable = high(UniqueFd(::open(path.c_str(), O_PATH | O_CLOEXEC)));
  if (!kit.executable) return Refusal{"the executable of remotes, " + path + ": " + std::strerror(errno)};
  kit.kvm = high(UniqueFd(::open("/dev/kvm", O_RDWR | O_CLOEXEC)));
  kit.userfaultfd = high(UniqueFd(::open("/dev/userfaultfd", O_RDWR | O_CLOEXEC)));
  for (const std::string& folder : read_groups(config.run_dir + "/groups")) {
    kit.groups.push_back(high(UniqueFd(::open((folder + "/cgroup.procs").c_str(), O_WRONLY | O_CLOEXEC))));
    if (!kit.groups.back()) return Refusal{"control group " + folder + ": " + std::strerror(errno)};
    kit.group_names.push_back(folder.substr(folder.rfind('/')));
  }
  ::sched_getaffinity(0, sizeof kit.cpus, &kit.cpus);
  if (const std::string processor = read_small(config.run_dir + "/processor"); !processor.empty()) {
    kit.bound = true;
    CPU_ZERO(&kit.cpus);
    CPU_SET(std::strtoul(processor.c_str(), nullptr, 10) % CPU_SETSIZE, &kit.cpus);
  }
  if (::geteuid() != 0) return kit;
  const passwd* const user = ::getpwnam(config.remote_user.c_str());
  if (user == nullptr)
    return Refusal{"remote_user \"" + config.remote_user + "\": no such user; remedy: useradd --system " +
                   config.remote_user};
  kit.uid = user->pw_uid;
  kit.gid = user->pw_gid;
  return kit;
}

std::string join_groups(const RemoteKit& kit, pid_t pid) {
  if (kit.groups.empty()) return {};
  // "4:cpu,cpuacct:/hpcvmm-c-1": writing where it is already would cost the machine a grace period.
  const std::string text = read_small("/proc/" + std::to_string(pid) + "/cgroup");
  std::size_t there = 0;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    const std::string_view line(text.data() + at, end - at);
    const auto ours = [line](const std::string& name) { return line.ends_with(name); };
    if (std::any_of(kit.group_names.begin(), kit.group_names.end(), ours)) ++there;
    at = end + 1;
  }
  if (there >= kit.groups.size()) return {};
  if (kit.bound) ::sched_setaffinity(pid, sizeof kit.cpus, &kit.cpus);
  const std::string number = std::to_string(pid);
  for (const UniqueFd& group : kit.groups)
    if (::pwrite(group.get(), number.data(), number.size(), 0) < 0 && errno != ESRCH)
      return std::string("control group of its node: ") + std::strerror(errno);
  return {};
}

Result<SpawnedRemote> spawn_remote(const RemoteKit& kit, wire::local::EngineKind engine) {
  std::array<int, 2> pair{};
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair.data()) != 0)
    return Error::last("socketpair for a remote");
  UniqueFd ours = high(UniqueFd(pair[0]));
  UniqueFd theirs = high(UniqueFd(pair[1]));
  const UniqueFd null = high(UniqueFd(::open("/dev/null", O_RDWR | O_CLOEXEC)));
  if (!ours || !theirs || !null) return Error::last("descriptors for a remote");
  // What the remote reads and writes as descriptor 3 blocks unless it says otherwise.
  ::fcntl(theirs.get(), F_SETFL, 0);
  // Credentials come with its first message only if they are asked for before it can send one.
  const int on = 1;
  ::setsockopt(ours.get(), SOL_SOCKET, SO_PASSCRED, &on, sizeof on);

  Plan plan{kit.executable.get(),
            theirs.get(),
            kit.kvm.get(),
            kit.userfaultfd.get(),
            null.get(),
            &kit.groups,
            kit.uid,
            kit.gid,
            &kit.cpus,
            engine == wire::local::EngineKind::Kvm ? "kvm" : "direct",
            ::getpid(),
            0,
            ""};
  // clone with CLONE_VM: fork would copy the page tables of all that DPDK has mapped.
  alignas(16) static std::array<std::byte, 64 * 1024> stack;
  sigset_t all;
  sigset_t old;
  sigfillset(&all);
  ::sigprocmask(SIG_SETMASK, &all, &old);
  int pidfd = -1;
  const int pid = ::clone(child, stack.data() + stack.size(), CLONE_VM | CLONE_VFORK | CLONE_PIDFD | SIGCHLD,
                          &plan, &pidfd);
  const int clone_error = errno;
  ::sigprocmask(SIG_SETMASK, &old, nullptr);
  if (pid < 0) return Error::of(clone_error, "clone for a remote");
  SpawnedRemote out{std::move(ours), UniqueFd(pidfd), pid};
  if (plan.error == 0) return out;
  ::waitpid(pid, nullptr, 0);
  return Error::of(plan.error, plan.step);
}

}  // namespace hpcvmm::daemon
