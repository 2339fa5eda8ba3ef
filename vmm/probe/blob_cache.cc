#include "vmm/probe/blob_cache.hh"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>

#include "hpcvmm/base/unique_fd.hh"

namespace hpcvmm::probe {
namespace {
constexpr off_t kMostBytes = 65536;
}

std::string load_blob(const std::string& path, const std::string& key) {
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  struct stat s {};
  if (!fd || ::fstat(fd.get(), &s) != 0 || !S_ISREG(s.st_mode) || s.st_uid != ::geteuid() ||
      (s.st_mode & 022) != 0 || s.st_size > kMostBytes)
    return {};
  std::string text(static_cast<std::size_t>(s.st_size), '\0');
  if (::read(fd.get(), text.data(), text.size()) != s.st_size) return {};
  if (text.size() < key.size() + 1 || text.compare(0, key.size(), key) != 0 || text[key.size()] != '\n')
    return {};
  return text.substr(key.size() + 1);
}

void store_blob(const std::string& path, const std::string& key, const std::string& bytes) {
  const std::string fresh = path + "." + std::to_string(::getpid());
  {
    const UniqueFd fd(::open(fresh.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (!fd) return;
    const std::string text = key + "\n" + bytes;
    if (::write(fd.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size())) {
      ::unlink(fresh.c_str());
      return;
    }
  }
  if (::rename(fresh.c_str(), path.c_str()) != 0) ::unlink(fresh.c_str());
}

}  // namespace hpcvmm::probe
