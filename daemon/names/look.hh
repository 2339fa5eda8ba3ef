// Looking names up in the home's file system, and turning them into facts.
//
// Done with the rights of the user whose processes will be told.  Facts carry owners and modes, and a remote
// uses one only where these let its process in; who is kept out is told so by home.  Only local file systems
// whose changes the kernel tells (inotify(7)) are looked at.
#pragma once

#include <cstdint>
#include <functional>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "daemon/names/facts.hh"
#include "hpcvmm/base/unique_fd.hh"

namespace hpcvmm::daemon::names {

struct IdHash {
  std::size_t operator()(const Id& id) const { return static_cast<std::size_t>(id.inode * 31 + id.device); }
};

/// One fact found, and what it rests on.
struct Learnt {
  Fact fact = Fact::Entry;
  Id id;           ///< the folder, or the node
  Bytes bytes;     ///< as in a batch
  int watch = -1;  ///< it holds as long as nothing has been told for this; -1: it rests on nothing
  std::uint64_t version = 0;
  std::string path;  ///< of a folder
  UniqueFd file;     ///< of a node with content: the file, open
};

/// Threads: one, which is not the one that reads the inotify descriptor.
class Look {
 public:
  /// Adds a watch for the inode of that descriptor (O_PATH) and says what version its facts have; -1: it
  /// cannot be watched.  Called before anything about the inode is read.
  using Watch = std::function<int(int fd, const Id& id, bool folder, std::uint64_t& version)>;

  explicit Look(Watch watch) : watch_(std::move(watch)) {}

  /// Facts along an absolute path, in the order in which they are to be told: folders before their entries.
  /// `user`: whose rights count (setfsuid(2)).
  void walk(std::uint32_t user, const std::string& path, std::vector<Learnt>& out);

  /// Whether somebody has the file open for writing, or that cannot be known.  `fd`: open for reading only.
  static bool has_writer(int fd);

 private:
  struct Folder {
    Id id;
    int watch = -1;
    std::uint64_t version = 0;
  };
  bool folder(int fd, Folder& out, std::vector<Learnt>& facts);
  void list(int fd, const struct stat& s, const Id& parent, Learnt& out);
  static bool is_usable(int fd);
  void node(int fd, const struct stat& s, std::vector<Learnt>& facts);
  void read_mounts();

  Watch watch_;
  std::set<std::string> mounts_;  // mount points
  bool along(const std::string& path, std::vector<Learnt>& out);
};

}  // namespace hpcvmm::daemon::names
