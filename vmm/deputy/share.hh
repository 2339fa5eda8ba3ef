// Memory that processes share (vmm/share), as far as it needs the deputy.
#pragma once

#include "vmm/deputy/calls.hh"

namespace hpcvmm::deputy {

/// Starts the share server of this user and home as a process of its own, whose parent is not the guest.
/// False: it could not be.  Any guest thread or the mover.
bool start_share_server();

/// The server's process: `argv` as start_share_server() makes it.
[[noreturn]] void serve_share();

/// While it lives, what the call's descriptors are open on is at home with all its pages, if it is memory
/// that is shared.
class FilesAtHome {
 public:
  explicit FilesAtHome(const CallContext& c);
  FilesAtHome(const FilesAtHome&) = delete;
  FilesAtHome& operator=(const FilesAtHome&) = delete;
  ~FilesAtHome();

 private:
  struct File {
    std::uint64_t device = 0, inode = 0;
    bool frozen = false;
  };
  void freeze(int fd, File& f);
  const Task& task_;
  File files_[2];
};

}  // namespace hpcvmm::deputy
