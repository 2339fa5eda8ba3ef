// Files whose content this node knows: those that its own processes map (for the table that deputies read),
// and copies of those that guests from other nodes map.
//
// A guest's pages of /usr/lib/... need not travel when the same content is here.  Nobody's word is taken:
// what a remote gets is a copy in sealed memory whose digest is the one asked for, so a file that is changed
// here later changes nothing for it, and one copy serves every process that maps it.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "hpcvmm/base/result.hh"
#include "hpcvmm/base/unique_fd.hh"
#include "hpcvmm/wire/files.hh"
#include "hpcvmm/wire/local.hh"

namespace hpcvmm::daemon {

/// Threads: the caller's one; a thread of its own reads and hashes, since files are read at disk speed.
class Files {
 public:
  struct Limits {
    std::uint64_t file_bytes = std::uint64_t{128} << 20;    ///< larger files are not looked at
    std::uint64_t copies_bytes = std::uint64_t{256} << 20;  ///< of all copies; the longest unused goes first
    std::uint64_t settled_ns = 2'000'000'000;  ///< unchanged for so long before it is believed to stay so
  };
  struct Found {
    int fd = -1;   ///< stays ours
    int code = 0;  ///< 0, or EAGAIN: not known now
  };
  struct Counters {
    std::uint64_t hashed = 0, copied = 0, refused = 0, given = 0;
  };

  Files() = default;
  explicit Files(const Limits& limits) : limits_(limits) {}
  Files(const Files&) = delete;
  Files& operator=(const Files&) = delete;
  ~Files();

  /// Makes the table.  SIGIO is ignored from now on: it is how the kernel tells of a broken lease.  Errors:
  /// those of memfd_create, mmap, eventfd.
  Status open();
  /// To be mapped read-only by deputies.
  [[nodiscard]] int table_fd() const { return shown_.get(); }
  /// A process here has mapped that file: its digest will be in the table, if it can be had.
  void seen(const wire::local::FileSeen& m);
  /// A copy of what a guest maps.  When there is none yet it is made, for the next one who asks.
  Found ask(const wire::local::FileAsk& m);

  /// Readable when collect() has something to take over from the thread.
  [[nodiscard]] int fd() const { return news_.get(); }
  void collect();
  /// For tests: waits until everything asked for so far has been looked at, and takes it over.
  void settle();

  [[nodiscard]] const Counters& counters() const { return counters_; }
  [[nodiscard]] std::uint64_t copies_bytes() const { return copies_bytes_; }

 private:
  using Digest = wire::files::Digest;
  struct Job {
    std::string path;
    bool copy = false;
    Digest wanted{};  ///< of a copy; all 0: any
  };
  struct Learnt {
    Job job;
    wire::files::FileId file;
    Digest digest{};
    bool proved = false;  ///< may go into the table
    UniqueFd copy;
  };
  struct Copy {
    UniqueFd fd;
    std::uint64_t bytes = 0, used = 0;
  };
  struct Before {
    wire::files::FileId file;
    Digest digest{};
    bool proved = false;
  };

  void enqueue(Job job);
  void work();
  bool learn(const Job& job, Learnt& out);
  void make_room(std::uint64_t bytes);

  Limits limits_;
  UniqueFd table_fd_, shown_, news_;
  wire::files::Table* table_ = nullptr;
  std::map<Digest, Copy> copies_;
  std::unordered_map<std::string, Digest> copied_;  // the last copy of a path
  std::uint64_t copies_bytes_ = 0, uses_ = 0;
  Counters counters_;

  std::mutex lock_;  // what follows
  std::condition_variable more_, idle_;
  std::deque<Job> jobs_;
  std::unordered_set<std::string> queued_;  // "h" or "c" and the path
  std::vector<Learnt> learnt_;
  bool busy_ = false, ending_ = false;
  std::thread thread_;  // started by the first job: rights are given up before that
  std::unordered_map<std::string, Before> before_;  // the thread's
};

}  // namespace hpcvmm::daemon
