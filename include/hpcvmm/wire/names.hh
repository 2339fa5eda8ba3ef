// What is known of another node's names and unchanged files: a store in memory that an hpcd fills and its
// remotes read, one for each home and each of its users.
//
// A home tells facts (daemon/names): this folder has these entries, this name is a link with that text, this
// inode has that status and content.  It takes a fact back as soon as the kernel tells it of a change.  A
// remote may use what is in the store as long as the store is at least as new as the home was when it last
// let the process run (Store::epoch against Run::names); README.md of vmm/names has why that suffices.
#pragma once

#include <sys/stat.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

namespace hpcvmm::wire::names {

/// An inode of the home.
struct Id {
  friend bool operator==(const Id&, const Id&) = default;
  std::uint64_t device = 0;
  std::uint64_t inode = 0;
};

enum class Kind : std::uint8_t { Unknown = 0, Absent, Folder, File, Link, Other };

/// Shared by the home's hpcd with its deputies, read-only.
struct HomePage {
  /// Number of the last time hpcd began to read what the kernel tells of changes.
  std::atomic<std::uint64_t> begun{0};
  /// Facts are about this tree: a process with another root or mount namespace has nothing of them.
  Id root;
  std::uint64_t mount_namespace = 0;
};

enum class Type : std::uint8_t { Folder = 1, Entry, Node };

enum Flag : std::uint8_t {  // NOLINT(readability-identifier-naming): bits
  kComplete = 1,            ///< (Folder) a name without an entry does not exist
  kRefused = 2,             ///< nothing will be told of it
  kContent = 4,             ///< (Node) content follows, from the first byte on
};

/// In the store: a head, then for an Entry the name and a link's text, for a Node NodeFacts and the content.
struct Record {
  std::uint32_t next = 0;  ///< offset of the next one in the same bucket; 0: none
  std::uint32_t hash = 0;
  Type type = Type::Folder;
  std::atomic<std::uint8_t> alive{0};
  Kind kind = Kind::Unknown;  ///< of an entry
  std::uint8_t flags = 0;
  std::uint16_t name_bytes = 0;
  std::uint16_t text_bytes = 0;
  std::uint64_t serial = 0;   ///< of the folder's record that an entry belongs to, or of itself
  Id id;                      ///< the folder, for an entry: the one it is in
  Id child;                   ///< what an entry names; a folder's parent
  std::int64_t until_ns = 0;  ///< of a link: as NodeFacts::until_ns
  std::uint32_t owner = 0;    ///< of a folder, as mode
  std::uint32_t mode = 0;
  [[nodiscard]] const char* data() const { return reinterpret_cast<const char*>(this + 1); }
  [[nodiscard]] std::string_view name() const { return {data(), name_bytes}; }
  [[nodiscard]] std::string_view text() const { return {data() + name_bytes, text_bytes}; }
};

struct NodeFacts {
  struct stat status {};
  struct statx wide {};       ///< the same, for who asks for STATX_BASIC_STATS
  std::int64_t until_ns = 0;  ///< CLOCK_REALTIME: afterwards a read would change the access time
  std::uint64_t content_bytes = 0;
};

inline constexpr std::uint32_t kBuckets = 1U << 16;
inline constexpr std::size_t kStoreBytes = std::size_t{64} << 20;
/// Content of files up to this size is told whole, of larger ones the beginning.
inline constexpr std::uint64_t kMostContent = 192U << 10;
inline constexpr std::uint64_t kBeginning = 4096;
inline constexpr std::size_t kMostLinkText = 1024;

struct Store {
  std::atomic<std::uint64_t> generation{0};  ///< odd while everything is being forgotten
  std::atomic<std::uint64_t> epoch{0};       ///< what the home knew then is in here
  Id root;
  std::array<std::atomic<std::uint32_t>, kBuckets> buckets{};
};

inline std::uint32_t hash_of(Type type, const Id& id, std::string_view name) {
  std::uint64_t h = (id.inode ^ id.device << 32 ^ static_cast<std::uint64_t>(type)) * 0x9E3779B97F4A7C15ULL;
  for (const char c : name) h = (h ^ static_cast<unsigned char>(c)) * 0x100000001B3ULL;
  return static_cast<std::uint32_t>(h ^ h >> 32);
}

struct Search {
  const Record* record = nullptr;
  bool to_the_end = false;  ///< without a record: there is none; else it is not known
};

/// The living record of that key.  Any thread of any process that has the store mapped; what is found, or
/// not, counts only if `generation` is the same, and even, before and after.
inline Search search(const Store& store, Type type, const Id& id, std::string_view name) {
  constexpr unsigned kMostSteps = 4096;  // a store that is being wiped may send us in a circle
  const std::uint32_t hash = hash_of(type, id, name);
  const std::atomic<std::uint32_t>& bucket = store.buckets[hash % kBuckets];
  unsigned steps = 0;
  for (;;) {
    const std::uint32_t first = bucket.load(std::memory_order_acquire);
    std::uint32_t at = first;
    for (; at != 0; ++steps) {
      if (steps == kMostSteps || at < sizeof(Store) || at > kStoreBytes - sizeof(Record)) return {};
      const auto* const r = reinterpret_cast<const Record*>(reinterpret_cast<const std::byte*>(&store) + at);
      if (r->hash == hash && r->type == type && r->id == id &&
          r->alive.load(std::memory_order_acquire) != 0 && r->name() == name)
        return {r, true};
      at = r->next;
    }
    // One that was dead when we came to it may have been replaced after we had begun, in front of all others.
    if (bucket.load(std::memory_order_acquire) == first) return {nullptr, true};
  }
}

/// Where not to know and not to have is the same.  nullptr: none.
inline const Record* find(const Store& store, Type type, const Id& id, std::string_view name = {}) {
  return search(store, type, id, name).record;
}

}  // namespace hpcvmm::wire::names
