#include "daemon/system.hh"

#include <fcntl.h>
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "hpcvmm/base/unique_fd.hh"

namespace hpcvmm::daemon {

namespace {
constexpr int kNice = -15;
constexpr std::uint64_t kKeep =
    1ULL << CAP_SETUID | 1ULL << CAP_SETGID | 1ULL << CAP_KILL | 1ULL << CAP_LEASE;
}  // namespace

Status drop_rights() {
  if (::geteuid() == 0) {
    // The bounding set first: shrinking it is a right, too.
    for (unsigned long cap = 0; cap < 64; ++cap) {
      if ((kKeep >> cap & 1) != 0) continue;
      if (::prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) != 0 && errno != EINVAL)
        return Error::last("PR_CAPBSET_DROP");
    }
    ::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
    std::array<__user_cap_data_struct, 2> data{};
    data[0].effective = data[0].permitted = static_cast<std::uint32_t>(kKeep);
    data[1].effective = data[1].permitted = static_cast<std::uint32_t>(kKeep >> 32);
    if (::syscall(SYS_capset, &header, data.data()) != 0) return Error::last("capset");
  }
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return Error::last("PR_SET_NO_NEW_PRIVS");
  const rlimit no_core{0, 0};
  ::setrlimit(RLIMIT_CORE, &no_core);
  if (::prctl(PR_SET_DUMPABLE, 0) != 0) return Error::last("PR_SET_DUMPABLE");
  return Unit{};
}

void raise_limits() {
  rlimit files{};
  if (::getrlimit(RLIMIT_NOFILE, &files) != 0) return;
  files.rlim_cur = files.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &files);
}

void take_precedence() {
  // Without the right to, it waits like everybody else.
  ::setpriority(PRIO_PROCESS, 0, kNice);
}

ThreadTimes thread_times() {
  ThreadTimes times;
  unsigned long long used_ns = 0;
  unsigned long long waited_ns = 0;
  const UniqueFd fd(::open("/proc/thread-self/schedstat", O_RDONLY | O_CLOEXEC));
  std::array<char, 96> text{};
  if (fd && ::read(fd.get(), text.data(), text.size() - 1) > 0 &&
      std::sscanf(text.data(), "%llu %llu", &used_ns, &waited_ns) == 2) {
    times.used_us = used_ns / 1000;
    times.waited_us = waited_ns / 1000;
  }
  return times;
}

void notify_service_manager(const char* state) {
  const char* const path = std::getenv("NOTIFY_SOCKET");
  if (path == nullptr || (path[0] != '/' && path[0] != '@')) return;
  sockaddr_un at{};
  at.sun_family = AF_UNIX;
  const std::size_t length = std::strlen(path);
  if (length >= sizeof at.sun_path) return;
  std::memcpy(at.sun_path, path, length);
  if (path[0] == '@') at.sun_path[0] = 0;
  const UniqueFd fd(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  ::sendto(fd.get(), state, std::strlen(state), MSG_NOSIGNAL, reinterpret_cast<const sockaddr*>(&at),
           static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + length));
}

bool make_folders(const std::string& path) {
  for (std::size_t at = 1; at != std::string::npos;) {
    at = path.find('/', at + 1);
    if (::mkdir(path.substr(0, at).c_str(), 0755) != 0 && errno != EEXIST) return false;
  }
  return true;
}

}  // namespace hpcvmm::daemon
