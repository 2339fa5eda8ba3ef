// The conversation between a VMM process (deputy or remote) and the hpcd of its node.
//
// Control: datagrams of a SOCK_SEQPACKET Unix socket; each begins with Header, descriptors travel as
// SCM_RIGHTS. Pages and everything that is in a hurry: records in shared-memory rings (wire/ring.hh), which
// hpcd creates and hands over with Attach.  Both ends are on one machine, so structs travel as they are.
//
// Trust: hpcd believes nothing that a VMM process says about anybody but itself (SO_PEERCRED names the
// process); a VMM process believes its hpcd.
#pragma once

#include <cstdint>

#include "hpcvmm/wire/names.hh"
#include "hpcvmm/wire/view.hh"

namespace hpcvmm::wire::local {

inline constexpr std::uint16_t kVersion = 5;
inline constexpr std::uint32_t kMaxMessage = 4096;

/// A node's number in the cluster, 1 or above; 0: none.
using Node = std::uint32_t;

enum class Type : std::uint16_t {
  // From a VMM process.
  Register = 1,  // the first message on every connection
  State = 2,     // what `ps` shows has changed
  Adopt = 3,  // + one descriptor: the socket of a child that fork has just made; it will send Register itself
  Open = 4,   // a channel to a remote on another node, please
  Close = 5,  // this channel is done
  MoveDone = 6,  // the answer to Move
  FileSeen = 7,  // (deputy) this file is mapped and not in the table of files (wire/files.hh): get to know it
  FileAsk = 8,   // (remote) is there a file of this content?
  Affinity =
      9,  // the CPUs of the cluster that it may run on (sched_setaffinity); from hpcd: somebody else's wish
  Mappings = 10,  // (deputy) the memory that it shares with others has changed
  Held = 11,      // (deputy) the answer to AskHeld
  NamesAsk = 40,  // (remote) home's facts along this path, please
  NamesHold =
      41,  // (deputy, on a connection of its own) the file of this id, please; the answer, + one descriptor
  // From hpcd.
  Welcome = 64,     // the answer to Register
  Attach = 65,      // + three descriptors: ring memfd, eventfd that wakes the VMM, eventfd that wakes hpcd
  Opened = 66,      // the answer to Open: the peer is there, or `code` says why not
  Closed = 67,      // the channel has ended from the other side, or the node is lost
  Move = 68,        // move to that node
  FileTable = 69,   // (to a deputy, before Attach) + one descriptor: wire/files.hh, to be mapped read-only
  FileAnswer = 70,  // the answer to FileAsk, + one descriptor when code is 0: the content, sealed
  Report = 71,      // a header only: send State, please
  AskHeld = 72,     // a header only: send Held, please
  NamesHome = 80,   // (to a deputy, before Attach) + two descriptors: names::HomePage and what is readable
                    // while it is behind
  NamesStore = 81,  // (to a remote) + one descriptor: names::Store of its home, to be mapped read-only
};

struct Header {
  Type type;
  std::uint16_t version;
  std::uint32_t bytes;  ///< of the whole message
};

enum class Role : std::uint8_t {
  Deputy = 1,
  Remote = 2,
  Share = 3,  ///< keeps memory that processes share (vmm/share): opens channels, and is no guest
};
enum class EngineKind : std::uint8_t { Kvm = 0, Direct = 1 };

enum class Kind : std::uint8_t { Measured = 0, Cpu = 1, Io = 2 };
enum class Decay : std::uint8_t { Default = 0, Slow = 1, Fast = 2, None = 3 };
enum class MaskMode : std::uint8_t { None = 0, Allow = 1, Deny = 2 };
/// Nodes that a mask can name.
inline constexpr std::uint16_t kMostMaskNodes = 64;

/// What its owner wants the balancer to know about a process.
struct Settings {
  std::uint8_t given = 0;      ///< 1: these count; 0: its parent's, or its own from before the exec
  std::uint8_t locked = 0;     ///< 1: no automatic move
  std::uint8_t home_only = 0;  ///< 1: never away from home
  Kind kind = Kind::Measured;
  Decay decay = Decay::Default;
  MaskMode mask_mode = MaskMode::None;
  std::uint16_t mask_count = 0;
  Node run_on = 0;  ///< the node it belongs on; 0: any
  std::uint16_t mask_nodes[kMostMaskNodes] = {};
};

struct Register {
  Header header{Type::Register, kVersion, sizeof(Register)};
  Role role = Role::Deputy;
  EngineKind engine = EngineKind::Kvm;
  std::uint8_t ia32 = 0;   ///< 1: an IA32 program
  std::uint8_t keeps = 0;  ///< 1: the same process as before, after exec: counters and lock go on
  std::int32_t pid = 0;    ///< as the process sees itself; hpcd takes SO_PEERCRED's where the two differ
  Settings settings{};
  char comm[16] = {};
  char exe[256] = {};  ///< cut off when longer; for people
  Node wants = 0;      ///< where it would go by itself: --node, or where its parent or former program ran
  std::int32_t parent = 0;
  std::uint8_t fixed = 0;   ///< 1: `wants` was named by a person
  std::uint8_t forked = 0;  ///< 1: a child of fork, with its parent's memory
  std::uint8_t reserved[2] = {};
};

struct Welcome {
  Header header{Type::Welcome, kVersion, sizeof(Welcome)};
  Node node = 0;
  Node start_on = 0;  ///< where the process should run from the start, `node` for here; 0: where it wants to
};

struct State {
  Header header{Type::State, kVersion, sizeof(State)};
  Node where = 0;  ///< the node it runs on; 0: at home
  std::uint32_t migrations = 0;
  std::uint64_t remote_cpu_us = 0;  ///< CPU time used away from home so far
  std::uint64_t remote_pages = 0;   ///< pages whose only copy is away
  std::uint64_t home_calls = 0;     ///< system calls so far that are made at home wherever it runs
  std::uint64_t away_calls = 0;     ///< those of them that came from another node
  std::uint64_t timed_calls = 0;    ///< those of them whose way is known,
  std::uint64_t call_us = 0;        ///< and what the way cost them in all
  std::uint64_t own_cpu_us = 0;     ///< CPU time used at home; told by a process that ends, else 0
  std::uint64_t io_bytes = 0;       ///< read and written so far by whatever call; 0: not told
  std::uint64_t io_calls = 0;       ///< calls that have read or written; 0: not told
  char cantmove[128] = {};          ///< empty: it can move
};

enum class SharedKind : std::uint8_t {
  Anonymous = 0,
  Memfd = 1,
  Posix = 2,
  SystemV = 3,
  File = 4,
  Other = 5
};

/// A shared mapping of a process, for people.
struct Mapping {
  std::uint64_t begin = 0, end = 0;
  SharedKind kind = SharedKind::Anonymous;
  std::uint8_t coherent = 0;  ///< 1: it works while the process is away; 0: it keeps it at home
  std::uint8_t reserved[6] = {};
  char name[96] = {};  ///< cut off when longer; empty: it has none
  char why[112] = {};  ///< why it keeps it at home
};
/// So many are told, in order of address; of the others only how many there are.
inline constexpr std::uint32_t kMostMappings = 32;
inline constexpr std::uint32_t kMappingsInOne = 16;

struct Mappings {
  Header header{Type::Mappings, kVersion, sizeof(Mappings)};
  std::uint32_t first = 0;  ///< number of list[0]; 0: what was told before counts no more
  std::uint32_t count = 0;  ///< of `list`
  std::uint32_t total = 0;  ///< that the process has
  std::uint32_t reserved = 0;
  Mapping list[kMappingsInOne] = {};
};

/// Descriptors that are looked at.
inline constexpr std::uint32_t kMostHeld = 64;

/// What a process has open: who holds the same pipe or the other end of a connection is its partner.
struct Held {
  Header header{Type::Held, kVersion, sizeof(Held)};
  std::uint32_t count = 0;             ///< of `ends`
  std::uint32_t files = 0;             ///< everything else but terminals and /dev
  std::uint64_t ends[kMostHeld] = {};  ///< inodes of its pipes and sockets, each once
};

struct Affinity {
  Header header{Type::Affinity, kVersion, sizeof(Affinity)};
  view::CpuSet cpus;  ///< empty: all
};

struct Open {
  Header header{Type::Open, kVersion, sizeof(Open)};
  std::uint32_t channel = 0;  ///< chosen by the deputy, 1 to 65535, not in use
  Node node = 0;
  std::uint64_t epoch = 0;   ///< of this move; grows with every move of the process
  std::uint64_t memory = 0;  ///< bytes the remote may come to need
  EngineKind engine = EngineKind::Kvm;
  std::uint8_t ia32 = 0;
  std::uint16_t threads = 1;
  char comm[16] = {};
};

struct Opened {
  Header header{Type::Opened, kVersion, sizeof(Opened)};
  std::uint32_t channel = 0;
  std::int32_t code = 0;  ///< 0, or an errno value: the channel does not exist
  char why[128] = {};     ///< for people, when code is not 0
};

struct Close {
  Header header{Type::Close, kVersion, sizeof(Close)};
  std::uint32_t channel = 0;
};

struct Closed {
  Header header{Type::Closed, kVersion, sizeof(Closed)};
  std::uint32_t channel = 0;
  char why[128] = {};
};

/// The rings (wire/ring.hh) in the memfd: four of `ring_bytes` each, in this order: VMM to hpcd urgent, VMM
/// to hpcd bulk, hpcd to VMM urgent, hpcd to VMM bulk.
struct Attach {
  Header header{Type::Attach, kVersion, sizeof(Attach)};
  std::uint64_t ring_bytes = 0;
};

enum class Mode : std::uint8_t { Hybrid = 0, Precopy = 1, Postcopy = 2 };

struct Move {
  Header header{Type::Move, kVersion, sizeof(Move)};
  std::uint64_t request = 0;  ///< comes back in MoveDone
  Node node = 0;              ///< where to; the process's home node means home
  Mode mode = Mode::Hybrid;
};

/// Pages and bytes of one move, by how they went.
struct MoveFigures {
  std::uint64_t downtime_us =
      0;  ///< from the last guest instruction at the source to the first at the destination
  std::uint64_t total_us = 0;    ///< from Move to the last page
  std::uint64_t pages_warm = 0;  ///< sent while it ran at the source
  std::uint64_t pages_pushed = 0;
  std::uint64_t pages_faulted = 0;  ///< asked for by the destination
  std::uint64_t pages_zero = 0;
  std::uint64_t pages_known = 0;  ///< the destination had the same content already
  std::uint64_t bytes = 0;        ///< handed to hpcd in both directions for this move
};

struct MoveDone {
  Header header{Type::MoveDone, kVersion, sizeof(MoveDone)};
  std::uint64_t request = 0;
  std::int32_t code = 0;  ///< 0: it runs there; else an errno value and it runs where it was
  Node where = 0;         ///< where it runs now
  MoveFigures figures{};
  char why[128] = {};  ///< for people, when code is not 0
};

inline constexpr std::size_t kMaxFilePath = 512;

struct FileSeen {
  Header header{Type::FileSeen, kVersion, sizeof(FileSeen)};
  char path[kMaxFilePath] = {};
};

struct FileAsk {
  Header header{Type::FileAsk, kVersion, sizeof(FileAsk)};
  std::uint32_t id = 0;  ///< comes back in the answer
  std::uint32_t reserved = 0;
  std::uint64_t size = 0;
  std::uint8_t digest[32] = {};  ///< all 0: not known yet; it will be asked for later
  char path[kMaxFilePath] = {};  ///< where it is likely to be found
};

struct NamesAsk {
  Header header{Type::NamesAsk, kVersion, sizeof(NamesAsk)};
  char path[kMaxFilePath] = {};  ///< absolute
};

struct NamesHold {
  Header header{Type::NamesHold, kVersion, sizeof(NamesHold)};
  names::Id id;
};

struct NamesHome {
  Header header{Type::NamesHome, kVersion, sizeof(NamesHome)};
};

struct NamesStore {
  Header header{Type::NamesStore, kVersion, sizeof(NamesStore)};
};

struct FileTable {
  Header header{Type::FileTable, kVersion, sizeof(FileTable)};
};

struct FileAnswer {
  Header header{Type::FileAnswer, kVersion, sizeof(FileAnswer)};
  std::uint32_t id = 0;
  std::int32_t code = 0;  ///< 0: it is here; else an errno value (EAGAIN: perhaps later)
};

/// A record in a ring: this, then `bytes` of payload for the channel.
struct Record {
  std::uint32_t bytes;
  std::uint32_t channel;
};
/// Largest payload of a record.
inline constexpr std::uint32_t kMaxRecord = 72 * 1024;
/// What one end may have on its way to the other, both kinds of ring together, before the other has
/// acknowledged it (the VMM processes count for themselves: hpcd ends a channel that overfills a ring).
inline constexpr std::uint32_t kRingBytes = 4U << 20;

}  // namespace hpcvmm::wire::local
