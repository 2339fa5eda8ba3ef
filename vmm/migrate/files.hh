// Files that both ends of a move have: whose pages need not travel.
//
// The home names a file by the digest of its content, which its hpcd knows (wire/files.hh); the remote has
// its own hpcd look for the same content and maps a sealed copy.  Neither takes a path, a size or a time for
// a proof.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <vector>

#include "hpcvmm/wire/files.hh"
#include "vmm/mem/host_maps.hh"
#include "vmm/mem/lock.hh"
#include "vmm/migrate/link.hh"
#include "vmm/migrate/wire.hh"

namespace hpcvmm::migrate {

/// The home's: which files its mappings are of, and which of them the remote has.
class HomeFiles {
 public:
  explicit HomeFiles(Link& link) : link_(link) {}
  HomeFiles(const HomeFiles&) = delete;
  HomeFiles& operator=(const HomeFiles&) = delete;

  /// hpcd's table.  Takes the descriptor.
  void take_table(int fd);
  /// Another remote: it knows of no file.
  void start_over();

  /// A stretch of a mapping that is of one file.
  struct Stretch {
    std::uint64_t end = 0;
    std::uint64_t offset = 0;
    std::uint16_t id = 0;  ///< 0: a file that nobody knows the content of
  };
  /// The stretch that begins at `at`, which lies in a file mapping.  Under the mm lock, as all below.
  Stretch at(std::uint64_t at);
  /// What the remote has not been told of yet; empty: nothing.
  std::vector<FileEntry> news();
  /// The remote has said that it has it.  Any thread.
  void is_there(std::uint32_t id) {
    if (id >= 1 && id <= kMostFiles) there_[id] = true;
  }
  [[nodiscard]] bool there(std::uint32_t id) const { return there_[id].load(); }

 private:
  struct Known {
    std::uint64_t device = 0, inode = 0;
    bool hinted = false, told = false;
    FileEntry entry;  // id 0: too many
  };
  Known* know(const mem::HostFile& f);

  Link& link_;
  const wire::files::Table* table_ = nullptr;
  std::vector<Known> known_;
  std::array<std::atomic<bool>, kMostFiles + 1> there_{};
};

/// Pages of the stash that are a file's, unchanged.  Threads: under the owner's lock.
class Origins {
 public:
  struct Range {
    std::uint64_t begin, end, offset;
    std::uint32_t file;
  };
  void clear() { ranges_.clear(); }
  /// In ascending order.
  void add(const Range& r) { ranges_.push_back(r); }
  /// False: it is not a file's.
  bool find(std::uint64_t page, FilePage& out) const;

 private:
  std::vector<Range> ranges_;
};

/// The remote's: descriptors of the copies it got.
class RemoteFiles {
 public:
  explicit RemoteFiles(Link& link) : link_(link) {}
  RemoteFiles(const RemoteFiles&) = delete;
  RemoteFiles& operator=(const RemoteFiles&) = delete;

  /// Asks hpcd for the files of a Files message.
  void ask(const std::byte* data, std::size_t bytes);
  /// An answer.  Takes the descriptor.
  void answered(const wire::local::FileAnswer& a, int fd);
  /// How many answers are still to come; changes are told by futex.
  [[nodiscard]] const std::atomic<std::uint32_t>& open_questions() const { return open_; }
  /// -1: it is not here.  `size`: of the file.
  int find(std::uint32_t id, std::uint64_t& size);

 private:
  Link& link_;
  std::atomic<std::uint32_t> open_{0};
  mem::Lock lock_;  // what follows
  struct Known {
    int fd = -1;
    std::uint64_t size = 0;
    bool asked = false;
  };
  std::array<Known, kMostFiles + 1> known_;
};

}  // namespace hpcvmm::migrate
