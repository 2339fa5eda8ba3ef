// The home's side: tells other nodes what they may know of this node's names and files, and takes it back as
// soon as the kernel says that it has changed.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "daemon/names/look.hh"
#include "hpcvmm/base/result.hh"
#include "hpcvmm/base/unique_fd.hh"

namespace hpcvmm::daemon::names {

/// Threads: the caller's one; a thread of its own looks into the file system, which may wait for a disk.
class Source {
 public:
  using Node = std::uint32_t;
  /// A user's processes on a node: told together, apart from all others.
  struct Reader {
    friend bool operator==(const Reader&, const Reader&) = default;
    Node node = 0;
    std::uint32_t user = 0;
  };
  /// Sends a batch (facts.hh), after everything sent to that node before.
  using Send = std::function<bool(const Reader&, const Bytes&)>;
  struct Counters {
    std::uint64_t asked = 0, told = 0, taken_back = 0;
  };

  /// `most_watched`: inodes; beyond it begins anew.
  explicit Source(Send send, std::size_t most_watched = 16384)
      : send_(std::move(send)),
        most_watched_(most_watched),
        look_([this](int fd, const Id& id, bool folder, std::uint64_t& v) {
          return watch(fd, id, folder, v);
        }) {}
  Source(const Source&) = delete;
  Source& operator=(const Source&) = delete;
  ~Source();

  /// Errors: those of inotify_init1, memfd_create, mmap, eventfd, fcntl.
  Status open();
  /// For deputies, to be mapped read-only: wire::names::HomePage.
  [[nodiscard]] int page_fd() const { return shown_.get(); }
  /// For one deputy: readable while the kernel has told of a change that has not been read yet.  Whoever has
  /// it can do no more than poll it.  Errors: those of epoll_create1, epoll_ctl.
  [[nodiscard]] Result<UniqueFd> make_bell() const;

  /// A node asks for the facts along an absolute path.
  void want(const Reader& reader, const std::string& path);
  /// It has forgotten what it was told; the node is lost.
  void drop(const Reader& reader) { subscribers_.erase(reader); }
  void lose(Node node) {
    std::erase_if(subscribers_, [node](const auto& s) { return s.first.node == node; });
  }
  /// The file that this user's processes were told of with this id, open, if it is still known; -1: it is
  /// not.  It stays ours.
  [[nodiscard]] int file_of(const Id& id, std::uint32_t user);

  /// Closes what nobody needs any more: files whose names went half a minute ago, and everything when for a
  /// minute nobody was elsewhere (`in_use`).  Units: milliseconds of the caller's clock.
  void tick(std::uint64_t now_ms, bool in_use);

  /// Readable: read_changes() has something to do.
  [[nodiscard]] int changes_fd() const { return inotify_.get(); }
  void read_changes();
  /// Readable: collect() has.
  [[nodiscard]] int news_fd() const { return news_.get(); }
  void collect();
  /// For tests: waits until everything asked for so far has been looked at, and tells it.
  void settle();
  [[nodiscard]] const Counters& counters() const { return counters_; }

 private:
  /// A file, and whose processes may have it open elsewhere.
  struct Open {
    UniqueFd fd;
    std::vector<std::uint32_t> users;
    [[nodiscard]] bool is_of(std::uint32_t user) const;
  };
  struct Watched {
    Id id;
    bool folder = false;
    std::uint64_t version = 0;
    Open file;
  };
  struct Subscriber {
    std::uint64_t sequence = 0, epoch = 0;
    std::unordered_map<Id, std::uint64_t, IdHash> folders;  ///< told, with the version
    std::unordered_set<Id, IdHash> nodes;
  };
  struct ReaderHash {
    std::size_t operator()(const Reader& r) const { return std::size_t{r.node} << 32 | r.user; }
  };
  struct Job {
    Reader reader;
    std::string path;
  };
  struct Done {
    Reader reader;
    std::vector<Learnt> facts;
  };

  int watch(int fd, const Id& id, bool folder, std::uint64_t& version);
  void on_event(const void* event);
  void changed(Watched& w, std::uint32_t mask, std::string_view name);
  void take_back(Fact fact, const Id& id, std::string_view name = {});
  void forget_all();
  void retire(Watched& w);
  void close_oldest();
  void close_later(UniqueFd fd);
  void flush();
  void tell(const Reader& reader, Subscriber& s, const Bytes& facts);
  void work();

  Send send_;
  const std::size_t most_watched_;
  UniqueFd inotify_, page_fd_, shown_, news_;
  wire::names::HomePage* page_ = nullptr;
  std::unordered_map<Reader, Subscriber, ReaderHash> subscribers_;
  std::unordered_map<Reader, Bytes, ReaderHash>
      pending_;                                   // facts taken back, to be told at the end of read_changes()
  std::unordered_map<Id, Open, IdHash> retired_;  // files of inodes that have changed since
  std::deque<std::pair<std::uint64_t, Id>> retired_order_;  // since when
  std::uint64_t now_ms_ = 0, used_ms_ = 0;
  Counters counters_;

  std::mutex lock_;  // what follows
  std::condition_variable more_, idle_;
  std::unordered_map<int, Watched> watched_;
  std::deque<Job> jobs_;
  std::unordered_set<std::string> queued_;
  std::vector<Done> done_;
  std::vector<UniqueFd> to_close_;
  std::uint64_t forgotten_ = 0;  // times that all was forgotten
  bool busy_ = false, ending_ = false;

  Look look_;           // the thread's
  std::thread thread_;  // started by the first question: rights are given up before that
};

}  // namespace hpcvmm::daemon::names
