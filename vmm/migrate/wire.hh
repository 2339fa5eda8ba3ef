// What a deputy and its remote say to each other through a channel.
//
// Two streams (see wire/local.hh): urgent, in which everything below travels in order, and bulk, which
// carries Pages that nobody waits for.  Nothing is ordered between the two; README.md, "Two streams", has the
// rules that make that safe.  Both ends are the same executable (Init compares a version), so structs travel
// as they are; the remote is the deputy's own process on another node, but what arrives is checked all the
// same: lengths, ids, page alignment.
#pragma once

#include <csignal>
#include <cstdint>

#include "hpcvmm/base/cpu.hh"
#include "hpcvmm/base/layout.hh"
#include "hpcvmm/wire/local.hh"
#include "vmm/migrate/clocks.hh"
#include "vmm/migrate/used.hh"

namespace hpcvmm::migrate {

inline constexpr std::uint32_t kWireVersion = 11;

enum class Msg : std::uint16_t {
  // Deputy to remote.
  Init = 1,     // who comes; answered by Ready
  Maps,         // mappings to make, none of which exists yet
  Drop,         // forget a range (Ack, unless its id is kNoAck)
  Protect,      // change rights (likewise)
  Prepare,      // this vCPU will come: make it
  Prepared,     // everything there is so far has been told (Ack)
  Run,          // run this vCPU from these registers; answered by Left
  Kick,         // make it leave the guest
  GetFp,        // answered by Fp
  Take,         // this page, please; answered by Pages
  Kept,         // home has kept this page of the stash
  Mapped,       // every mapping has been told: bulk pages have a place now
  PageWanted,   // (remote to deputy) a guest thread waits for this page
  Pages,        // (both ways) pages; the receiver owns them from now on
  PushDone,     // (in both streams) every page of the stash has been sent
  Leave,        // no vCPU will run any more: send all pages
  Entered,      // guest code runs at home: the pages may come in their mass
  Waits,        // how many threads wait for private futexes at home; answered by Heard when id is not 0
  Files,        // files that Maps will name; answered by FileHere for those that are there, too
  FilePages,    // pages of the stash that are a file's: taken from the copy there
  Credit,       // (both ways) so many bytes of bulk have been consumed
  CallData,     // (both ways) a part of what belongs to the next Run or Left of this vCPU
  Names,        // under which conditions names are looked up there; names::Circumstances follow
  ShareServer,  // the name of the server of shared memory there; before Maps that need it
  ClockAsk,     // answered by ClockTell, at once
  Grant,        // where the next memory may be made without asking; before a Run
  // Remote to deputy.
  Ready = 64,
  Ack,
  Left,
  Fp,
  Leaving,   // answer to Leave, before the first page
  Drained,   // (in both streams) every page has been sent
  Began,     // guest code runs
  Heard,     // Waits has been taken note of
  Wake,      // wake threads that wait at home
  FileHere,  // this file is here, with that content
  Reopens,   // files that were opened there and are home's now; id: how many names::Reopen follow, each with
             // its path
  ClockTell,
  Used,   // CPU time so far, while guest code runs and makes no call
  Grown,  // memory that was made there: home's now; before a Left
};

struct Head {
  Msg type;
  std::uint16_t flags = 0;
  std::uint32_t id = 0;  ///< vCPU, acknowledgement number or count, as the message says
};

struct Init {
  Head head{Msg::Init, 0, kWireVersion};
  std::uint8_t engine = 0;  ///< engine::Kind
  std::uint8_t ia32 = 0;
  std::uint16_t reserved = 0;
  std::uint32_t fp_bytes = 0;                            ///< size of the XSAVE area at home
  std::uint64_t xcr0 = 0;                                ///< state components the guest may use
  std::uint64_t vdso_table = 0;                          ///< guest address of the vDSO's table page; 0: none
  std::uint32_t cpu_features[8] = {};                    ///< cpu.hh: what the program may have seen
  std::uint64_t host_vdso_begin = 0, host_vdso_end = 0;  ///< of home, as the guest sees it
};

struct Ready {
  Head head{Msg::Ready, 0, 0};
  std::int32_t code = 0;  ///< 0, or an errno value
  char why[124] = {};
};

enum class PageKind : std::uint8_t {
  Fresh = 0,     ///< anonymous, made just now: what has not been taken home is zero
  Held = 1,      ///< anonymous with a past: ask home
  Shared = 2,    ///< read-only file pages: ask home; both may keep them
  Table = 3,     ///< the vDSO's table page: every node fills its own
  AtHome = 4,    ///< anonymous, and all of it at home until it is asked for
  Coherent = 5,  ///< shared with other processes: whose pages come and go is the share servers' (vmm/share)
};

struct MapEntry {
  friend bool operator==(const MapEntry&, const MapEntry&) = default;
  std::uint64_t begin, end;
  std::uint32_t prot;
  PageKind kind;
  std::uint8_t grows_down;
  /// kind Shared: number of the file whose unchanged pages these are; 0: ask home.  Coherent: of the object.
  std::uint16_t file = 0;
  std::uint64_t offset = 0;  ///< of the first page in it
};
struct Maps {
  Head head{Msg::Maps, 0, 0};  // id: number of entries, which follow
};
inline constexpr std::uint32_t kMapsPerMessage = 1024;

/// A file by content (wire/files.hh).
struct FileEntry {
  std::uint32_t id = 0;  ///< 1 to kMostFiles
  std::uint32_t reserved = 0;
  std::uint64_t size = 0;
  std::uint8_t digest[32] = {};  ///< all 0: not known yet, a hint for the next time
  char path[wire::local::kMaxFilePath] = {};
};
inline constexpr std::uint32_t kMostFiles = 255;
inline constexpr std::uint32_t kFilesPerMessage = 64;
struct FilesHead {
  Head head{Msg::Files, 0, 0};  // id: number of entries, which follow
};

struct Waits {
  Head head{Msg::Waits, 0, 0};  // id: number of this message, 0: no answer
  std::uint32_t count = 0;
  std::uint32_t reserved = 0;
};

struct Wake {
  Head head{Msg::Wake, 0, 0};  // id: at most so many
  std::uint64_t address = 0;
};

/// Flag: calls that need nothing of home may be made on the remote's node.
inline constexpr std::uint16_t kMayCallLocally = 1;
struct Mapped {
  Head head{Msg::Mapped, 0, 0};
  vdso::ClockOffsets clocks;  ///< the process's minus those of the remote's node
};

struct ClockTell {
  Head head{Msg::ClockTell, 0, 0};  // id: of the question
  ClockReadings clocks;
};

struct ShareServer {
  Head head{Msg::ShareServer, 0, 0};
  char name[64] = {};
};

struct Drop {
  Head head{Msg::Drop, 0, 0};  // id: acknowledgement; flags: kDropContent
  std::uint64_t begin = 0, end = 0;
  std::uint64_t sequence = 0;  ///< pushed pages with a smaller one are void in this range
};
inline constexpr std::uint32_t kNoAck = 0;        ///< nobody waits for it
inline constexpr std::uint16_t kDropContent = 1;  ///< the mapping stays, its pages read as zero

struct Protect {
  Head head{Msg::Protect, 0, 0};  // id: acknowledgement
  std::uint64_t begin = 0, end = 0;
  std::uint32_t prot = 0;
  std::uint32_t reserved = 0;
};

/// Followed by kHasTls: kTlsCount descriptors; then kHasFp: `fp_bytes` of XSAVE area; then kHasData: what the
/// call has written (forward.cc).
struct Run {
  Head head{Msg::Run, 0, 0};      // id: vCPU
  std::int32_t pid = 0, tid = 0;  ///< of the guest's thread, as it knows them
  std::uint64_t names = 0;        ///< what the store of names must have reached; 0: it may not be used
  GuestRegs regs;
};
inline constexpr std::uint16_t kHasFp = 1;
inline constexpr std::uint16_t kHasTls = 2;
inline constexpr std::uint16_t kHasData = 16;
inline constexpr std::uint16_t kDataBefore = 32;  ///< that has come as CallData

// With an exit of kind Interrupted: a call that waits was interrupted, rip is at it again.
inline constexpr std::uint16_t kInWait = 4;
inline constexpr std::uint16_t kInTimedWait = 8;
inline constexpr std::uint16_t kWantsDescriptors = 64;  ///< with a call: Names with those in use, please

/// Followed, with kHasFp, by the XSAVE area; with kHasData, which is never there with it, by what the call
/// reads.
struct Left {
  Head head{Msg::Left, 0, 0};  // id: vCPU
  std::uint8_t kind = 0;       ///< engine::ExitKind
  std::uint8_t vector = 0;
  std::uint16_t reserved = 0;
  std::uint32_t error_code = 0;
  std::uint64_t fault_address = 0;
  siginfo_t host_info;
  GuestRegs regs;
  std::uint64_t cpu_us = 0;     ///< CPU time of the whole remote so far
  CpuTime used;                 ///< of guest code there: of all vCPUs,
  CpuTime used_here;            ///< and of this one
  std::uint64_t waited_us = 0;  ///< between this vCPU's last call and the order that answered it
};

struct UsedSoFar {
  Head head{Msg::Used, 0, 0};
  std::uint64_t cpu_us = 0;  ///< as in Left, as the next
  CpuTime used;
};

struct Began {
  Head head{Msg::Began, 0, 0};
  std::int64_t monotonic = 0;  ///< that clock of the remote's node, nanoseconds
};

struct Leaving {
  Head head{Msg::Leaving, 0, 0};
  std::uint64_t stack_begin = 0;  ///< of the mapping that grows down, as it has grown there; ~0: none
  ClockReadings clocks;           ///< the process's, after its last instruction there
};

struct Fp {
  Head head{Msg::Fp, 0, 0};  // id: vCPU; the XSAVE area follows
};

/// PageWanted: head.id is the number of this question.
struct PageAsk {
  Head head;  // Take, Kept or PageWanted
  std::uint64_t address = 0;
};
/// Flags of PageWanted: a page that home keeps (PageKind::Shared), and which of its neighbours may come, too:
/// up to kPagesPerMessage in all, from `before` pages before it to `after` behind it.
inline constexpr std::uint16_t kWantedShared = 1;
constexpr std::uint16_t wanted_shared(unsigned before, unsigned after) {
  return static_cast<std::uint16_t>(kWantedShared | before << 4 | after << 8);
}
constexpr unsigned wanted_before(std::uint16_t flags) { return flags >> 4 & 15; }
constexpr unsigned wanted_after(std::uint16_t flags) { return flags >> 8 & 15; }

/// growth.hh.  A break or an area of 0: none.
struct Grant {
  Head head{Msg::Grant, 0, 0};
  std::uint64_t brk_start = 0, brk = 0, brk_end = 0;  ///< the break may grow up to brk_end
  std::uint64_t area_begin = 0, area_end = 0;         ///< mappings are put at its end
};
// NOLINTBEGIN(readability-identifier-naming): constants
enum GrownKind : std::uint64_t { kGrownMapping = 0, kGrownBreak = 1 };
// NOLINTEND(readability-identifier-naming)
struct GrownPiece {                  // readable and writable
  std::uint64_t begin = 0, end = 0;  ///< of a break: `end` is the break itself, on any byte
  std::uint64_t kind = kGrownMapping;
};
/// head.id pieces follow.
inline constexpr std::size_t kMostGrown = 16;
inline constexpr std::uint64_t kMostGrownBytes = std::uint64_t{1} << 20;  ///< of one mapping

/// head.id entries follow, then the data of those that have some, 4096 bytes each.
struct Pages {
  Head head{Msg::Pages, 0, 0};
  std::uint64_t sequence =
      0;  ///< bulk: the sender's last Drop, when it was sent; kPageNone: number of the question
};
inline constexpr std::uint32_t kPagesPerMessage = 16;
/// Low bits of an entry, beside the page's address.
// NOLINTBEGIN(readability-identifier-naming): constants
enum PageFlag : std::uint64_t {
  kPageData = 0,
  kPageZero = 1,        ///< all zero, no data
  kPageNone = 2,        ///< the sender has no such page: it is new, hence zero, if that question still stands
  kPageOnItsWay = 3,    ///< sent already, in the bulk stream
  kPageWarm = 4,        ///< data, before the switch: to be kept aside until kPageSame
  kPageSame = 5,        ///< no data: the warm one is right
  kPageRecent = 6,      ///< no data: that of a slot (recent.hh), whose number is in the entry's upper 16 bits
  kPageWarmRecent = 7,  ///< kPageWarm in that way
  kPagePassed = 8,      ///< kPageData that takes no slot (recent.hh)
  kPageWarmPassed = 9,  ///< kPageWarm likewise
  kPageFlags = 15,
};
// NOLINTEND(readability-identifier-naming)
inline constexpr unsigned kSlotShift = 48;
constexpr std::uint64_t page_of(std::uint64_t entry) {
  return page_down(entry & ((std::uint64_t{1} << kSlotShift) - 1));
}
/// Of a page with data in the bulk stream: `slot` is what RecentPages::find_or_add() says.
constexpr std::uint64_t bulk_flag(int slot, bool warm = false) {
  constexpr int kAdded = -1;
  if (slot == kAdded) return warm ? kPageWarm : kPageData;
  if (slot < 0) return warm ? kPageWarmPassed : kPagePassed;
  return (warm ? kPageWarmRecent : kPageRecent) | static_cast<std::uint64_t>(slot) << kSlotShift;
}
constexpr bool takes_slot(std::uint64_t flag) { return flag == kPageData || flag == kPageWarm; }
constexpr bool carries_data(std::uint64_t flag) {
  return takes_slot(flag) || flag == kPagePassed || flag == kPageWarmPassed;
}

/// head.id entries follow.
struct FilePages {
  Head head{Msg::FilePages, 0, 0};
  std::uint64_t sequence = 0;  ///< as of Pages
};
struct FilePage {
  std::uint64_t page = 0;
  std::uint64_t offset = 0;
  std::uint64_t file = 0;
};
inline constexpr std::uint32_t kFilePagesPerMessage = 512;

struct Credit {
  Head head{Msg::Credit, 0, 0};
  std::uint64_t bytes = 0;
};

/// Bytes of bulk one end may have sent and the other not yet consumed.
inline constexpr std::uint64_t kBulkWindow = 1U << 20;
static_assert(kBulkWindow * 2 <= wire::local::kRingBytes);
static_assert(sizeof(Pages) + kPagesPerMessage * (8 + kPageSize) <= wire::local::kMaxRecord);
static_assert(sizeof(FilesHead) + kFilesPerMessage * sizeof(FileEntry) <= wire::local::kMaxRecord);
static_assert(sizeof(FilePages) + kFilePagesPerMessage * sizeof(FilePage) <= wire::local::kMaxRecord);
static_assert(sizeof(Maps) + kMapsPerMessage * sizeof(MapEntry) <= wire::local::kMaxRecord);

}  // namespace hpcvmm::migrate
