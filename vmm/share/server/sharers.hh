// The sharers of one node: whose mappings show an object, and what is done to a page in all of them at once.
//
// The object's pages are in the page cache, which all its mappings show.  Each client has handed over a
// userfaultfd of its own address space, so that this process watches, write-protects and wakes there without
// the client's doing.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <unordered_map>
#include <vector>

#include "hpcvmm/base/unique_fd.hh"
#include "vmm/share/server/directory.hh"

namespace hpcvmm::share {

struct Object;

/// A client process: what it maps.
struct Sharer {
  struct Range {
    std::uint64_t end = 0;
    Object* object = nullptr;
    std::uint64_t offset = 0;
  };
  UniqueFd socket, uffd, bell;
  std::uint32_t slot = 0;  ///< at home: in the Table
  std::int32_t pid = 0;
  std::uint32_t node = 0;  ///< at home: where it runs or is about to; 0: here
  std::map<std::uint64_t, Range> ranges;
  bool gone = false;
  std::uint32_t waits_for_node = 0;   ///< Travel that has not been answered
  std::uint64_t travel_again_us = 0;  ///< Travel is tried again: somebody has just been forked
  std::uint64_t travel_until_us = 0;
  std::uint32_t travels_to = 0;
  std::vector<Object*> freezes;    ///< not thawed yet
  Object* waits_frozen = nullptr;  ///< Freeze that has not been answered
};

/// A thread of a client's that waits for a page.
struct Waiter {
  Sharer* client;
  std::uint64_t address;
};

struct Object {
  std::uint32_t number = 0;
  UniqueFd fd;
  bool watched = false;                                            ///< faults in its mappings come to us
  std::unordered_map<std::uint64_t, std::vector<Waiter>> waiters;  ///< by page
  std::vector<Sharer*> clients;                                    ///< that map it
  virtual ~Object() = default;
};

/// Threads: one.  Source: ioctl_userfaultfd(2); that a userfaultfd acts on the address space it was made in,
/// whoever holds it, and that write-protection of shared memory leaves marks for pages that are not there
/// (Linux 5.19), was tried on 6.18.
namespace sharers {

/// Adds a range to the client's; watches it if the object is.  0 or an errno value.
int add(Sharer& c, std::uint64_t begin, const Sharer::Range& r);
/// Forgets what lies in [begin, end): about to be unmapped.  Who waits there faults again.
void remove(Sharer& c, std::uint64_t begin, std::uint64_t end);
/// Of every client: 0, or the errno value of the first that cannot be watched.
int watch(Object& o);
void unwatch(Object& o);

/// From now on a write to the page is told, in every mapping.
void protect(Object& o, std::uint64_t page);
/// The page is in no mapping any more and nobody has written to `out`'s content since.
void take(Object& o, std::uint64_t page, Content& out);
void drop(Object& o, std::uint64_t page);
/// The page's content, protected if not `write`.
void put(Object& o, std::uint64_t page, const Content& content, bool write);
/// As it is now; of a page that nobody can write.  It is there afterwards.
void read(Object& o, std::uint64_t page, Content& out);
/// Whoever waits for the page may look again.  `write`: it may be written.
void wake(Object& o, std::uint64_t page, bool write);
void wake_one(const Sharer& c, std::uint64_t address, bool write);
/// Where nobody has ever written: a zero page, unless one is there.
void zero(const Sharer& c, std::uint64_t address);

struct Fault {
  std::uint64_t address = 0;  ///< of the page
  bool write = false, is_protected = false;
};
/// The next fault of a client's; false: none.
bool next(const Sharer& c, Fault& out);
/// nullptr: it is in none of its ranges.
Object* find(const Sharer& c, std::uint64_t address, std::uint64_t& page);

}  // namespace sharers
}  // namespace hpcvmm::share
