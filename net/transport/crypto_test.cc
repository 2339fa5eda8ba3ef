// Goal: packets are sealed as the algorithms say, only the right key opens, each packet opens once, and the
// two sides of a handshake or of new keys agree - while any change to a packet is noticed.
#include <gtest/gtest.h>
#include <sodium.h>

#include <cstring>
#include <random>
#include <vector>

#include "net/transport/handshake.hh"
#include "net/transport/keys.hh"

namespace hpcvmm::net {
namespace {

class Crypto : public ::testing::Test {
 protected:
  void SetUp() override { ASSERT_TRUE(crypto_start()); }
};

ClusterKey cluster_key(std::uint8_t fill) {
  ClusterKey key{};
  key.fill(fill);
  return key;
}

Key some_key(std::uint8_t fill) {
  Key key{};
  key.fill(fill);
  return key;
}

std::vector<std::byte> text(std::size_t n) {
  std::vector<std::byte> t(n + kTagBytes);
  for (std::size_t i = 0; i < n; ++i) t[i] = static_cast<std::byte>(i * 13);
  return t;
}

TEST_F(Crypto, AesIsWhatLibsodiumMakes) {
  // No CPU without AES instructions runs this project's engines; if one does, ChaCha20 is what is used.
  ASSERT_EQ(aes_available(), crypto_aead_aes256gcm_is_available() != 0);
  if (!aes_available()) return;
  const Key key = some_key(3);
  Aead aead;
  aead.set(Cipher::Aes256, key);
  const auto header = text(0);
  for (const std::size_t n : {0, 1, 15, 16, 17, 64, 1000, 4112, 8900}) {
    const auto plain = text(n);
    auto sealed = plain;
    const std::uint64_t number = 0x1122334455667788ULL + n;
    aead.seal(number, header, std::span(sealed).first(n));
    std::array<std::uint8_t, 12> nonce{};
    std::memcpy(&nonce[4], &number, 8);
    std::vector<std::uint8_t> expected(n + kTagBytes);
    unsigned long long length = 0;
    crypto_aead_aes256gcm_encrypt(expected.data(), &length,
                                  reinterpret_cast<const std::uint8_t*>(plain.data()), n,
                                  reinterpret_cast<const std::uint8_t*>(header.data()), header.size(),
                                  nullptr, nonce.data(), key.data());
    ASSERT_EQ(length, sealed.size());
    EXPECT_EQ(std::memcmp(sealed.data(), expected.data(), sealed.size()), 0) << n;
  }
}

TEST_F(Crypto, ChangedPacketsDoNotOpen) {
  for (const Cipher cipher : {Cipher::ChaCha20, Cipher::Aes256}) {
    if (cipher == Cipher::Aes256 && !aes_available()) continue;
    SCOPED_TRACE(cipher_name(cipher));
    Aead aead;
    aead.set(cipher, some_key(1));
    const auto header = text(0);
    const std::size_t n = 100;
    auto sealed = text(n);
    aead.seal(9, header, std::span(sealed).first(n));
    auto copy = sealed;
    EXPECT_TRUE(aead.open(9, header, copy));
    EXPECT_EQ(std::memcmp(copy.data(), text(n).data(), n), 0);
    for (std::size_t i = 0; i < sealed.size(); ++i) {
      copy = sealed;
      copy[i] ^= std::byte{1};
      EXPECT_FALSE(aead.open(9, header, copy)) << i;
    }
    copy = sealed;
    EXPECT_FALSE(aead.open(10, header, copy)) << "another number";
    auto other_header = header;
    other_header[0] ^= std::byte{1};
    copy = sealed;
    EXPECT_FALSE(aead.open(9, other_header, copy)) << "another header";
    copy = sealed;
    EXPECT_FALSE(aead.open(9, header, std::span(copy).first(n - 1))) << "cut";
    copy = sealed;
    EXPECT_FALSE(aead.open(9, header, std::span(copy).first(kTagBytes - 1))) << "shorter than a tag";
  }
}

TEST_F(Crypto, ReplayWindowLikeASet) {
  std::mt19937_64 random(5);
  ReplayWindow window;
  std::vector<bool> seen(100000);
  std::uint64_t top = 0;
  for (int i = 0; i < 200000; ++i) {
    const std::uint64_t jump = random() % 100 == 0 ? random() % 12000 : random() % 8;
    std::uint64_t n = random() % 2 == 0 ? top + jump : top - std::min<std::uint64_t>(top, random() % 9000);
    if (n >= seen.size()) break;
    const bool too_old = top + 1 > n + ReplayWindow::kPackets;
    ASSERT_EQ(window.fresh(n), !seen[n] && !too_old) << n << " of " << top;
    if (!window.fresh(n)) continue;
    window.mark(n);
    seen[n] = true;
    top = std::max(top, n);
  }
  EXPECT_GT(top, 90000U);
}

Hello hello(NodeId from, NodeId to, std::uint32_t session) {
  Hello h;
  h.from = from;
  h.to = to;
  h.incarnation = 1000 + from;
  h.session = session;
  return h;
}

TEST_F(Crypto, HandshakeAgrees) {
  for (const Protection protection : {Protection::Auto, Protection::ChaCha20, Protection::PlainUnsafe}) {
    const ClusterSecret cluster(cluster_key(1), protection);
    const Initiation attempt(cluster, hello(1, 2, 11));
    const auto init = read_init(cluster, attempt.packet());
    ASSERT_TRUE(init);
    EXPECT_EQ(init->hello.from, 1U);
    EXPECT_EQ(init->hello.session, 11U);
    EXPECT_EQ(init->hello.incarnation, 1001U);
    HandshakePacket answer{};
    SessionSecrets theirs;
    ASSERT_TRUE(make_answer(cluster, *init, hello(2, 1, 22), answer, theirs));
    EXPECT_LE(answer.size(), attempt.packet().size()) << "an answer must not be longer than what asks for it";
    EXPECT_EQ(answer_session(answer), 11U);
    SessionSecrets ours;
    const auto from = attempt.finish(answer, ours);
    ASSERT_TRUE(from);
    EXPECT_EQ(from->session, 22U);
    EXPECT_EQ(ours.cipher, theirs.cipher);
    EXPECT_EQ(ours.root, theirs.root);
    EXPECT_EQ(ours.from_initiator, theirs.from_initiator);
    EXPECT_EQ(ours.from_responder, theirs.from_responder);
    EXPECT_NE(ours.from_initiator, ours.from_responder);
  }
}

TEST_F(Crypto, MixedProtectionsAgreeOrRefuse) {
  const ClusterSecret strong(cluster_key(1), Protection::Auto);
  const ClusterSecret chacha(cluster_key(1), Protection::ChaCha20);
  const ClusterSecret plain(cluster_key(1), Protection::PlainUnsafe);
  const Initiation attempt(strong, hello(1, 2, 11));
  const auto init = read_init(chacha, attempt.packet());
  ASSERT_TRUE(init);
  HandshakePacket answer{};
  SessionSecrets secrets;
  ASSERT_TRUE(make_answer(chacha, *init, hello(2, 1, 22), answer, secrets));
  EXPECT_EQ(secrets.cipher, Cipher::ChaCha20);
  EXPECT_FALSE(read_init(plain, attempt.packet())) << "nobody is talked into plain mode";
}

TEST_F(Crypto, ChangedHandshakesAreRefused) {
  const ClusterSecret cluster(cluster_key(1), Protection::Auto);
  const Initiation attempt(cluster, hello(1, 2, 11));
  EXPECT_FALSE(read_init(ClusterSecret(cluster_key(2), Protection::Auto), attempt.packet()))
      << "another cluster key";
  EXPECT_FALSE(read_init(cluster, std::span(attempt.packet()).first(kHandshakeBytes - 1)));
  const auto init = read_init(cluster, attempt.packet());
  ASSERT_TRUE(init);
  HandshakePacket answer{};
  SessionSecrets secrets;
  ASSERT_TRUE(make_answer(cluster, *init, hello(2, 1, 22), answer, secrets));
  for (std::size_t i = 0; i < kHandshakeBytes; ++i) {
    HandshakePacket changed = attempt.packet();
    changed[i] ^= std::byte{1};
    EXPECT_FALSE(read_init(cluster, changed)) << "byte " << i << " of Init";
    changed = answer;
    changed[i] ^= std::byte{1};
    SessionSecrets out;
    EXPECT_FALSE(attempt.finish(changed, out)) << "byte " << i << " of Answer";
  }
  const Initiation another(cluster, hello(1, 2, 11));
  SessionSecrets out;
  EXPECT_FALSE(another.finish(answer, out)) << "the answer to another attempt";
}

TEST_F(Crypto, LowOrderKeysAreRefused) {
  // An ephemeral key of zeros makes a shared secret of zeros, which everybody knows.
  const ClusterSecret cluster(cluster_key(1), Protection::Auto);
  const Initiation attempt(cluster, hello(1, 2, 11));
  auto init = read_init(cluster, attempt.packet());
  ASSERT_TRUE(init);
  init->ephemeral = {};
  HandshakePacket answer{};
  SessionSecrets secrets;
  EXPECT_FALSE(make_answer(cluster, *init, hello(2, 1, 22), answer, secrets));
}

struct Pair {
  Pair() {
    const ClusterSecret cluster(cluster_key(1), Protection::Auto);
    const Initiation attempt(cluster, hello(1, 2, 11));
    HandshakePacket answer{};
    SessionSecrets theirs;
    SessionSecrets ours;
    make_answer(cluster, *read_init(cluster, attempt.packet()), hello(2, 1, 22), answer, theirs);
    attempt.finish(answer, ours);
    a = std::make_unique<SessionKeys>(ours, true, 0);
    b = std::make_unique<SessionKeys>(theirs, false, 0);
  }
  std::unique_ptr<SessionKeys> a;
  std::unique_ptr<SessionKeys> b;
};

std::vector<std::byte> packet_of(SessionKeys& from, std::uint64_t number) {
  std::vector<std::byte> packet(kHeaderBytes + 40 + kTagBytes);
  packet.resize(from.seal(packet.data(), 40, 5, number));
  return packet;
}

std::optional<Drop> drop_of(SessionKeys& to, std::vector<std::byte> packet, Nanos now = 1) {
  Drop why{};
  const auto opened = to.open(packet, get_header(packet.data()), now, why);
  return opened ? std::nullopt : std::optional(why);
}

TEST_F(Crypto, PacketsOpenOnce) {
  Pair p;
  const auto packet = packet_of(*p.a, 0);
  EXPECT_EQ(drop_of(*p.b, packet), std::nullopt);
  EXPECT_EQ(drop_of(*p.b, packet), Drop::Replayed);
  EXPECT_EQ(drop_of(*p.a, packet), Drop::Forged) << "sent back to where it came from";
  auto cut = packet_of(*p.a, 1);
  cut.resize(kHeaderBytes + 3);
  EXPECT_EQ(drop_of(*p.b, cut), Drop::Truncated);
  auto changed = packet_of(*p.a, 2);
  changed[20] ^= std::byte{4};
  EXPECT_EQ(drop_of(*p.b, changed), Drop::Forged);
  auto other_epoch = packet_of(*p.a, 3);
  other_epoch[2] = std::byte{9};
  EXPECT_EQ(drop_of(*p.b, other_epoch), Drop::OldKey);
}

TEST_F(Crypto, NewKeysFollow) {
  Pair p;
  std::uint64_t number = 0;
  const auto old_packet = packet_of(*p.a, 1000);
  for (std::uint16_t round = 1; round <= 5; ++round) {
    const auto late = packet_of(*p.a, number++);
    const KeyFrame offer = p.a->offer();
    EXPECT_EQ(offer.epoch, round);
    EXPECT_FALSE(p.a->answer(offer)) << "the initiator answers nothing";
    const auto answer = p.b->answer(offer);
    ASSERT_TRUE(answer);
    EXPECT_EQ(p.b->answer(offer)->key, answer->key) << "an offer that comes twice has one answer";
    ASSERT_TRUE(p.a->answered(*answer, 1));
    EXPECT_FALSE(p.a->answered(*answer, 1));
    EXPECT_EQ(drop_of(*p.a, packet_of(*p.b, 100U + round)), std::nullopt) << "b still uses the old keys";
    EXPECT_EQ(drop_of(*p.b, packet_of(*p.a, number++)), std::nullopt) << "a uses the new ones";
    EXPECT_EQ(p.b->epoch(), round);
    EXPECT_EQ(drop_of(*p.b, late), std::nullopt) << "a straggler under the old keys";
    EXPECT_EQ(drop_of(*p.a, packet_of(*p.b, 200U + round)), std::nullopt) << "b follows";
  }
  EXPECT_EQ(drop_of(*p.b, old_packet), Drop::OldKey);
  const auto late = packet_of(*p.a, number++);
  ASSERT_TRUE(p.a->answered(*p.b->answer(p.a->offer()), 1));
  EXPECT_EQ(drop_of(*p.b, packet_of(*p.a, number++)), std::nullopt);
  EXPECT_EQ(drop_of(*p.b, late, 60 * kSecond), Drop::OldKey) << "old keys do not live for ever";
}

}  // namespace
}  // namespace hpcvmm::net
