#include "cli/cluster/tree_mount.hh"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <sstream>

#include "cli/cluster/command.hh"
#include "cli/cluster/nodes.hh"

namespace hpcvmm::cli {

namespace {

constexpr long kFuseMagic = 0x65735546;

std::string mountpoint(const Names& names, unsigned node) { return names.node_dir(node) + "/proc"; }
std::string pid_file(const Names& names, unsigned node) { return names.node_dir(node) + "/procfs.pid"; }

/// Of another device than the folder it is in; a server that has died counts (ENOTCONN).
bool is_mounted(const Names& names, unsigned node) {
  struct statfs s {};
  if (::statfs(mountpoint(names, node).c_str(), &s) != 0) return errno == ENOTCONN;
  return s.f_type == kFuseMagic;
}

int server(const Names& names, unsigned node) {
  std::istringstream words(read_file(pid_file(names, node)));
  int pid = 0;
  std::string started;
  if (!(words >> pid >> started) || pid <= 1) return 0;
  ::waitpid(pid, nullptr, WNOHANG);
  return process_start_time(pid) == started ? pid : 0;
}

std::string start_server(const Names& names, unsigned node, const std::string& executable) {
  std::vector<std::string> words{
      executable, "procfs", "--foreground", "--node", std::to_string(node), mountpoint(names, node)};
  if (!names.name.empty()) words.insert(words.end(), {"--cluster", names.name});
  std::vector<char*> argv;
  for (std::string& w : words) argv.push_back(w.data());
  argv.push_back(nullptr);
  const std::string log = names.node_dir(node) + "/procfs.log";
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  ::posix_spawn_file_actions_addopen(&actions, 1, log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0644);
  ::posix_spawn_file_actions_adddup2(&actions, 1, 2);
  posix_spawnattr_t attributes;
  ::posix_spawnattr_init(&attributes);
  // A session of its own: the terminal's signals are not for it.
  ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSID);
  std::array<char*, 2> env{const_cast<char*>("PATH=/usr/sbin:/usr/bin:/sbin:/bin"), nullptr};
  pid_t pid = 0;
  const int rc = ::posix_spawn(&pid, argv[0], &actions, &attributes, argv.data(), env.data());
  ::posix_spawn_file_actions_destroy(&actions);
  ::posix_spawnattr_destroy(&attributes);
  if (rc != 0) return executable + ": " + std::strerror(rc);
  return write_file(pid_file(names, node), std::to_string(pid) + " " + process_start_time(pid) + "\n");
}

}  // namespace

std::string mount_tree(const Names& names, unsigned node) {
  const std::string executable = own_folder() + "/hpc-vmm-tools";
  if (::access("/dev/fuse", R_OK | W_OK) != 0 || ::access(executable.c_str(), X_OK) != 0) return {};
  const std::string at = mountpoint(names, node);
  if (::mkdir(at.c_str(), 0755) != 0 && errno != EEXIST) return at + ": " + std::strerror(errno);
  if (std::string why = start_server(names, node, executable); !why.empty()) return why;
  for (int i = 0; i < 500; ++i) {
    if (is_mounted(names, node)) return {};
    if (server(names, node) == 0) break;
    ::usleep(10'000);
  }
  return "its server did not mount it: " + read_file(names.node_dir(node) + "/procfs.log");
}

void unmount_tree(const Names& names, unsigned node) {
  // The server first: a mount of somebody else's mount namespace keeps the file system, and the server,
  // alive.
  if (const int pid = server(names, node); pid != 0) ::kill(pid, SIGTERM);
  // Not asked whether it is mounted: a server that is just ending makes every question fail.
  while (::umount2(mountpoint(names, node).c_str(), MNT_DETACH) == 0) continue;
  for (int i = 0; i < 150 && server(names, node) != 0; ++i) ::usleep(10'000);
  if (const int pid = server(names, node); pid != 0) ::kill(pid, SIGKILL);
  ::unlink(pid_file(names, node).c_str());
}

}  // namespace hpcvmm::cli
