// Files of the program's world, read for gdb (vFile packets): libraries, /proc/PID/maps.
#pragma once

#include <array>
#include <cstdint>
#include <string>

namespace hpcvmm::gdb {

/// Read-only.  Results are those of the calls, or a negative errno in the protocol's numbers.
/// Threads: the server's only.
class Files {
 public:
  /// `hide`: puts a descriptor out of the guest's reach and returns its new number; nullptr: it stays where
  /// it is.
  explicit Files(int (*hide)(int)) : hide_(hide) { fds_.fill(-1); }
  Files(const Files&) = delete;
  Files& operator=(const Files&) = delete;
  ~Files() { close_all(); }

  std::int64_t open(const std::string& path, std::uint64_t flags);
  std::int64_t close(std::uint64_t handle);
  std::int64_t pread(std::uint64_t handle, std::uint64_t bytes, std::uint64_t offset, std::string& out);
  /// Appends the protocol's struct stat: big-endian, 64 bytes.
  std::int64_t fstat(std::uint64_t handle, std::string& out);
  static std::int64_t readlink(const std::string& path, std::string& out);
  void close_all();

 private:
  [[nodiscard]] int find(std::uint64_t handle) const;
  int (*hide_)(int);
  // Handles, not descriptors, go over the wire; one that the guest's dup2 moves is lost, and answers EBADF.
  std::array<int, 64> fds_{};
};

}  // namespace hpcvmm::gdb
