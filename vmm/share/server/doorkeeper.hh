// Files whose opening waits until it is allowed: a process that is no sharer must not see holes.
#pragma once

#include <cstdint>

#include "hpcvmm/base/unique_fd.hh"

namespace hpcvmm::share {

/// Threads: one.  Needs CAP_SYS_ADMIN.  Source: fanotify(7), FAN_OPEN_PERM.
class Doorkeeper {
 public:
  Doorkeeper();
  [[nodiscard]] bool works() const { return static_cast<bool>(fd_); }
  [[nodiscard]] int fd() const { return fd_.get(); }
  /// From now on whoever opens the file that `fd` is open on waits.  False: it cannot be done.
  bool guard(int fd);
  void leave(int fd);

  struct Visitor {
    std::int32_t pid = 0;
    UniqueFd file;  ///< what it opens; names the visit in let_in()
  };
  /// The next who waits; false: nobody.
  bool next(Visitor& out);
  void let_in(const Visitor& v);

 private:
  UniqueFd fd_;
};

}  // namespace hpcvmm::share
