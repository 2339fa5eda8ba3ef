// A deputy's or remote's end of the conversation with the share server of its node.
#pragma once

#include <sys/un.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>

#include "hpcvmm/base/result.hh"
#include "vmm/mem/lock.hh"
#include "vmm/share/wire.hh"

namespace hpcvmm::share {

/// An abstract Unix address.  Source: unix(7).
socklen_t abstract_address(sockaddr_un& out, const char* name);
/// What the server of the home whose hpcd listens at `cluster` is called, for this user.
bool server_name(int cluster, char* out, std::size_t room);

/// What a client needs of its process.
struct Hooks {
  int (*hide_fd)(int fd, int* owner);
  void (*close_fd)(int fd);
};

/// Threads: any; requests are made one at a time.
class Client {
 public:
  Client() = default;
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;
  ~Client() = default;

  /// A shared mapping, or a piece of one.
  struct Range {
    std::uint64_t end = 0;
    std::uint64_t offset = 0;  ///< of its first page in the object
    std::uint32_t object = 0;
    std::string why;  ///< why its pages cannot be elsewhere; empty: they can
  };

  /// Connects to `name` and hands over `uffd`, a userfaultfd of this process.  Errors: of connect(2).
  Status connect(const Hooks& hooks, const char* name, int uffd);
  [[nodiscard]] bool connected() const { return socket_ >= 0; }
  [[nodiscard]] int socket() const { return socket_; }
  /// In the child of fork: the connection is the parent's.
  void abandon(Client& parent);

  /// Makes a request; `fd` is sent along unless -1, what comes with the answer goes to `back`.  False: the
  /// server has ended.
  bool request(const Request& r, int fd, Reply& out, int* back = nullptr);

  // Home.
  /// [begin, end) maps the file that `fd` (-1: it cannot be opened) is open on.
  void add(std::uint64_t begin, std::uint64_t end, std::uint64_t offset, int fd, const char* why_no_fd);
  void remove(std::uint64_t begin, std::uint64_t end);
  /// Calls each(begin, end, range) for the known pieces of [begin, end), and with nullptr for the others.
  template <class F> void pieces(std::uint64_t begin, std::uint64_t end, F each) const {
    auto it = ranges_.upper_bound(begin);
    if (it != ranges_.begin()) --it;
    for (; begin < end && it != ranges_.end() && it->first < end; ++it) {
      if (it->second.end <= begin) continue;
      if (begin < it->first) each(begin, it->first, static_cast<const Range*>(nullptr));
      if (begin < it->first) begin = it->first;
      Range r = it->second;
      r.offset += begin - it->first;
      const std::uint64_t to = r.end < end ? r.end : end;
      each(begin, to, static_cast<const Range*>(&r));
      begin = to;
    }
    if (begin < end) each(begin, end, static_cast<const Range*>(nullptr));
  }
  /// Rings `bell`, an eventfd, when must_come_home() may have changed.
  void give_bell(int bell);
  [[nodiscard]] bool must_come_home() const {
    return table_ != nullptr && table_->slots[slot_].come_home != 0;
  }
  /// Pages that have come or gone, so far, for what it shares while it was away.
  [[nodiscard]] std::uint64_t transfers() const {
    return table_ != nullptr ? table_->slots[slot_].transfers.load() : 0;
  }
  [[nodiscard]] bool empty() const { return ranges_.empty(); }
  /// True if the file may have pages elsewhere.  One load when no file has.
  [[nodiscard]] bool may_be_elsewhere(std::uint64_t device, std::uint64_t inode) const;
  [[nodiscard]] bool any_elsewhere() const {
    return table_ != nullptr && table_->count.load(std::memory_order_acquire) != 0;
  }

 private:
  Hooks hooks_{};
  int socket_ = -1;
  const Table* table_ = nullptr;
  std::uint32_t slot_ = 0;
  mem::Lock lock_;                         // the conversation
  std::map<std::uint64_t, Range> ranges_;  // under the mm lock
};

}  // namespace hpcvmm::share
