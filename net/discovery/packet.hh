// What nodes say to each other to know who is there: one datagram, bounded, little-endian.  Pure.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "net/driver/address.hh"

namespace hpcvmm::net::discovery {

using NodeId = std::uint32_t;  ///< as in net/transport
/// Tables are sized for it.
inline constexpr NodeId kMaxNode = 65535;

inline constexpr std::uint8_t kVersion = 1;
/// Records in one packet, at most.
inline constexpr std::size_t kMaxRecords = 20;
/// Bytes of what a node tells of itself beside membership (its load), at most.
inline constexpr std::size_t kMaxLoad = 64;
/// Digests of parts of the table, in a Sync: what differs is sent, not the table.
inline constexpr std::size_t kBuckets = 64;

enum class Type : std::uint8_t {
  Announce = 1,     ///< by multicast: I am here
  Join = 2,         ///< to a seed, or to whoever is said to have my number
  Welcome = 3,      ///< the answer to both, with some members
  Ping = 4,         ///< are you there?
  Ack = 5,          ///< yes; `about`: on behalf of that node
  PingRequest = 6,  ///< ask `about` for me
  Sync = 7,         ///< the digests of my table: what of yours differs, from node `about` on?
  Records = 8,      ///< some of it; `about`: where to go on, 0: that was all
  Leave = 9,        ///< I end in order
  Conflict = 10     ///< `from` is the number's holder, or the record is: you may not have it
};
inline constexpr Type kLastType = Type::Conflict;

enum class State : std::uint8_t { Alive = 1, Suspect = 2, Dead = 3, Left = 4 };

// Of a node.
inline constexpr std::uint8_t kDraining = 1;
// Of a packet.
inline constexpr std::uint8_t kWantsAnswer = 1;
inline constexpr std::uint8_t kProbation = 2;  ///< the sender has not taken its number yet

/// What is known of a node.  `life` (its start, in milliseconds of its own calendar clock) and, within one
/// life, `version` say which of two records is the newer.
struct Record {
  NodeId node = 0;
  State state = State::Alive;
  std::uint8_t flags = 0;
  std::uint32_t version = 0;
  std::uint64_t life = 0;
  std::uint64_t machine = 0;  ///< random, remembered by the machine: who claims the number
  Address address;
  friend bool operator==(const Record&, const Record&) = default;
};
/// On the wire.
inline constexpr std::size_t kRecordBytes = 44;

struct Packet {
  Type type = Type::Ping;
  std::uint8_t flags = 0;
  Record self;                 ///< the sender; its state is Alive, or Left
  std::uint64_t sequence = 0;  ///< grows with each packet of a life
  std::uint64_t wall_ms = 0;   ///< when it was sent, calendar time
  std::uint64_t epoch = 0;     ///< of the sender's view
  std::uint64_t digest = 0;    ///< of the nodes it believes present
  std::uint32_t members = 0;   ///< how many those are
  NodeId about = 0;
  std::uint32_t token = 0;  ///< of an answer: the question's
  std::vector<std::byte> load;
  std::vector<Record> records;
  std::vector<std::uint32_t> buckets;  ///< kBuckets in a Sync, none else
};

/// Longest encoded packet.
inline constexpr std::size_t kMaxPacket = 1152;

/// The packet's bytes; longer lists than allowed are cut.
std::vector<std::byte> encode(const Packet& packet);
/// Nothing: not a packet of this version in every byte.  Work is bounded by kMaxPacket.
std::optional<Packet> parse(std::span<const std::byte> bytes);

}  // namespace hpcvmm::net::discovery
