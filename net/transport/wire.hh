// What the packets between two transports look like.  Little endian, nothing is aligned.
//
//   data packet    header (16, authenticated) | frames (sealed) | tag (16; absent in plain mode)
//   header         version and kind (1) | 0 (1) | key epoch (2) | session of the receiver (4) | packet number
//   (8) handshake      net/transport/handshake.hh
//
// A packet number is used once per session and is the nonce.  A frame is a type byte and what follows:
//
//   Pad            nothing; the rest of the packet is padding
//   Ping           nothing; asks for an acknowledgement
//   Ack            largest (8) | delay in us (4) | receive limits (3 x 8) | ranges - 1 (1) | length - 1 of
//   the first
//                  range, downwards from largest (4) | for every further one: numbers missing before it (4),
//                  length - 1 (4)
//   Bye            nothing; the session is over
//   KeyOffer       epoch (2) | public key (32)      KeyAnswer   the same
//   Whole + p      channel (4) | message (4) | length (2) | bytes        a message of priority p
//   Piece + p      channel (4) | message (4) | total (4) | offset (4) | length (2) | bytes
//
// Messages of a stream (a priority) are numbered from 0; the wire has the low 32 bits.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "net/transport/config.hh"
#include "net/transport/ranges.hh"

namespace hpcvmm::net {

inline constexpr std::uint8_t kWireVersion = 1;
inline constexpr std::uint32_t kHeaderBytes = 16;
inline constexpr std::uint32_t kTagBytes = 16;
inline constexpr std::size_t kMaxAckRanges = 24;
inline constexpr std::uint32_t kPublicKeyBytes = 32;
inline constexpr std::uint32_t kWholeBytes = 11;  ///< of a Whole frame, without the message
inline constexpr std::uint32_t kPieceBytes = 19;

/// Loose: a datagram without a session; what is in it is its owner's business, its authenticity too.
enum class Kind : std::uint8_t { Data = 1, Init = 2, Answer = 3, Loose = 4 };

/// Before the bytes of a Loose packet: its kind, and zeros, so that no packet is shorter than a header.
inline constexpr std::uint32_t kLooseHeaderBytes = 4;

struct Header {
  std::uint16_t epoch = 0;
  std::uint32_t session = 0;
  std::uint64_t number = 0;
};

/// `packet` has kHeaderBytes or more.
void put_header(std::byte* packet, const Header& header);
Header get_header(const std::byte* packet);
void put_kind(std::byte* packet, Kind kind);
/// Nothing: another version, or no kind at all.  `packet` is not empty.
std::optional<Kind> get_kind(std::span<const std::byte> packet);

enum class FrameType : std::uint8_t {
  Pad = 0,
  Ping = 1,
  Ack = 2,
  Bye = 3,
  KeyOffer = 4,
  KeyAnswer = 5,
  Whole = 0x10,
  Piece = 0x20
};

struct AckFrame {
  std::uint64_t largest = 0;
  std::uint32_t delay_us = 0;  ///< between receiving `largest` and sending this
  /// How much the sender of this takes altogether, per priority: see flow.hh.
  std::array<std::uint64_t, kPriorities> limits{};
  std::size_t count = 0;
  std::array<Range, kMaxAckRanges> ranges{};  ///< downwards; the first ends at largest + 1
};

struct DataFrame {
  Priority priority = Priority::Bulk;
  std::uint32_t channel = 0;
  std::uint32_t message = 0;  ///< the low 32 bits of its number
  std::uint32_t total = 0;
  std::uint32_t offset = 0;
  std::span<const std::byte> bytes;  ///< a view into the packet
  [[nodiscard]] bool whole() const { return bytes.size() == total; }
};

struct KeyFrame {
  std::uint16_t epoch = 0;
  std::array<std::uint8_t, kPublicKeyBytes> key{};
};

struct Frame {
  FrameType type = FrameType::Pad;
  AckFrame ack;
  DataFrame data;
  KeyFrame key;
};

/// Takes the frames of an authentic packet apart, one after the other; believes no length.
class FrameReader {
 public:
  explicit FrameReader(std::span<const std::byte> frames) : left_(frames) {}
  /// The next frame; false: there is none, or bad().  Only the member that `type` names is set.
  bool next(Frame& frame);
  /// What is inside makes no sense; nothing behind it can be read.
  [[nodiscard]] bool bad() const { return bad_; }

 private:
  bool read_ack(AckFrame& ack);
  bool read_ranges(AckFrame& ack, std::size_t count);
  bool read_data(DataFrame& data, std::uint8_t type);
  template <class T> bool get(T& value);
  std::span<const std::byte> left_;
  bool bad_ = false;
};

/// Puts frames into a packet, as long as there is room.
class FrameWriter {
 public:
  FrameWriter(std::byte* at, std::size_t room) : at_(at), begin_(at), end_(at + room) {}
  [[nodiscard]] std::size_t room() const { return static_cast<std::size_t>(end_ - at_); }
  /// The room there was at first.
  [[nodiscard]] std::size_t capacity() const { return static_cast<std::size_t>(end_ - begin_); }
  [[nodiscard]] std::size_t written() const { return static_cast<std::size_t>(at_ - begin_); }

  // All: false when there is no room; then nothing is written.
  bool simple(FrameType type);
  /// As many ranges as there is room for, the latest first.
  bool ack(const AckFrame& ack);
  bool key(FrameType type, const KeyFrame& key);
  /// Writes the frame's head and returns where `length` bytes go; nullptr: no room.
  std::byte* data(const DataFrame& head, std::uint32_t length);
  void pad_to(std::size_t written);

 private:
  template <class T> void put(T value);
  std::byte* at_;
  std::byte* begin_;
  std::byte* end_;
};

}  // namespace hpcvmm::net
