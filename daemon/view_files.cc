#include "daemon/view_files.hh"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "hpcvmm/base/unique_fd.hh"

namespace hpcvmm::daemon {

Status ViewFiles::start(const std::string& folder) {
  folder_ = folder;
  if (::mkdir(folder.c_str(), 0755) != 0 && errno != EEXIST) return Error::last("mkdir");
  // Whatever our umask is: programs of every user read here.
  if (::chmod(folder.c_str(), 0755) != 0) return Error::last("chmod");
  return Unit{};
}

void ViewFiles::make_folders_of(const std::string& path) {
  for (std::size_t at = path.find('/'); at != std::string::npos; at = path.find('/', at + 1)) {
    const std::string one = folder_ + "/" + path.substr(0, at);
    if (::mkdir(one.c_str(), 0755) == 0) ::chmod(one.c_str(), 0755);
  }
}

void ViewFiles::put(const std::string& path, std::string_view text) {
  const auto [found, fresh] = entries_.try_emplace(path);
  Entry& e = found->second;
  e.fresh = true;
  if (!fresh && e.text == text) return;
  if (fresh) make_folders_of(path);
  const UniqueFd fd(
      ::open((folder_ + "/" + path).c_str(), O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0644));
  if (!fd) return;
  if (fresh) ::fchmod(fd.get(), 0644);
  if (::pwrite(fd.get(), text.data(), text.size(), 0) != static_cast<ssize_t>(text.size())) return;
  if (fresh || text.size() < e.text.size())
    static_cast<void>(0 != ::ftruncate(fd.get(), static_cast<off_t>(text.size())));
  e.text = text;
}

void ViewFiles::put_link(const std::string& path, const std::string& to) {
  const auto [found, fresh] = entries_.try_emplace(path);
  Entry& e = found->second;
  e.fresh = e.link = true;
  if (!fresh && e.text == to) return;
  make_folders_of(path);
  ::unlink((folder_ + "/" + path).c_str());
  if (::symlink(to.c_str(), (folder_ + "/" + path).c_str()) == 0) e.text = to;
}

void ViewFiles::sweep(const std::string& top) {
  for (auto e = entries_.begin(); e != entries_.end();) {
    if (!e->first.starts_with(top + "/") || std::exchange(e->second.fresh, false)) {
      ++e;
      continue;
    }
    ::unlink((folder_ + "/" + e->first).c_str());
    // Those above, deepest first; one with something in it stays.
    for (std::size_t at = e->first.rfind('/'); at != std::string::npos && at > 0;
         at = e->first.rfind('/', at - 1))
      if (::rmdir((folder_ + "/" + e->first.substr(0, at)).c_str()) != 0) break;
    e = entries_.erase(e);
  }
}

}  // namespace hpcvmm::daemon
