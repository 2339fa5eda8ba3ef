// What this node knows of the home's names: paths looked up in the store that its hpcd keeps.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "hpcvmm/wire/names.hh"

namespace hpcvmm::names {

using wire::names::Id;
using wire::names::Kind;
using wire::names::NodeFacts;
using wire::names::Record;

/// Whose rights count.  `powerful`: passes and reads everything (CAP_DAC_OVERRIDE).
struct Who {
  std::uint32_t user = 0;
  bool powerful = false;
};

struct Found {
  /// 0: `kind` and what follows; an errno value; or kUnknown: home has to be asked.
  int error = 0;
  Kind kind = Kind::Unknown;
  Id id;
  std::string_view text;      ///< of a link, in the store
  std::int64_t until_ns = 0;  ///< of a link, as NodeFacts::until_ns
  bool refused = false;       ///< with kUnknown: home does not tell
};
inline constexpr int kUnknown = -1;

/// Threads: any; each looks through a view of its own (Look).
class Reader {
 public:
  /// Maps the store.  `map`: as mmap(2) of that descriptor, read-only; nullptr: no memory.
  bool open(const void* store) {
    store_ = static_cast<const wire::names::Store*>(store);
    return store_ != nullptr;
  }
  [[nodiscard]] bool there() const { return store_ != nullptr; }

  /// The store is at least as new as the home was then.
  [[nodiscard]] bool is_as_new_as(std::uint64_t epoch) const {
    return store_->epoch.load(std::memory_order_acquire) >= epoch;
  }
  /// Odd: everything is being forgotten.  What was read counts if it was the same even number before and
  /// after.
  [[nodiscard]] std::uint64_t generation() const {
    return store_->generation.load(std::memory_order_acquire);
  }

  /// Looks a path up as Linux does (path_resolution(7)).  `here`: where a relative one begins.  `follow`: a
  /// link at its end, too.  Never says that somebody is kept out: home does.
  [[nodiscard]] Found look(std::string_view path, const Id& here, bool follow, const Who& who) const;
  /// Status and content of an inode; nullptr: not known.
  [[nodiscard]] const Record* node(const Id& id) const;
  /// Home does not tell them.
  [[nodiscard]] bool is_refused(const Id& id) const;
  /// The facts of such a record; the content is behind them.
  static const NodeFacts& facts(const Record& r) { return *reinterpret_cast<const NodeFacts*>(r.data()); }
  static const std::byte* content(const Record& r) {
    return reinterpret_cast<const std::byte*>(r.data()) + sizeof(NodeFacts);
  }
  /// Whether the rights that `mode` gives let him do all of `need` (4 read, 2 write, 1 execute or pass);
  /// false: perhaps not.
  static bool may(const Who& who, std::uint32_t owner, std::uint32_t mode, std::uint32_t need);

 private:
  const wire::names::Store* store_ = nullptr;
};

}  // namespace hpcvmm::names
