// Files whose content an hpcd knows: a table in memory that it shares, read-only, with the deputies of its
// node.
//
// An entry says: the file of that device and inode, as long as its size and its two times are these, has the
// content with this digest.  hpcd makes one only of files that nobody but root can write, that nobody had
// open for writing while they were read, and that had not changed for a while before.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace hpcvmm::wire::files {

/// BLAKE2b-256 of the whole content.
using Digest = std::array<std::uint8_t, 32>;

struct FileId {
  friend bool operator==(const FileId&, const FileId&) = default;
  std::uint64_t device = 0;  ///< as stat(2) says
  std::uint64_t inode = 0;
  std::uint64_t size = 0;
  std::int64_t mtime_ns = 0;
  std::int64_t ctime_ns = 0;
};

struct Entry {
  std::atomic<std::uint32_t> version{0};  ///< odd while it is being written
  std::uint32_t used = 0;
  FileId file;
  Digest digest{};
};

inline constexpr std::size_t kEntries = 4096;
inline constexpr std::size_t kProbes = 8;  ///< places an entry may be in, from its own on

struct Table {
  std::array<Entry, kEntries> entries;
};

inline std::size_t place_of(const FileId& f) {
  return static_cast<std::size_t>((f.device * 31 + f.inode) * 0x9E3779B97F4A7C15ULL >> 52) % kEntries;
}

/// The digest of that file; false: not known.  Any thread of any process that has the table.
inline bool find(const Table& table, const FileId& file, Digest& out) {
  for (std::size_t i = 0; i < kProbes; ++i) {
    const Entry& e = table.entries[(place_of(file) + i) % kEntries];
    const std::uint32_t before = e.version.load(std::memory_order_acquire);
    if ((before & 1) != 0 || e.used == 0 || !(e.file == file)) continue;
    const Digest digest = e.digest;
    std::atomic_thread_fence(std::memory_order_acquire);
    if (e.version.load(std::memory_order_relaxed) != before) continue;
    out = digest;
    return true;
  }
  return false;
}

/// Writes an entry: over one of the same inode, into a free place, or over the first of its places.  Threads:
/// the only writer.
inline void put(Table& table, const FileId& file, const Digest& digest) {
  Entry* to = nullptr;
  for (std::size_t i = 0; i < kProbes; ++i) {
    Entry& e = table.entries[(place_of(file) + i) % kEntries];
    const bool same = e.used != 0 && e.file.device == file.device && e.file.inode == file.inode;
    if (same || (to == nullptr && e.used == 0)) to = &e;
    if (same) break;
  }
  if (to == nullptr) to = &table.entries[place_of(file)];
  const std::uint32_t version = to->version.load(std::memory_order_relaxed);
  to->version.store(version + 1, std::memory_order_relaxed);
  std::atomic_thread_fence(std::memory_order_release);
  to->used = 1;
  to->file = file;
  to->digest = digest;
  to->version.store(version + 2, std::memory_order_release);
}

}  // namespace hpcvmm::wire::files
