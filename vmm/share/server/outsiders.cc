#include "vmm/share/server/outsiders.hh"

#include <dirent.h>
#include <fcntl.h>
#include <linux/kcmp.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "hpcvmm/base/unique_fd.hh"

namespace hpcvmm::share {
namespace {

std::string read_all(const std::string& path) {
  std::string text;
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  std::array<char, 16384> piece{};
  for (ssize_t n = 0; fd && (n = ::read(fd.get(), piece.data(), piece.size())) > 0;)
    text.append(piece.data(), static_cast<std::size_t>(n));
  return text;
}

/// Source: proc_pid_maps(5): " MAJOR:MINOR INODE ", hexadecimal and decimal.
bool maps(std::int32_t pid, const std::string& mark) {
  const std::string text = read_all("/proc/" + std::to_string(pid) + "/maps");
  for (std::size_t at = text.find(mark); at != std::string::npos; at = text.find(mark, at + 1)) {
    const char behind = at + mark.size() < text.size() ? text[at + mark.size()] : '\n';
    if (behind == ' ' || behind == '\n') return true;
  }
  return false;
}

/// It is this executable.
bool runs_here(std::int32_t pid) {
  struct stat own {};
  struct stat other {};
  return ::stat("/proc/self/exe", &own) == 0 &&
         ::stat(("/proc/" + std::to_string(pid) + "/exe").c_str(), &other) == 0 &&
         own.st_dev == other.st_dev && own.st_ino == other.st_ino;
}

bool has_open(std::int32_t pid, std::uint64_t device, std::uint64_t inode) {
  const std::string folder = "/proc/" + std::to_string(pid) + "/fd/";
  DIR* const dir = ::opendir(folder.c_str());
  if (dir == nullptr) return false;
  bool found = false;
  while (const dirent* const e = found ? nullptr : ::readdir(dir)) {
    struct stat s {};
    found = ::stat((folder + e->d_name).c_str(), &s) == 0 && s.st_ino == inode && s.st_dev == device;
  }
  ::closedir(dir);
  return found;
}

std::string mark_of(std::uint64_t device, std::uint64_t inode) {
  std::array<char, 64> mark{};
  std::snprintf(mark.data(), mark.size(), " %02x:%02x %llu", gnu_dev_major(device), gnu_dev_minor(device),
                static_cast<unsigned long long>(inode));
  return mark.data();
}

bool same_memory(std::int32_t a, std::int32_t b) { return ::syscall(SYS_kcmp, a, b, KCMP_VM, 0, 0) == 0; }

}  // namespace

bool has_file(std::int32_t pid, std::uint64_t device, std::uint64_t inode) {
  return maps(pid, mark_of(device, inode)) || has_open(pid, device, inode);
}

Outsider find_outsider(std::uint64_t device, std::uint64_t inode, const std::vector<std::int32_t>& ours) {
  const std::string mark = mark_of(device, inode);
  DIR* const dir = ::opendir("/proc");
  if (dir == nullptr) return {"others, perhaps: /proc cannot be read", false};
  Outsider found;
  while (const dirent* const e = ::readdir(dir)) {
    char* end = nullptr;
    const auto pid = static_cast<std::int32_t>(std::strtol(e->d_name, &end, 10));
    if (pid <= 0 || *end != 0 || std::find(ours.begin(), ours.end(), pid) != ours.end()) continue;
    if (pid == ::getpid() || !(maps(pid, mark) || has_open(pid, device, inode))) continue;
    if (std::any_of(ours.begin(), ours.end(), [&](std::int32_t own) { return same_memory(pid, own); }))
      continue;
    std::string name = read_all("/proc/" + std::to_string(pid) + "/comm");
    if (!name.empty() && name.back() == '\n') name.pop_back();
    found = {name + " (pid " + std::to_string(pid) + ")", runs_here(pid)};
    break;
  }
  ::closedir(dir);
  return found;
}

}  // namespace hpcvmm::share
