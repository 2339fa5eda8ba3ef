#include "vmm/gdb/codec.hh"

#include <gtest/gtest.h>

#include <random>

#include "vmm/gdb/signal_map.hh"

namespace hpcvmm::gdb {
namespace {

using Kind = PacketReader::Kind;

std::string body_of(PacketReader& r) {
  auto item = r.next();
  return item && item->kind == Kind::Packet ? item->body : "<none>";
}

TEST(Frame, ChecksumAndEscapes) {
  EXPECT_EQ(frame("OK"), "$OK#9a");
  EXPECT_EQ(frame(""), "$#00");
  EXPECT_EQ(frame("a}b").substr(0, 5), "$a}]b");
}

TEST(Reader, PacketsInPiecesAmongAcks) {
  PacketReader r;
  r.feed("+++$g");
  EXPECT_FALSE(r.next());
  r.feed("#6");
  EXPECT_FALSE(r.next());
  r.feed("7+\x03$?#3f");
  EXPECT_EQ(body_of(r), "g");
  EXPECT_EQ(r.next()->kind, Kind::Interrupt);
  EXPECT_EQ(body_of(r), "?");
  EXPECT_FALSE(r.next());
}

TEST(Reader, DamagedIsSaidOnceAndTheNextIsRead) {
  PacketReader r;
  r.feed("$g#00$g#zz$g#67");
  EXPECT_EQ(r.next()->kind, Kind::Damaged);
  EXPECT_EQ(r.next()->kind, Kind::Damaged);
  EXPECT_EQ(body_of(r), "g");
}

TEST(Reader, EndlessBodyIsBounded) {
  PacketReader r;
  bool damaged = false;
  r.feed("$");
  for (int i = 0; i < 100; ++i) {
    r.feed(std::string(4096, 'x'));
    while (auto item = r.next()) damaged = damaged || item->kind == Kind::Damaged;
  }
  EXPECT_TRUE(damaged);
  r.feed("#00$g#67");
  std::string last;
  while (auto item = r.next())
    if (item->kind == Kind::Packet) last = item->body;
  EXPECT_EQ(last, "g");
}

TEST(Reader, EveryByteSurvivesTheFrame) {
  std::mt19937 random(7);
  for (int round = 0; round < 200; ++round) {
    std::string body(random() % 300, '\0');
    for (char& c : body) c = static_cast<char>(random());
    PacketReader r;
    const std::string bytes = frame(body);
    for (const char c : bytes) r.feed(std::string(1, c));
    ASSERT_EQ(body_of(r), body) << "round " << round;
  }
}

TEST(Reader, NoiseNeverStops) {
  std::mt19937 random(11);
  PacketReader r;
  constexpr std::string_view kLikely = "$#}\x03+-gmM0f,:";
  for (int i = 0; i < 20000; ++i) {
    std::string piece(random() % 40, '\0');
    for (char& c : piece)
      c = random() % 2 != 0 ? kLikely[random() % kLikely.size()] : static_cast<char>(random());
    r.feed(piece);
    while (r.next()) {
    }
  }
  r.feed("##$g#67");
  std::string last;
  while (auto item = r.next())
    if (item->kind == Kind::Packet) last = item->body;
  EXPECT_EQ(last, "g");
}

TEST(Hex, BothWaysAndBadInput) {
  EXPECT_EQ(to_hex(std::string("\x00\xff", 2)), "00ff");
  EXPECT_EQ(*from_hex("00Ff"), std::string("\x00\xff", 2));
  EXPECT_FALSE(from_hex("0"));
  EXPECT_FALSE(from_hex("0g"));
  EXPECT_EQ(number(0), "0");
  EXPECT_EQ(number(0x7f00), "7f00");
}

TEST(Scanner, NumbersAndThreads) {
  std::uint64_t v = 0;
  EXPECT_TRUE(Scanner("ffffffffffffffff").number(v));
  EXPECT_EQ(v, ~std::uint64_t{0});
  EXPECT_FALSE(Scanner("10000000000000000").number(v));
  EXPECT_FALSE(Scanner("").number(v));
  std::int64_t t = 0;
  EXPECT_TRUE(Scanner("-1").thread(t));
  EXPECT_EQ(t, -1);
  EXPECT_TRUE(Scanner("p1.2a").thread(t));
  EXPECT_EQ(t, 0x2a);
  EXPECT_FALSE(Scanner("80000000").thread(t));
  EXPECT_FALSE(Scanner("p").thread(t));
}

TEST(Xfer, Parts) {
  EXPECT_EQ(*xfer_part("hello", "0,3"), "mhel");
  EXPECT_EQ(*xfer_part("hello", "3,ff"), "llo");
  EXPECT_EQ(*xfer_part("hello", "5,1"), "l");
  EXPECT_FALSE(xfer_part("hello", "6,1"));
  EXPECT_FALSE(xfer_part("hello", "0"));
  EXPECT_FALSE(xfer_part("hello", "0,ffffffffffffffff0"));
  EXPECT_EQ(*xfer_part("hello", "0,ffffffffffffffff"), "lhello");
}

TEST(Signals, ThereAndBack) {
  for (int s = 1; s <= 64; ++s) {
    if (s == 16) continue;
    EXPECT_EQ(from_gdb_signal(static_cast<unsigned>(to_gdb_signal(s))), s);
  }
  EXPECT_EQ(to_gdb_signal(10), 30);  // SIGUSR1
  EXPECT_EQ(to_gdb_signal(7), 10);   // SIGBUS
  EXPECT_EQ(from_gdb_signal(143), 0);
  EXPECT_EQ(from_gdb_signal(7), 0);  // SIGEMT
}

}  // namespace
}  // namespace hpcvmm::gdb
