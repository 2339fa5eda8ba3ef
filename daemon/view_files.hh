// Files that are renewed again and again: run_dir/view, which deputies hand to their programs.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "hpcvmm/base/result.hh"

namespace hpcvmm::daemon {

/// Whoever has one open sees the new text at his next read: monitors keep /proc/stat open.  Threads: one.
class ViewFiles {
 public:
  /// Folders above must exist.  Errors: those of mkdir(2).
  Status start(const std::string& folder);
  /// Writes `text` to a file below the folder, unless it says so already.
  void put(const std::string& path, std::string_view text);
  void put_link(const std::string& path, const std::string& to);
  /// Removes what lies below `top` ("sys") and has not been put since the last sweep of it.
  void sweep(const std::string& top);

 private:
  struct Entry {
    std::string text;
    bool link = false, fresh = false;
  };
  void make_folders_of(const std::string& path);

  std::string folder_;
  std::map<std::string, Entry> entries_;
};

}  // namespace hpcvmm::daemon
