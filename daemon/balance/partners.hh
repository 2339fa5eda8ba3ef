// Who is at the other end of a process's pipes and sockets, as far as the home can see.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

namespace hpcvmm::daemon {

/// What one process has open, as it has told.
struct Held {
  pid_t pid = 0;
  std::vector<std::uint64_t> ends;  ///< inodes of its pipes and sockets, each once
  unsigned files = 0;               ///< everything else but terminals and /dev
};

/// Two processes and how many pipes or connections join them.
struct Joined {
  pid_t a = 0, b = 0;
  unsigned count = 0;
};

/// An object that more processes hold than that joins nobody: make's job server, a terminal's pipe.
inline constexpr std::size_t kMostHolders = 4;

/// Inodes of connected sockets of this machine that are each other's ends, from the text of /proc/PID/net/tcp
/// or tcp6.  Pure.
std::vector<std::pair<std::uint64_t, std::uint64_t>> connected(std::string_view text);

/// Pairs of processes that hold ends of the same pipe or connection.  Pure.
std::vector<Joined> joined(const std::vector<Held>& all,
                           const std::vector<std::pair<std::uint64_t, std::uint64_t>>& connections);

}  // namespace hpcvmm::daemon
