#include "vmm/gdb/codec.hh"

#include <algorithm>

namespace hpcvmm::gdb {
namespace {

constexpr char kEscape = '}';
constexpr char kEscapeFlip = 0x20;
constexpr char kInterrupt = 0x03;
constexpr std::size_t kChecksumBytes = 3;  // '#' and two digits

std::uint8_t checksum(std::string_view body) {
  std::uint8_t sum = 0;
  for (const char c : body) sum = static_cast<std::uint8_t>(sum + static_cast<std::uint8_t>(c));
  return sum;
}

std::string unescape(std::string_view body) {
  std::string out;
  out.reserve(body.size());
  for (std::size_t i = 0; i < body.size(); ++i) {
    if (body[i] == kEscape && i + 1 < body.size()) {
      out.push_back(static_cast<char>(body[++i] ^ kEscapeFlip));
    } else {
      out.push_back(body[i]);
    }
  }
  return out;
}

}  // namespace

void PacketReader::feed(std::string_view bytes) { buffer_.append(bytes); }

std::optional<PacketReader::Item> PacketReader::next() {
  const std::size_t start = buffer_.find_first_of(std::string_view("$\x03", 2));
  buffer_.erase(0, std::min(start, buffer_.size()));  // acknowledgements and noise
  if (buffer_.empty()) return std::nullopt;
  if (buffer_.front() == kInterrupt) {
    buffer_.erase(0, 1);
    return Item{Kind::Interrupt, {}};
  }
  const std::size_t end = buffer_.find('#', 1);
  const std::size_t body_bytes = (end == std::string::npos ? buffer_.size() : end) - 1;
  if (body_bytes > 2 * kMaxPacket) {
    // Not one of ours: start again behind the '$', so that memory stays bounded whatever is sent.
    buffer_.erase(0, end == std::string::npos ? buffer_.size() : end);
    return Item{Kind::Damaged, {}};
  }
  if (end == std::string::npos || buffer_.size() < end + kChecksumBytes) return std::nullopt;
  const std::string_view body = std::string_view(buffer_).substr(1, end - 1);
  const int high = hex_digit(buffer_[end + 1]);
  const int low = hex_digit(buffer_[end + 2]);
  Item item;
  if (high >= 0 && low >= 0 && high * 16 + low == checksum(body)) item = {Kind::Packet, unescape(body)};
  buffer_.erase(0, end + kChecksumBytes);
  return item;
}

std::string frame(std::string_view body) {
  std::string out = "$";
  out.reserve(body.size() + 4);
  for (const char c : body) {
    if (c == '$' || c == '#' || c == kEscape || c == '*') {
      out.push_back(kEscape);
      out.push_back(static_cast<char>(c ^ kEscapeFlip));
    } else {
      out.push_back(c);
    }
  }
  const std::uint8_t sum = checksum(std::string_view(out).substr(1));
  out.push_back('#');
  put_hex_byte(out, sum);
  return out;
}

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

void put_hex_byte(std::string& out, std::uint8_t byte) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  out.push_back(kDigits[byte >> 4]);
  out.push_back(kDigits[byte & 15]);
}

std::string to_hex(std::string_view bytes) {
  std::string out;
  out.reserve(bytes.size() * 2);
  for (const char c : bytes) put_hex_byte(out, static_cast<std::uint8_t>(c));
  return out;
}

std::optional<std::string> from_hex(std::string_view text) {
  if (text.size() % 2 != 0) return std::nullopt;
  std::string out;
  out.reserve(text.size() / 2);
  for (std::size_t i = 0; i < text.size(); i += 2) {
    const int high = hex_digit(text[i]);
    const int low = hex_digit(text[i + 1]);
    if (high < 0 || low < 0) return std::nullopt;
    out.push_back(static_cast<char>(high * 16 + low));
  }
  return out;
}

std::string number(std::uint64_t value) {
  std::string bytes;
  for (int shift = 56; shift >= 0; shift -= 8) put_hex_byte(bytes, static_cast<std::uint8_t>(value >> shift));
  const std::size_t first = bytes.find_first_not_of('0');
  return first == std::string::npos ? "0" : bytes.substr(first);
}

bool Scanner::number(std::uint64_t& out) {
  constexpr std::size_t kMostDigits = 16;
  std::uint64_t value = 0;
  std::size_t n = 0;
  for (; n < text_.size(); ++n) {
    const int digit = hex_digit(text_[n]);
    if (digit < 0) break;
    if (n == kMostDigits) return false;
    value = value << 4 | static_cast<std::uint64_t>(digit);
  }
  if (n == 0) return false;
  text_.remove_prefix(n);
  out = value;
  return true;
}

bool Scanner::thread(std::int64_t& out) {
  Scanner at = *this;
  std::uint64_t value = 0;
  if (at.literal("p")) {
    if (!at.literal("-1") && !at.number(value)) return false;
    if (!at.literal(".")) {
      out = -1;
      *this = at;
      return true;
    }
  }
  if (at.literal("-1")) {
    out = -1;
  } else {
    if (!at.number(value) || value > 0x7fff'ffffU) return false;
    out = static_cast<std::int64_t>(value);
  }
  *this = at;
  return true;
}

bool Scanner::literal(std::string_view wanted) {
  if (text_.substr(0, wanted.size()) != wanted) return false;
  text_.remove_prefix(wanted.size());
  return true;
}

std::string_view Scanner::until(std::string_view stops) {
  const std::size_t n = std::min(text_.find_first_of(stops), text_.size());
  const std::string_view part = text_.substr(0, n);
  text_.remove_prefix(n);
  return part;
}

std::optional<std::string> xfer_part(std::string_view document, std::string_view offset_length) {
  Scanner s(offset_length);
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
  if (!s.number(offset) || !s.literal(",") || !s.number(length) || !s.empty()) return std::nullopt;
  if (offset > document.size()) return std::nullopt;
  // Escapes may double the size on the wire.
  const std::size_t most = std::min<std::uint64_t>({length, kMaxPacket / 2 - 8, document.size() - offset});
  const bool last = offset + most == document.size();
  return (last ? "l" : "m") + std::string(document.substr(offset, most));
}

}  // namespace hpcvmm::gdb
