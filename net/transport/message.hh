// Messages on their way out and in.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "net/transport/config.hh"
#include "net/transport/ranges.hh"
#include "net/transport/transport.hh"

namespace hpcvmm::net {

/// What a message costs of a queue or a receive window: its bytes, and something for being a message.
constexpr std::uint64_t charge_of(std::uint64_t bytes) { return bytes + 64; }

/// A message accepted by send(), until all of it is acknowledged and no packet record speaks of it.
struct OutMessage {
  std::uint64_t seq = 0;
  std::uint64_t charge_end = 0;  ///< the stream's charges up to and with this message
  std::uint64_t token = 0;
  std::uint32_t channel = 0;
  std::uint32_t total = 0;
  std::uint32_t next_offset = 0;  ///< up to here it was sent once
  std::uint32_t refs = 0;         ///< packet records and resend entries that name it
  Priority priority = Priority::Bulk;
  bool borrowed = false;
  bool done = false;  ///< acknowledged (or given up): the bytes are gone
  std::uint8_t part_count = 0;
  std::byte* own = nullptr;
  std::array<Part, Transport::kMaxParts> parts{};
  Ranges acked;

  /// Copies bytes [offset, offset + length) to `to`.
  void copy(std::uint32_t offset, std::uint32_t length, std::byte* to) const;
};

/// A piece of a message, as a packet carried it.
struct Piece {
  OutMessage* message = nullptr;
  std::uint32_t offset = 0;
  std::uint32_t bytes = 0;
};

/// A message that has come in part, or waits for its turn.
struct Assembly {
  std::uint32_t channel = 0;
  std::uint32_t total = 0;
  std::uint64_t got_bytes = 0;
  bool complete = false;
  bool lent = false;  ///< `memory` is the handler's
  std::byte* memory = nullptr;
  Ranges got;
};

}  // namespace hpcvmm::net
