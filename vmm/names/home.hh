// The deputy's part: how new a remote's knowledge has to be, under which conditions it may be used, and
// opening what a remote has opened.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "vmm/names/messages.hh"

namespace hpcvmm::names {

/// Threads: any, but for take() and close().
class Home {
 public:
  struct Hooks {
    int (*hide_fd)(int fd, int* owner) = nullptr;
    void (*close_fd)(int fd) = nullptr;
    int (*cluster_fd)() = nullptr;  ///< hpcd's socket, open with O_PATH
    /// open(2) as an IA32 program's, without O_LARGEFILE; the kernel's result.
    std::int64_t (*open_small)(const char* path, int flags) = nullptr;
  };

  /// hpcd's page and bell (wire::local::NamesHome).  Takes the descriptors.
  void take(int page, int bell, const Hooks& hooks);
  void close();
  /// From now on nothing may be looked up elsewhere (another root, another user).
  void forbid() { usable_ = false; }

  /// What a remote's store must have reached before the process may go by it again: everything that has
  /// happened up to now, whoever did it.  0: it may not be used.
  [[nodiscard]] std::uint64_t epoch() const;
  /// On the guest's thread, whose rights count.
  void describe(Circumstances& out, bool descriptors) const;
  /// Whether what the call did may have changed what describe() says; forbids what cannot be described.
  bool changes(std::uint64_t call);
  /// Opens at home what a remote has opened: the same inode, whatever has become of its name.  Returns
  /// nullptr, or why that cannot be done.
  const char* reopen(const Reopen& r, const char* path) const;

 private:
  [[nodiscard]] int hold_of(const wire::names::Id& id) const;

  Hooks hooks_;
  const wire::names::HomePage* page_ = nullptr;
  int bell_ = -1;
  std::atomic<bool> usable_{false};
};

}  // namespace hpcvmm::names
