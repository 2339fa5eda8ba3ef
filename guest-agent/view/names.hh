// Which names of /proc and /sys mean the cluster.  Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace hpcvmm::view {

enum class Means : std::uint8_t {
  Host,    ///< what the host says
  File,    ///< `path` below run_dir/view
  Uptime,  ///< /proc/uptime: the home's time, the cluster's idleness
  Where,   ///< the node's number that the process of `pid` runs on
};

struct Name {
  Means means = Means::Host;
  std::string path;         ///< for stat(2) also of Where
  std::int64_t pid = 0;     ///< Where: 0: the caller
  bool reads_only = false;  ///< who opens it for writing means the host's
};

/// Cheap: can a path that begins so mean anything to parse_name()?  Takes relative ones as well: they may
/// begin in "/", "/proc" or anywhere above /sys/devices/system/cpu.
bool may_mean_cluster(std::string_view path);
/// Reads an absolute path.  ".." is followed by name, which is right where no link leads away: below
/// /sys/devices/system; a path in /proc with ".." is the host's.
Name parse_name(std::string_view path);

}  // namespace hpcvmm::view
