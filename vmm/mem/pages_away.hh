// Who is told of changes to the window while some of its pages live on another node.
#pragma once

#include <cstdint>

#include "vmm/mem/vma.hh"

namespace hpcvmm::mem {

/// Threads: all under the mm lock, on the task's thread, before or after the host call as the name says. They
/// may wait for the other node, never for a thread that needs the mm lock.
class PagesAway {
 public:
  PagesAway() = default;
  PagesAway(const PagesAway&) = delete;
  PagesAway& operator=(const PagesAway&) = delete;
  virtual ~PagesAway() = default;

  /// Before: the mappings in [begin, end) go, or with `content_only` stay and read as zero.  Afterwards
  /// nobody elsewhere can touch the range.
  virtual void dropping(std::uint64_t begin, std::uint64_t end, bool content_only) = 0;
  /// After: [begin, v.end) is new.  May change `v` (a writable private file mapping becomes anonymous
  /// memory).
  virtual void mapped(std::uint64_t begin, Vma& v) = 0;
  /// Before: rights in [begin, end) become `prot`.
  virtual void protecting(std::uint64_t begin, std::uint64_t end, std::uint32_t prot) = 0;
  /// Before: [begin, end) will be moved in this address space: its content comes here.
  virtual void gathering(std::uint64_t begin, std::uint64_t end) = 0;
  /// After: it is at `to` now, `bytes` long.
  virtual void gathered(std::uint64_t to, std::uint64_t bytes, const Vma& v) = 0;
  /// Before: the guest wants a place that has to be free (the break, or one it names without taking it from
  /// another mapping).
  virtual void keep_clear() = 0;
  /// After: the break has moved, or a mapping has come.
  virtual void grew() = 0;
};

/// Who is told that mappings of shared memory have come or gone: they decide whether a process can move.
class SharedWatch {
 public:
  SharedWatch() = default;
  SharedWatch(const SharedWatch&) = delete;
  SharedWatch& operator=(const SharedWatch&) = delete;
  virtual ~SharedWatch() = default;

  /// Whether a System V segment is to be mapped as a file, which can be watched.
  [[nodiscard]] virtual bool wants_files() const = 0;
  /// On the task's thread, under the mm lock.
  virtual void shared_changed() = 0;
  /// Before: shared mappings in [begin, end) go or move.  What is still there at the next shared_changed()
  /// stays.
  virtual void shared_going(std::uint64_t begin, std::uint64_t end) = 0;
};

}  // namespace hpcvmm::mem
