// Goal: what is written is read again, and what was never written so is refused.
#include "net/transport/wire.hh"

#include <gtest/gtest.h>

#include <cstring>
#include <vector>

#include "net/transport/transport.hh"

namespace hpcvmm::net {
namespace {

std::vector<std::byte> bytes(std::initializer_list<int> values) {
  std::vector<std::byte> out;
  for (const int v : values) out.push_back(static_cast<std::byte>(v));
  return out;
}

/// Frames that can be read; -1: bad.
int frames_in(std::span<const std::byte> packet) {
  FrameReader reader(packet);
  Frame frame;
  int n = 0;
  while (reader.next(frame)) ++n;
  return reader.bad() ? -1 : n;
}

AckFrame an_ack() {
  AckFrame ack;
  ack.largest = 1000;
  ack.delay_us = 77;
  ack.limits = {1, 1ULL << 40, 3};
  ack.count = 3;
  ack.ranges[0] = {990, 1001};
  ack.ranges[1] = {500, 600};
  ack.ranges[2] = {0, 1};
  return ack;
}

TEST(Wire, Header) {
  std::array<std::byte, kHeaderBytes> packet{};
  put_header(packet.data(), {7, 0x12345678, 0x1122334455667788});
  EXPECT_EQ(get_kind(packet), Kind::Data);
  const Header h = get_header(packet.data());
  EXPECT_EQ(h.epoch, 7);
  EXPECT_EQ(h.session, 0x12345678U);
  EXPECT_EQ(h.number, 0x1122334455667788U);
  packet[0] = std::byte{0x21};  // another version
  EXPECT_FALSE(get_kind(packet));
}

TEST(Wire, FramesComeBack) {
  std::array<std::byte, 2000> room{};
  FrameWriter writer(room.data(), room.size());
  ASSERT_TRUE(writer.ack(an_ack()));
  ASSERT_TRUE(writer.simple(FrameType::Ping));
  KeyFrame key;
  key.epoch = 3;
  key.key.fill(9);
  ASSERT_TRUE(writer.key(FrameType::KeyAnswer, key));
  DataFrame whole;
  whole.priority = Priority::Fault;
  whole.channel = 5;
  whole.message = 6;
  whole.total = 3;
  std::memcpy(writer.data(whole, 3), "abc", 3);
  DataFrame piece = whole;
  piece.total = 100000;
  piece.offset = 99990;
  std::memcpy(writer.data(piece, 10), "0123456789", 10);

  FrameReader reader(std::span<const std::byte>(room).first(writer.written()));
  Frame f;
  ASSERT_TRUE(reader.next(f));
  ASSERT_EQ(f.type, FrameType::Ack);
  EXPECT_EQ(f.ack.largest, 1000U);
  EXPECT_EQ(f.ack.delay_us, 77U);
  EXPECT_EQ(f.ack.limits, an_ack().limits);
  ASSERT_EQ(f.ack.count, 3U);
  for (std::size_t i = 0; i < 3; ++i) EXPECT_EQ(f.ack.ranges[i], an_ack().ranges[i]);
  ASSERT_TRUE(reader.next(f));
  EXPECT_EQ(f.type, FrameType::Ping);
  ASSERT_TRUE(reader.next(f));
  ASSERT_EQ(f.type, FrameType::KeyAnswer);
  EXPECT_EQ(f.key.epoch, 3);
  EXPECT_EQ(f.key.key, key.key);
  ASSERT_TRUE(reader.next(f));
  ASSERT_EQ(f.type, FrameType::Whole);
  EXPECT_EQ(f.data.priority, Priority::Fault);
  EXPECT_EQ(std::memcmp(f.data.bytes.data(), "abc", 3), 0);
  ASSERT_TRUE(reader.next(f));
  ASSERT_EQ(f.type, FrameType::Piece);
  EXPECT_EQ(f.data.offset, 99990U);
  EXPECT_EQ(f.data.total, 100000U);
  EXPECT_FALSE(reader.next(f));
  EXPECT_FALSE(reader.bad());
}

TEST(Wire, CutFramesAreBad) {
  std::array<std::byte, 300> room{};
  FrameWriter writer(room.data(), room.size());
  ASSERT_TRUE(writer.ack(an_ack()));
  for (std::size_t n = 1; n < writer.written(); ++n) EXPECT_EQ(frames_in(std::span(room).first(n)), -1) << n;
}

TEST(Wire, NonsenseIsBad) {
  // An unknown type, a priority that is none, a message longer than kMaxMessage, a piece outside of its
  // message, an empty piece, a piece that is a whole message.
  EXPECT_EQ(frames_in(bytes({0x77})), -1);
  EXPECT_EQ(frames_in(bytes({0x13, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0})), -1);
  const auto piece = [](std::uint32_t total, std::uint32_t offset, std::uint16_t length) {
    std::vector<std::byte> p(kPieceBytes + length);
    p[0] = std::byte{0x22};
    std::memcpy(&p[9], &total, 4);
    std::memcpy(&p[13], &offset, 4);
    std::memcpy(&p[17], &length, 2);
    return p;
  };
  EXPECT_EQ(frames_in(piece(100, 50, 10)), 1);
  EXPECT_EQ(frames_in(piece(kMaxMessage + 1, 50, 10)), -1);
  EXPECT_EQ(frames_in(piece(100, 95, 10)), -1);
  EXPECT_EQ(frames_in(piece(100, 0xffffffff, 10)), -1);
  EXPECT_EQ(frames_in(piece(100, 50, 0)), -1);
  EXPECT_EQ(frames_in(piece(100, 0, 100)), -1);
}

TEST(Wire, AckRangesBelowZeroAreBad) {
  AckFrame ack = an_ack();
  std::array<std::byte, 300> room{};
  FrameWriter writer(room.data(), room.size());
  ASSERT_TRUE(writer.ack(ack));
  const std::uint32_t long_one = 2000;
  std::memcpy(&room[1 + 8 + 4 + 24 + 1], &long_one, 4);
  EXPECT_EQ(frames_in(std::span(room).first(writer.written())), -1);
}

TEST(Wire, AckTakesTheRoomThereIs) {
  for (std::size_t size = 0; size < 120; ++size) {
    std::vector<std::byte> room(size);
    FrameWriter writer(room.data(), room.size());
    if (!writer.ack(an_ack())) {
      EXPECT_LT(size, 42U);
      continue;
    }
    EXPECT_EQ(frames_in(std::span(room).first(writer.written())), 1);
  }
}

}  // namespace
}  // namespace hpcvmm::net
