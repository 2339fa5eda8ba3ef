// What the parts of shared memory say to each other.
//
// A *share server* runs at home (one for each user) and one on every node that some sharer has moved to.  A
// deputy or a remote is a client of the one on its node: Request and Reply through a local socket, one at a
// time.  The servers talk through a channel of their own (wire/local.hh), Notes in the urgent stream, in
// order.
#pragma once

#include <atomic>
#include <cstdint>

namespace hpcvmm::share {

inline constexpr std::uint32_t kVersion = 1;

/// First message on a server's channel, read by what hpcd has started as a remote.
inline constexpr std::uint16_t kServeNote = 200;

// --- client and server of one node; datagrams of a SOCK_SEQPACKET socket

enum class Ask : std::uint32_t {
  Hello = 1,  ///< + a userfaultfd of the client's; answered with the Table at home
  Get,        ///< (not at home) the memory that stands for `object` here: comes with the answer
  Add,     ///< [begin, end) maps the object from `offset` on.  At home + a descriptor of it, which names it
  Remove,  ///< [begin, end) is about to be unmapped
  Travel,  ///< the process wants to run on `node`: the name of the server there is the answer
  Back,    ///< it runs at home again
  Freeze,  ///< a call reads or writes the file `device`, `inode` itself: every page home until Thaw
  Thaw,
  Bell,  ///< + an eventfd, which is rung when the client's Slot says something new
};

struct Request {
  Ask ask = Ask::Hello;
  std::uint32_t object = 0;
  std::uint64_t begin = 0, end = 0, offset = 0;
  std::uint64_t device = 0, inode = 0;
  std::uint32_t node = 0;
  std::uint32_t version = kVersion;
};

struct Reply {
  std::int32_t code = 0;  ///< 0, or an errno value
  std::uint32_t object = 0;
  char text[120] = {};  ///< why not; Travel: the name of the other server
};

/// Which files have pages elsewhere, for calls that read and write files, and what each client shall know.
/// Shared memory, written by the home's server.
struct Table {
  static constexpr std::uint32_t kMost = 64;
  static constexpr std::uint32_t kSlots = 1024;
  struct Entry {
    std::atomic<std::uint64_t> device, inode;
  };
  /// A client's; its number comes with the answer to Hello (Reply::object; 0: none).
  struct Slot {
    std::atomic<std::uint64_t> transfers;  ///< pages that have come or gone where it ran, away from home
    std::atomic<std::uint32_t> come_home;  ///< 1: what it shares cannot be elsewhere any more
    std::uint32_t reserved;
  };
  std::atomic<std::uint32_t> count;  ///< above kMost: any file may be one
  std::uint32_t reserved;
  Entry entries[kMost];
  Slot slots[kSlots + 1];
};

// --- servers

enum class NoteType : std::uint16_t {
  Serve = kServeNote,  ///< be a server; a Name follows
  Ready,               ///< the answer; flags 0: it listens
  Want,                ///< a page is wanted, kWrite: alone
  Grant,               ///< here it is, or (neither kData nor kZero) what you have may be written
  Recall,              ///< give it back, kWrite: altogether; else keep a copy that is only read
  Yield,               ///< the answer, with Recall's serial; 0: nobody has asked
};

struct Note {
  NoteType type = NoteType::Want;
  std::uint16_t flags = 0;
  std::uint32_t object = 0;
  std::uint64_t page = 0;  ///< its number in the object
  std::uint32_t serial = 0;
  std::uint32_t reserved = 0;
};
inline constexpr std::uint16_t kWrite = 1;
inline constexpr std::uint16_t kData = 2;  ///< 4096 bytes follow
inline constexpr std::uint16_t kZero = 4;  ///< it is all zero

struct Name {
  char text[64] = {};
};

}  // namespace hpcvmm::share
