// The remote protocol's bytes: packets with checksums, hexadecimal, escapes.  Pure: no descriptor, no guest.
// Source: "GDB Remote Serial Protocol" in the GDB manual, appendix E.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace hpcvmm::gdb {

/// Longest packet body either side sends; what the stub names as PacketSize.
inline constexpr std::size_t kMaxPacket = 16384;

/// Cuts a byte stream into packets.  Everything a hostile peer can send leads to one of the kinds below; a
/// body longer than kMaxPacket is thrown away and reported as damaged.
class PacketReader {
 public:
  enum class Kind : std::uint8_t { Packet, Damaged, Interrupt };
  struct Item {
    Kind kind = Kind::Damaged;
    std::string body;  // of a packet, escapes undone
  };
  void feed(std::string_view bytes);
  /// The next complete item; nothing when more bytes are needed.  Acknowledgements ('+', '-') are skipped.
  std::optional<Item> next();

 private:
  std::string buffer_;
};

/// "$body#checksum"; the body's special characters are escaped.
std::string frame(std::string_view body);

int hex_digit(char c);  // -1: none
void put_hex_byte(std::string& out, std::uint8_t byte);
/// Bytes in memory order.
std::string to_hex(std::string_view bytes);
/// Nothing when the length is odd or a digit is none.
std::optional<std::string> from_hex(std::string_view text);
/// Big-endian number without leading zeros, as addresses and ids are written.
std::string number(std::uint64_t value);

/// Takes tokens from the front of a packet.  Every function leaves the text alone when it fails.
class Scanner {
 public:
  explicit Scanner(std::string_view text) : text_(text) {}
  /// A hexadecimal number of 1 to 16 digits.
  bool number(std::uint64_t& out);
  /// A thread id: a number, "-1" (all) or "0" (any); "pPID.TID" is understood too.
  bool thread(std::int64_t& out);
  bool literal(std::string_view wanted);
  /// Up to, not including, the first of `stops`, or the end.
  std::string_view until(std::string_view stops);
  [[nodiscard]] std::string_view rest() const { return text_; }
  [[nodiscard]] bool empty() const { return text_.empty(); }

 private:
  std::string_view text_;
};

/// Part of a document for a qXfer reply: "m..." or "l...".  Nothing: offset or length cannot be read.
std::optional<std::string> xfer_part(std::string_view document, std::string_view offset_length);

}  // namespace hpcvmm::gdb
