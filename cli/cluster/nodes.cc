#include "cli/cluster/nodes.hh"

#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <sstream>
#include <vector>

#include "cli/cluster/command.hh"
#include "hpcvmm/base/unique_fd.hh"

namespace hpcvmm::cli {

namespace {

constexpr const char* kSpaces = "/run/netns/";

/// What the children we have started left behind, if they have ended.
void reap(int pid) { ::waitpid(pid, nullptr, WNOHANG); }

std::vector<std::string> spaces_of(const Names& names) {
  std::vector<std::string> out;
  DIR* const dir = ::opendir(kSpaces);
  if (dir == nullptr) return out;
  while (const dirent* const entry = ::readdir(dir)) {  // NOLINT(concurrency-mt-unsafe): a DIR of our own
    const std::string name = entry->d_name;
    if (!name.starts_with(names.prefix())) continue;
    const std::string rest = name.substr(names.prefix().size());
    // hpcvmm-1, hpcvmm-sw; not hpcvmm-NAME-1 of another cluster.
    if (rest == "sw" || rest.find_first_not_of("0123456789") == std::string::npos) out.push_back(name);
  }
  ::closedir(dir);
  return out;
}

std::string spawn_in_space(const std::string& space, const std::vector<std::string>& arguments, int log,
                           int& pid) {
  const UniqueFd own(::open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC));
  const UniqueFd there(::open((kSpaces + space).c_str(), O_RDONLY | O_CLOEXEC));
  if (!own || !there) return "network namespace " + space + ": " + std::strerror(errno);
  std::vector<char*> argv;
  for (const std::string& a : arguments) argv.push_back(const_cast<char*>(a.c_str()));
  argv.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  ::posix_spawn_file_actions_adddup2(&actions, log, 1);
  ::posix_spawn_file_actions_adddup2(&actions, log, 2);
  posix_spawnattr_t attributes;
  ::posix_spawnattr_init(&attributes);
  // A session of its own: the terminal's signals are not for it.
  ::posix_spawnattr_setflags(&attributes,
                             POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  sigset_t signals;
  sigemptyset(&signals);
  ::posix_spawnattr_setsigmask(&attributes, &signals);
  sigfillset(&signals);
  ::posix_spawnattr_setsigdefault(&attributes, &signals);
  std::array<char*, 2> env{
      const_cast<char*>("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"), nullptr};
  if (::setns(there.get(), CLONE_NEWNET) != 0)
    return "enter network namespace " + space + ": " + std::strerror(errno);
  const int rc = ::posix_spawn(&pid, argv[0], &actions, &attributes, argv.data(), env.data());
  ::setns(own.get(), CLONE_NEWNET);
  ::posix_spawn_file_actions_destroy(&actions);
  ::posix_spawnattr_destroy(&attributes);
  return rc == 0 ? "" : arguments[0] + ": " + std::strerror(rc);
}

}  // namespace

std::string process_start_time(int pid) {
  const std::string text = read_file("/proc/" + std::to_string(pid) + "/stat");
  const std::size_t bracket = text.rfind(')');
  if (bracket == std::string::npos || text.size() < bracket + 3 || text[bracket + 2] == 'Z') return {};
  std::istringstream words(text.substr(bracket + 2));
  std::string word;
  for (int field = 3; field <= 22 && words >> word; ++field) continue;
  return word;
}

std::string own_folder() {
  std::array<char, 4096> exe{};
  const ssize_t n = ::readlink("/proc/self/exe", exe.data(), exe.size() - 1);
  const std::string path(exe.data(), n > 0 ? static_cast<std::size_t>(n) : 0);
  return path.substr(0, path.rfind('/'));
}

std::string start_node(const Names& names, unsigned node, const std::string& executable) {
  const std::string dir = names.node_dir(node);
  const UniqueFd log(::open((dir + "/hpcd.log").c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644));
  if (!log) return dir + "/hpcd.log: " + std::strerror(errno);
  int pid = 0;
  if (const std::string why =
          spawn_in_space(names.space(node), {executable, "--config", dir + "/hpcd.toml"}, log.get(), pid);
      !why.empty())
    return why;
  const std::string why =
      write_file(dir + "/hpcd.pid", std::to_string(pid) + " " + process_start_time(pid) + "\n");
  if (!why.empty()) ::kill(pid, SIGKILL);
  return why;
}

int running_node(const Names& names, unsigned node) {
  std::istringstream words(read_file(names.node_dir(node) + "/hpcd.pid"));
  int pid = 0;
  std::string started;
  if (!(words >> pid >> started) || pid <= 1) return 0;
  reap(pid);
  return process_start_time(pid) == started ? pid : 0;
}

bool end_node(const Names& names, unsigned node, unsigned seconds) {
  int pid = running_node(names, node);
  if (pid == 0) return true;
  ::kill(pid, SIGTERM);
  for (unsigned i = 0; i < seconds * 50 && (pid = running_node(names, node)) != 0; ++i) ::usleep(20'000);
  if (pid == 0) return true;
  ::kill(pid, SIGKILL);
  for (int i = 0; i < 250 && running_node(names, node) != 0; ++i) ::usleep(20'000);
  return false;
}

std::string log_tail(const Names& names, unsigned node) {
  std::istringstream lines(read_file(names.node_dir(node) + "/hpcd.log"));
  std::vector<std::string> last;
  for (std::string line; std::getline(lines, line);) {
    last.push_back("    " + line + "\n");
    if (last.size() > 5) last.erase(last.begin());
  }
  std::string text;
  for (const std::string& line : last) text += line;
  return text;
}

std::string make_network(const Names& names, unsigned nodes) {
  // Both ends of every veth are made where they belong: nothing ever shows in the machine's own namespace.
  const std::string sw = names.switch_space();
  std::string all = "netns add " + sw + "\n";
  std::string bridge = "link set lo up\nlink add br0 mtu 9000 type bridge stp_state 0\nlink set br0 up\n";
  for (unsigned n = 1; n <= nodes; ++n) {
    const std::string port = "port" + std::to_string(n);
    all += "netns add " + names.space(n) + "\n";
    all += "link add eth0 mtu 9000 netns " + names.space(n) + " type veth peer name " + port +
           " mtu 9000 netns " + sw + "\n";
    bridge += "link set " + port + " master br0 up\n";
  }
  if (std::string why = run_command({"ip", "-batch", "-"}, all); !why.empty()) return why;
  if (std::string why = run_command({"ip", "-n", sw, "-batch", "-"}, bridge); !why.empty()) return why;
  for (unsigned n = 1; n <= nodes; ++n) {
    const std::string own = "link set lo up\naddress add " + Names::address(n) +
                            "/24 dev eth0\naddress add " + Names::address6(n) +
                            "/64 dev eth0 nodad\nlink set eth0 up\n";
    if (std::string why = run_command({"ip", "-n", names.space(n), "-batch", "-"}, own); !why.empty())
      return why;
  }
  return {};
}

void remove_network(const Names& names) {
  for (const std::string& space : spaces_of(names)) run_command({"ip", "netns", "delete", space});
}

bool network_exists(const Names& names) { return !spaces_of(names).empty(); }

}  // namespace hpcvmm::cli
