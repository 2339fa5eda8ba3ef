#include "cli/shell.hh"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>

#include "hpcvmm/base/unique_fd.hh"

namespace hpcvmm::cli {
namespace {

/// The last field of the user's line.  Not getpwuid(3): that loads modules, which a static executable cannot.
std::string shell_of_user(unsigned uid) {
  std::ifstream passwd("/etc/passwd");
  const std::string wanted = std::to_string(uid);
  for (std::string line; std::getline(passwd, line);) {
    const std::size_t name = line.find(':');
    const std::size_t password = name == std::string::npos ? name : line.find(':', name + 1);
    if (password == std::string::npos || line.compare(password + 1, wanted.size() + 1, wanted + ":") != 0)
      continue;
    return line.substr(line.rfind(':') + 1);
  }
  return {};
}

}  // namespace

ShellProgram shell_program(const std::vector<std::string>& env, const std::string& command,
                           bool has_command) {
  ShellProgram s;
  for (const std::string& e : env)
    if (e.starts_with("SHELL=/")) s.path = e.substr(6);
  if (s.path.empty()) s.path = shell_of_user(::getuid());
  if (s.path.empty() || s.path[0] != '/') s.path = "/bin/sh";
  const std::string name = s.path.substr(s.path.rfind('/') + 1);
  if (has_command)
    s.argv = {name, "-c", command};
  else
    s.argv = {"-" + name};
  return s;
}

void set_for_cluster(std::vector<std::string>& env) {
  // Sockets instead of /dev/shm, and no files that several processes write through memory.
  for (const std::string setting : {"OMPI_MCA_btl=self,tcp", "PMIX_MCA_gds=hash"}) {
    const std::string name = setting.substr(0, setting.find('=') + 1);
    const auto set = [&name](const std::string& e) { return e.starts_with(name); };
    if (std::none_of(env.begin(), env.end(), set)) env.push_back(setting);
  }
}

std::string no_cluster(const std::string& socket) {
  sockaddr_un to{};
  to.sun_family = AF_UNIX;
  socket.copy(to.sun_path, sizeof to.sun_path - 1);
  const UniqueFd fd(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  if (fd && ::connect(fd.get(), reinterpret_cast<const sockaddr*>(&to), sizeof to) == 0) return {};
  return "no cluster is up here (" + socket + ": " + std::strerror(errno) +
         "); remedy: hpc-vmm up, or --view host for a shell that sees this machine only";
}

}  // namespace hpcvmm::cli
