// What one hpcd says to another, in messages of the transport on channel 0.  Records of channels travel on
// other transport channels: the number of a circuit at the receiver.
//
// The transport has authenticated the sender (it holds the cluster key) and keeps messages in order per
// priority; there is no order between priorities, and what is said here does not rely on any.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <variant>
#include <vector>

#include "hpcvmm/wire/local.hh"

namespace hpcvmm::daemon::peer {

using wire::local::Node;

inline constexpr std::uint16_t kVersion = 2;
/// The transport channel of these messages.
inline constexpr std::uint32_t kChannel = 0;

enum class Type : std::uint16_t {
  Gossip = 1,       // each second
  OpenRequest = 2,  // room for a remote?
  OpenReply = 3,
  OpenAck = 4,      // the reply has arrived: the remote's records may flow
  Mark = 5,         // the last one of a circuit in this priority
  Abort = 6,        // the circuit is dead, at once
  Rpc = 7,          // a question between nodes, or its answer: JSON
  Bye = 8,          // leaves in order
  Pause = 9,        // the deputy has been stopped or continued: the remote shall be, too
  Load = 10,        // the balancer's gossip: loads with their age
  Guest = 11,       // what the home knows of a process: before OpenRequest, and when people change it
  Guests = 12,      // what the node where they run has measured of a home's processes
  View = 32,        // what the view of the cluster shows of the sender
  NamesAsk = 40,    // facts along this path of yours, please
  NamesFacts = 41,  // a batch of facts (names/facts.hh)
  NamesReset = 42,  // what you have told is forgotten
};

struct Header {
  Type type;
  std::uint16_t version;
  std::uint32_t bytes;  ///< of the whole message
};

enum class NodeState : std::uint32_t { Down = 0, Up = 1, Suspect = 2, Draining = 3 };

struct Gossip {
  Header header{Type::Gossip, kVersion, sizeof(Gossip)};
  std::uint64_t epoch = 0;
  std::uint64_t memory_total = 0;
  std::uint64_t memory_free = 0;
  std::uint32_t cpus_milli = 0;  ///< 1000: one CPU
  std::uint32_t load_milli = 0;  ///< 1000: one runnable thread, of the guests and what else runs
  std::uint32_t processes = 0;   ///< at home here
  std::uint32_t guests = 0;      ///< running here for another node
  NodeState state = NodeState::Up;
  std::uint8_t policy = 0;  ///< balancer::Policy
  std::uint8_t reserved[3] = {};
};

struct OpenRequest {
  Header header{Type::OpenRequest, kVersion, sizeof(OpenRequest)};
  std::uint64_t epoch = 0;
  std::uint64_t memory = 0;
  std::uint32_t circuit = 0;  ///< the sender's
  std::uint32_t uid = 0;      ///< of the process's owner, at its home
  std::int32_t pid = 0;       ///< at its home
  std::uint16_t threads = 0;
  wire::local::EngineKind engine = wire::local::EngineKind::Kvm;
  std::uint8_t ia32 = 0;
  char comm[16] = {};
};

struct OpenReply {
  Header header{Type::OpenReply, kVersion, sizeof(OpenReply)};
  std::uint32_t to_circuit = 0;
  std::uint32_t circuit = 0;  ///< the sender's, when code is 0
  std::int32_t code = 0;
  char why[128] = {};
  std::uint32_t reserved = 0;
};

struct OpenAck {
  Header header{Type::OpenAck, kVersion, sizeof(OpenAck)};
  std::uint32_t to_circuit = 0;
  std::uint32_t reserved = 0;
};

struct Mark {
  Header header{Type::Mark, kVersion, sizeof(Mark)};
  std::uint32_t to_circuit = 0;
  char why[128] = {};  ///< empty: closed in order
  std::uint32_t reserved = 0;
};

/// Names the circuit by the sender's number, so that it works before the reply to OpenRequest has come.
struct Abort {
  Header header{Type::Abort, kVersion, sizeof(Abort)};
  std::uint32_t from_circuit = 0;
  char why[128] = {};
  std::uint32_t reserved = 0;
};

enum class RpcKind : std::uint32_t { Request = 0, Progress = 1, Final = 2 };

/// Followed by `header.bytes - sizeof(Rpc)` bytes of text.  A text longer than kMaxRpcText comes in several,
/// all but the last with `more`.
struct Rpc {
  Header header{Type::Rpc, kVersion, sizeof(Rpc)};
  std::uint64_t id = 0;  ///< the asker's
  RpcKind kind = RpcKind::Request;
  std::uint32_t more = 0;
};
inline constexpr std::size_t kMaxRpcText = 128U << 10;

struct Pause {
  Header header{Type::Pause, kVersion, sizeof(Pause)};
  std::uint32_t to_circuit = 0;
  std::uint32_t stopped = 0;  ///< 0: go on
};

/// A balancer::NodeLoad as it travels.
struct LoadEntry {
  std::uint32_t node = 0;
  std::uint32_t epoch = 0;
  std::uint32_t age_ms = 0;
  std::uint32_t speed_milli = 0;
  std::uint32_t run_queue_milli = 0;
  std::uint32_t urgency_micro = 0;
  std::uint32_t total_mib = 0;
  std::int32_t free_mib = 0;
  std::uint32_t network_kib_ps = 0;
  std::uint32_t io_kib_ps = 0;
  std::uint16_t utilisation_permille = 0;
  std::uint16_t paging_permille = 0;
  std::uint16_t cpus = 0;
  std::uint8_t orders = 0;
  std::uint8_t owner_active = 0;
};
inline constexpr std::size_t kMostLoads = 8;

/// Followed by `count` entries, the sender's own first.
struct LoadHead {
  Header header{Type::Load, kVersion, sizeof(LoadHead)};
  std::uint32_t count = 0;
  std::uint32_t answer = 0;  ///< 1: the receiver is to send its own back
};
struct LoadMessage {
  LoadHead head;
  std::array<LoadEntry, kMostLoads> entries{};
};

inline constexpr std::size_t kMostMasked = 64;
/// Staying costs more than anything: the process must leave.
inline constexpr std::uint64_t kMustLeave = ~std::uint64_t{0};

struct Guest {
  Header header{Type::Guest, kVersion, sizeof(Guest)};
  std::uint64_t cpu_used_ms = 0;  ///< of the reference CPU
  std::uint64_t stay_cost_nano = kMustLeave;
  std::int32_t pid = 0;  ///< at its home
  std::uint32_t moves = 0;
  std::uint32_t cpu_use_milli = 0;
  std::uint32_t working_set_mib = 0;
  std::uint32_t home_calls_milli = 0;  ///< per second
  std::uint32_t call_us = 0;           ///< what the way of a call home costs; 0: not known
  std::uint32_t home_kib_ps = 0;       ///< data of its calls, per second of CPU time
  std::uint32_t partner_milli = 0;     ///< messages with partners, per second of CPU time
  std::uint32_t reserved = 0;
  std::uint32_t run_on = 0;
  std::uint8_t automatic = 0;  ///< 1: the balancer sends it, not a person
  std::uint8_t locked = 0;
  std::uint8_t home_only = 0;
  std::uint8_t kind = 0;   ///< balancer::Kind
  std::uint8_t decay = 0;  ///< DecayChoice
  std::uint8_t mask_mode = 0;
  std::uint16_t mask_count = 0;
  std::uint16_t mask[kMostMasked] = {};  ///< ascending
};

struct GuestReport {
  std::uint64_t cpu_us = 0;  ///< of its remote so far
  std::int32_t pid = 0;      ///< at its home
  std::uint32_t rss_kib = 0;
  std::uint32_t cpu_use_milli = 0;
  std::uint32_t reserved = 0;
};
inline constexpr std::size_t kMostReports = 64;

/// Followed by `count` reports.
struct GuestsHead {
  Header header{Type::Guests, kVersion, sizeof(GuestsHead)};
  std::uint32_t count = 0;
  std::uint32_t reserved = 0;
};
struct GuestsMessage {
  GuestsHead head;
  std::array<GuestReport, kMostReports> reports{};
};

/// For the processes of a user of the receiver's that run at the sender.
struct NamesAsk {
  Header header{Type::NamesAsk, kVersion, sizeof(NamesAsk)};
  std::uint32_t user = 0;
  std::uint32_t reserved = 0;
  char path[wire::local::kMaxFilePath] = {};
};

/// Followed by a batch.
struct NamesFacts {
  Header header{Type::NamesFacts, kVersion, sizeof(NamesFacts)};
  std::uint32_t user = 0;
  std::uint32_t reserved = 0;
};
inline constexpr std::size_t kMaxNames = 240U << 10;

struct NamesReset {
  Header header{Type::NamesReset, kVersion, sizeof(NamesReset)};
  std::uint32_t user = 0;
  std::uint32_t reserved = 0;
};

struct Bye {
  Header header{Type::Bye, kVersion, sizeof(Bye)};
};

enum ViewText : std::uint8_t { kCpuinfo, kStat, kMeminfo, kLoadavg, kViewTexts };

/// Followed by the texts, then by `guests` GuestTime; without either for a receiver that does not want them.
struct View {
  Header header{Type::View, kVersion, sizeof(View)};
  std::uint64_t held_ms = 0;    ///< for how long it has had these CPU numbers
  std::uint32_t first_cpu = 0;  ///< ~0: it has not chosen yet
  std::uint32_t cpus = 0;
  std::uint32_t your_first = 0;  ///< the numbers that it remembers as the receiver's; ~0: none
  std::uint32_t your_cpus = 0;
  std::uint32_t text_bytes[kViewTexts] = {};
  std::uint32_t guests = 0;
  std::uint32_t wants =
      0;  ///< 1: programs look at the cluster there, so texts and guests are wanted for a while
};
inline constexpr std::size_t kMaxViewText = 48U << 10;  ///< of each
inline constexpr std::uint32_t kMaxViewGuests = 2048;

/// A process of the receiver that runs at the sender.
struct GuestTime {
  std::uint64_t cpu_us = 0;  ///< used there since it came
  std::int32_t pid = 0;      ///< at its home
  std::uint32_t reserved = 0;
};

struct ViewMessage {
  View head;
  std::string_view texts[kViewTexts];  ///< in the message
  std::vector<GuestTime> guests;
};

struct RpcMessage {
  Rpc head;
  std::string_view text;  ///< in the message
};
struct NamesMessage {
  NamesFacts head;
  std::span<const std::byte> batch;  ///< in the message
};
struct Bad {
  const char* why;
};
using Message =
    std::variant<Bad, Gossip, OpenRequest, OpenReply, OpenAck, Mark, Abort, RpcMessage, Pause, LoadMessage,
                 Guest, GuestsMessage, Bye, ViewMessage, NamesAsk, NamesMessage, NamesReset>;

/// Takes a message of channel 0 apart and checks it as local_codec does.  Pure.
Message parse(std::span<const std::byte> bytes);

/// The bytes of a Load or Guests message with its entries.
std::vector<std::byte> bytes_of(const LoadMessage& m);
std::vector<std::byte> bytes_of(const GuestsMessage& m);

/// The bytes of a message that has no text behind it.
template <class T> std::span<const std::byte> bytes_of(const T& message) {
  static_assert(std::is_trivially_copyable_v<T>);
  return std::as_bytes(std::span(&message, 1));
}

}  // namespace hpcvmm::daemon::peer
