// Poller: callbacks on readable descriptors (epoll).
//
// It sits beside net::Waiter: that one knows the driver's descriptors and how to spin; this one holds
// everything else that hpcd listens to (VMM processes, the API, signals) behind one descriptor that the
// Waiter watches.
#pragma once

#include <cstdint>
#include <functional>
#include <unordered_map>

#include "hpcvmm/base/result.hh"
#include "hpcvmm/base/unique_fd.hh"

namespace hpcvmm::daemon {

/// Threads: one.
class Poller {
 public:
  /// Names a watched descriptor; never used again after remove(), so a late event finds nobody.
  using Id = std::uint64_t;
  using Callback = std::function<void(std::uint32_t events)>;

  /// Errors: those of epoll_create1(2).
  static Result<Poller> create();

  /// Calls `callback` when `events` (EPOLLIN...) or a hang-up is there.  The descriptor stays the caller's
  /// and must be removed before it is closed.  Errors: those of epoll_ctl(2).
  Result<Id> add(int fd, std::uint32_t events, Callback callback);
  /// Errors: those of epoll_ctl(2); ENOENT: no such id.
  Status change(Id id, std::uint32_t events);
  /// Safe inside any callback, also the id's own.  0 and unknown ids: nothing.
  void remove(Id id);

  /// Calls what is ready, once.  Returns how many.  Units: milliseconds; 0: does not wait, -1: for ever.
  int run(int timeout_ms);
  /// Readable when run(0) would find something.
  [[nodiscard]] int fd() const { return epoll_.get(); }

 private:
  struct Entry {
    int fd;
    Callback callback;
  };
  explicit Poller(UniqueFd epoll) : epoll_(std::move(epoll)) {}

  UniqueFd epoll_;
  std::unordered_map<Id, Entry> entries_;
  Id next_ = 1;
};

}  // namespace hpcvmm::daemon
