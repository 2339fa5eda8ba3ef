#include "cli/cluster/command.hh"

#include <fcntl.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>

#include "hpcvmm/base/unique_fd.hh"

namespace hpcvmm::cli {

namespace {

std::string find_system_program(const std::string& name) {
  for (const char* folder : {"/usr/sbin/", "/sbin/", "/usr/bin/", "/bin/"})
    if (::access((folder + name).c_str(), X_OK) == 0) return folder + name;
  return {};
}

std::string content(int fd) {
  std::string text;
  std::array<char, 4096> buffer{};
  ::lseek(fd, 0, SEEK_SET);
  for (ssize_t n = 0; (n = ::read(fd, buffer.data(), buffer.size())) > 0;)
    text.append(buffer.data(), static_cast<std::size_t>(n));
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

}  // namespace

std::string run_command(const std::vector<std::string>& arguments, const std::string& input) {
  const std::string& name = arguments.at(0);
  const std::string path = find_system_program(name);
  if (path.empty()) return name + " is not installed; remedy: apt-get install iproute2";
  // Files in memory, not pipes: nothing can block, whatever the program reads and writes first.
  const UniqueFd in(::memfd_create("stdin", MFD_CLOEXEC));
  const UniqueFd err(::memfd_create("stderr", MFD_CLOEXEC));
  if (!in || !err) return std::string("memfd_create: ") + std::strerror(errno);
  if (::write(in.get(), input.data(), input.size()) != static_cast<ssize_t>(input.size()))
    return "memfd: write";
  ::lseek(in.get(), 0, SEEK_SET);
  std::vector<char*> argv;
  for (const std::string& a : arguments) argv.push_back(const_cast<char*>(a.c_str()));
  argv.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_adddup2(&actions, in.get(), 0);
  ::posix_spawn_file_actions_adddup2(&actions, err.get(), 1);
  ::posix_spawn_file_actions_adddup2(&actions, err.get(), 2);
  std::array<char*, 2> env{const_cast<char*>("LC_ALL=C"), nullptr};
  pid_t pid = 0;
  const int rc = ::posix_spawn(&pid, path.c_str(), &actions, nullptr, argv.data(), env.data());
  ::posix_spawn_file_actions_destroy(&actions);
  if (rc != 0) return path + ": " + std::strerror(rc);
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) continue;
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return {};
  const std::string said = content(err.get());
  return name + ": " + (said.empty() ? "failed" : said);
}

std::string write_file(const std::string& path, const std::string& text, unsigned mode) {
  const UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, mode));
  if (!fd || ::write(fd.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size()))
    return path + ": " + std::strerror(errno);
  return {};
}

std::string read_file(const std::string& path) {
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  return fd ? content(fd.get()) : std::string();
}

void remove_tree(const std::string& path) {
  std::error_code ignored;
  std::filesystem::remove_all(path, ignored);
}

}  // namespace hpcvmm::cli
