#include "net/transport/wire.hh"

#include <algorithm>
#include <cstring>

#include "net/transport/transport.hh"

namespace hpcvmm::net {
namespace {

constexpr std::size_t kAckFixed = 1 + 8 + 4 + 8 * kPriorities + 1 + 4;
constexpr std::size_t kAckRange = 8;

template <class T> T load(const std::byte* from) {
  T value{};
  std::memcpy(&value, from, sizeof value);
  return value;
}

template <class T> void store(std::byte* to, T value) { std::memcpy(to, &value, sizeof value); }

constexpr std::byte kind_byte(Kind kind) {
  return static_cast<std::byte>(kWireVersion << 4 | static_cast<unsigned>(kind));
}

}  // namespace

void put_kind(std::byte* packet, Kind kind) {
  packet[0] = kind_byte(kind);
  packet[1] = std::byte{0};
}

std::optional<Kind> get_kind(std::span<const std::byte> packet) {
  for (const Kind kind : {Kind::Data, Kind::Init, Kind::Answer, Kind::Loose}) {
    if (packet[0] == kind_byte(kind)) return kind;
  }
  return std::nullopt;
}

void put_header(std::byte* packet, const Header& header) {
  put_kind(packet, Kind::Data);
  store(packet + 2, header.epoch);
  store(packet + 4, header.session);
  store(packet + 8, header.number);
}

Header get_header(const std::byte* packet) {
  return {load<std::uint16_t>(packet + 2), load<std::uint32_t>(packet + 4), load<std::uint64_t>(packet + 8)};
}

template <class T> bool FrameReader::get(T& value) {
  if (left_.size() < sizeof(T)) return false;
  value = load<T>(left_.data());
  left_ = left_.subspan(sizeof(T));
  return true;
}

bool FrameReader::read_ranges(AckFrame& ack, std::size_t count) {
  std::uint32_t length = 0;
  if (!get(length) || length > ack.largest) return false;
  ack.ranges[0] = {ack.largest - length, ack.largest + 1};
  for (std::size_t i = 1; i < count; ++i) {
    std::uint32_t missing = 0;
    if (!get(missing) || !get(length)) return false;
    const std::uint64_t before = ack.ranges[i - 1].begin;
    // At least one number is missing between two ranges, and none is below 0.
    if (missing == 0 || std::uint64_t{missing} + length + 1 > before) return false;
    const std::uint64_t end = before - missing;
    ack.ranges[i] = {end - length - 1, end};
  }
  ack.count = count;
  return true;
}

bool FrameReader::read_ack(AckFrame& ack) {
  if (!get(ack.largest) || !get(ack.delay_us)) return false;
  for (auto& limit : ack.limits) {
    if (!get(limit)) return false;
  }
  std::uint8_t more = 0;
  if (!get(more) || more >= kMaxAckRanges || ack.largest == ~std::uint64_t{0}) return false;
  return read_ranges(ack, std::size_t{more} + 1);
}

bool FrameReader::read_data(DataFrame& data, std::uint8_t type) {
  const bool piece = (type & 0xf0U) == static_cast<std::uint8_t>(FrameType::Piece);
  data.priority = static_cast<Priority>(type & 0x0fU);
  data.total = data.offset = 0;
  if (!get(data.channel) || !get(data.message)) return false;
  if (piece && (!get(data.total) || !get(data.offset))) return false;
  std::uint16_t length = 0;
  if (!get(length) || left_.size() < length) return false;
  if (!piece) data.total = length;
  if (data.total > kMaxMessage || data.offset > data.total || length > data.total - data.offset) return false;
  // Only a whole message may be empty.
  if (piece && (length == 0 || length == data.total)) return false;
  data.bytes = left_.first(length);
  left_ = left_.subspan(length);
  return true;
}

bool FrameReader::next(Frame& frame) {
  std::uint8_t type = 0;
  if (bad_ || !get(type)) return false;
  frame.type = static_cast<FrameType>(type);
  switch (frame.type) {
    case FrameType::Pad: left_ = {}; return true;
    case FrameType::Ping:
    case FrameType::Bye: return true;
    case FrameType::Ack: bad_ = !read_ack(frame.ack); return !bad_;
    case FrameType::KeyOffer:
    case FrameType::KeyAnswer: bad_ = !get(frame.key.epoch) || !get(frame.key.key); return !bad_;
    default: break;
  }
  const std::uint8_t group = type & 0xf0U;
  frame.type = static_cast<FrameType>(group);
  const bool known =
      (frame.type == FrameType::Whole || frame.type == FrameType::Piece) && (type & 0x0fU) < kPriorities;
  bad_ = !known || !read_data(frame.data, type);
  return !bad_;
}

template <class T> void FrameWriter::put(T value) {
  store(at_, value);
  at_ += sizeof value;
}

bool FrameWriter::simple(FrameType type) {
  if (room() < 1) return false;
  put(type);
  return true;
}

bool FrameWriter::ack(const AckFrame& ack) {
  if (room() < kAckFixed) return false;
  const std::size_t count = std::min(ack.count, 1 + (room() - kAckFixed) / kAckRange);
  put(FrameType::Ack);
  put(ack.largest);
  put(ack.delay_us);
  for (const auto limit : ack.limits) put(limit);
  put(static_cast<std::uint8_t>(count - 1));
  const auto length = [](const Range& r) { return static_cast<std::uint32_t>(r.end - r.begin - 1); };
  put(length(ack.ranges[0]));
  for (std::size_t i = 1; i < count; ++i) {
    put(static_cast<std::uint32_t>(ack.ranges[i - 1].begin - ack.ranges[i].end));
    put(length(ack.ranges[i]));
  }
  return true;
}

bool FrameWriter::key(FrameType type, const KeyFrame& key) {
  if (room() < 1 + 2 + kPublicKeyBytes) return false;
  put(type);
  put(key.epoch);
  put(key.key);
  return true;
}

std::byte* FrameWriter::data(const DataFrame& head, std::uint32_t length) {
  const bool whole = length == head.total;
  if (room() < (whole ? kWholeBytes : kPieceBytes) + length) return nullptr;
  const auto group = static_cast<unsigned>(whole ? FrameType::Whole : FrameType::Piece);
  put(static_cast<std::uint8_t>(group | static_cast<unsigned>(head.priority)));
  put(head.channel);
  put(head.message);
  if (!whole) {
    put(head.total);
    put(head.offset);
  }
  put(static_cast<std::uint16_t>(length));
  std::byte* const at = at_;
  at_ += length;
  return at;
}

void FrameWriter::pad_to(std::size_t bytes) {
  const std::size_t target = std::min(bytes, written() + room());
  if (target <= written()) return;
  std::memset(at_, 0, target - written());
  at_ = begin_ + target;
}

}  // namespace hpcvmm::net
