// Shared by the tests of this folder: files, temporary folders, and the host kernel's own answer to
// execve(2).
#pragma once

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

namespace hpcvmm::load::testing {

inline std::string guest(std::string_view name) { return std::string(HPCVMM_LOAD_GUESTS "/").append(name); }

inline std::vector<std::byte> read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(in), {}};
  std::vector<std::byte> bytes(text.size());
  if (!text.empty()) std::memcpy(bytes.data(), text.data(), text.size());
  return bytes;
}

/// A folder of its own under /tmp, removed with what is in it.
class TempDir {
 public:
  TempDir() {
    char name[] = "/tmp/hpcvmm-load-XXXXXX";
    path_ = ::mkdtemp(name);
  }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  ~TempDir() {
    for (auto it = files_.rbegin(); it != files_.rend(); ++it) {
      if (::unlink(it->c_str()) != 0) ::rmdir(it->c_str());
    }
    ::rmdir(path_.c_str());
  }
  [[nodiscard]] const std::string& path() const { return path_; }
  /// The path of `name`, which is removed at the end if it exists then.
  std::string add(const std::string& name) { return files_.emplace_back(path_ + "/" + name); }
  std::string write(const std::string& name, const void* data, std::size_t bytes, mode_t mode = 0755) {
    std::string path = add(name);
    // One write(2) by a descriptor that is closed before anyone forks: else execve would see ETXTBSY.
    const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0700);
    if (::write(fd, data, bytes) != static_cast<ssize_t>(bytes)) std::abort();
    ::close(fd);
    ::chmod(path.c_str(), mode);
    return path;
  }
  std::string write(const std::string& name, std::string_view text, mode_t mode = 0755) {
    return write(name, text.data(), text.size(), mode);
  }
  std::string write(const std::string& name, const std::vector<std::byte>& bytes, mode_t mode = 0755) {
    return write(name, bytes.data(), bytes.size(), mode);
  }

 private:
  std::string path_;
  std::vector<std::string> files_;
};

struct Outcome {
  int error = 0;   // what execve(2) returned, 0 if it did not return
  int status = 0;  // wait status of the new image
  std::string output;

  [[nodiscard]] bool exited(int code) const { return WIFEXITED(status) && WEXITSTATUS(status) == code; }
};

/// Forks, runs `child(error_fd)` there with stdout captured, and collects what came of it.  `child` writes an
/// int to `error_fd` (close-on-exec) if it fails.
template <class Child> Outcome run_child(Child child) {
  Outcome out;
  int error_pipe[2];
  int text_pipe[2];
  if (::pipe2(error_pipe, O_CLOEXEC) != 0 || ::pipe2(text_pipe, O_CLOEXEC) != 0) std::abort();
  const pid_t pid = ::fork();
  if (pid == 0) {
    ::dup2(text_pipe[1], 1);
    ::dup2(::open("/dev/null", O_WRONLY | O_CLOEXEC), 2);  // a mutated program may complain
    const rlimit no_core{0, 0};
    ::setrlimit(RLIMIT_CORE, &no_core);
    ::alarm(10);  // survives exec: a mutated program may loop
    child(error_pipe[1]);
    ::_exit(127);
  }
  ::close(error_pipe[1]);
  ::close(text_pipe[1]);
  char buffer[4096];
  for (ssize_t n = 0; (n = ::read(text_pipe[0], buffer, sizeof buffer)) > 0;) {
    out.output.append(buffer, static_cast<std::size_t>(n));
  }
  if (::read(error_pipe[0], &out.error, sizeof out.error) != sizeof out.error) out.error = 0;
  ::close(error_pipe[0]);
  ::close(text_pipe[0]);
  ::waitpid(pid, &out.status, 0);
  return out;
}

inline void report(int error_fd, int error) {
  if (::write(error_fd, &error, sizeof error) != sizeof error) std::abort();
}

inline std::vector<char*> pointers(const std::vector<std::string>& strings) {
  std::vector<char*> out;
  for (const std::string& s : strings) out.push_back(const_cast<char*>(s.c_str()));
  out.push_back(nullptr);
  return out;
}

/// The real execve(2) of the host.
inline Outcome native_exec(const std::string& path, const std::vector<std::string>& argv,
                           const std::vector<std::string>& envp = {}) {
  return run_child([&](int error_fd) {
    ::execve(path.c_str(), pointers(argv).data(), pointers(envp).data());
    report(error_fd, errno);
  });
}

}  // namespace hpcvmm::load::testing
