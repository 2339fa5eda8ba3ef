// The tree of openMosix's /proc/hpc and /proc/PID as files with text: what a path holds, out of hpcd's
// answers, and what writing to it asks of hpcd.  Knows neither FUSE nor sockets.
#pragma once

#include <functional>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

namespace hpcvmm::hpctree {

/// Who reads or writes, as the kernel says.
struct Caller {
  unsigned uid = 0;
  int pid = 0;  ///< of the process, not of its thread
};

/// Asks hpcd; always an object with "ok".  `wait` false: the answer does not matter, and an empty object
/// comes at once.
using Ask = std::function<nlohmann::json(const nlohmann::json& request, bool wait)>;

struct Entry {
  enum class Kind : std::uint8_t { None, Folder, File };
  Kind kind = Kind::None;
  unsigned mode = 0;   ///< permission bits
  unsigned owner = 0;  ///< uid
};

/// Threads: any number at once.
class Tree {
 public:
  struct Setting {
    std::string version;
    std::function<double()> yardstick;  ///< speed whose work is load 1; none: the reference CPU's
  };
  struct Place;  ///< place.hh

  Tree(Ask ask, Setting setting) : ask_(std::move(ask)), setting_(std::move(setting)) {}

  Entry look(const std::string& path);
  /// Names in a folder.  Returns 0 or an errno value.
  int list(const std::string& path, std::vector<std::string>& names);
  /// Returns 0 or an errno value.
  int read(const std::string& path, const Caller& caller, std::string& text);
  /// `text`: all that was written at once.  Returns 0 or an errno value: EPERM and EACCES: not the caller's;
  /// EINVAL: no such value; what hpcd refuses with.
  int write(const std::string& path, const std::string& text, const Caller& caller);

 private:
  using json = nlohmann::json;

  static Place parse(const std::string& path);
  bool find_process(int pid, json& out);
  bool find_node(unsigned id, json& out, unsigned& self);
  std::string admin_text(const std::string& name, int& error);
  std::string node_text(const std::string& name, const json& node);
  std::string process_text(const std::string& name, const json& process);
  std::string remote_text(const std::string& name, int& error);
  std::string decay_text(const std::string& name, const Caller& caller, int& error);
  std::string info_text(int& error);
  int write_admin(const std::string& name, const std::string& value, const Caller& caller);
  int write_decay(const std::string& name, const std::string& value, const Caller& caller);
  int write_process(const std::string& name, const std::string& value, const json& process,
                    const Caller& caller);
  int write_mask(const std::string& name, const std::string& value, const json& process,
                 const Caller& caller);
  int request(json r, const Caller& caller, bool wait = true);
  /// The mask of a process, as openMosix's three files: policy and nodes stay while the filter is off, which
  /// hpcd does not keep.
  struct Mask {
    bool filter = false, allow = false;
    std::vector<unsigned> nodes;
  };
  Mask mask_of(const json& process);

  Ask ask_;
  Setting setting_;
  std::mutex lock_;
  std::map<std::pair<unsigned, int>, Mask> masks_;  ///< of processes whose filter is off
};

/// A node's set as openMosix's bits (bit N-1 is node N), or "1,3-5".  False: neither.
bool read_node_bits(const std::string& value, std::vector<unsigned>& nodes);
std::string node_bits(const nlohmann::json& nodes);
/// "EPERM" as its number; EIO: unknown.
int errno_of(const std::string& name);

}  // namespace hpcvmm::hpctree
