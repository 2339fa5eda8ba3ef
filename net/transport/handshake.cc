#include "net/transport/handshake.hh"

#include <sodium.h>

#include <cstring>
#include <string_view>

namespace hpcvmm::net {
namespace {

// Both packets: kind (1), 0 (3), session (4; of the receiver, 0 in Init), public key (32), sealed Hello,
// zeros.
constexpr std::size_t kSessionAt = 4;
constexpr std::size_t kKeyAt = 8;
constexpr std::size_t kHelloAt = kKeyAt + kPublicKeyBytes;
constexpr std::size_t kHelloBytes = 4 + 4 + 8 + 4 + 1;
// The Hello is sealed together with the zeros behind it, so that no byte of the packet can be changed.
constexpr std::size_t kSealedBytes = kHandshakeBytes - kHelloAt;
static_assert(kSealedBytes >= kHelloBytes + kTagBytes);

constexpr std::uint8_t bit(Cipher c) { return static_cast<std::uint8_t>(1U << static_cast<unsigned>(c)); }

template <class T> std::span<const std::uint8_t> bytes_of(const T& value) {
  return {reinterpret_cast<const std::uint8_t*>(&value), sizeof value};
}

/// BLAKE2b of all parts, keyed.
template <class... Parts> Key derive(const Key& key, std::string_view label, const Parts&... parts) {
  crypto_generichash_state state;
  Key out{};
  ::crypto_generichash_init(&state, key.data(), key.size(), out.size());
  const std::uint64_t length = label.size();
  ::crypto_generichash_update(&state, bytes_of(length).data(), sizeof length);
  ::crypto_generichash_update(&state, reinterpret_cast<const std::uint8_t*>(label.data()), label.size());
  (::crypto_generichash_update(&state, reinterpret_cast<const std::uint8_t*>(std::data(parts)),
                               std::size(parts)),
   ...);
  ::crypto_generichash_final(&state, out.data(), out.size());
  ::sodium_memzero(&state, sizeof state);
  return out;
}

void put_hello(std::byte* at, const Hello& h) {
  std::memcpy(at, &h.from, 4);
  std::memcpy(at + 4, &h.to, 4);
  std::memcpy(at + 8, &h.incarnation, 8);
  std::memcpy(at + 16, &h.session, 4);
  std::memcpy(at + 20, &h.ciphers, 1);
}

Hello get_hello(const std::byte* at) {
  Hello h;
  std::memcpy(&h.from, at, 4);
  std::memcpy(&h.to, at + 4, 4);
  std::memcpy(&h.incarnation, at + 8, 8);
  std::memcpy(&h.session, at + 16, 4);
  std::memcpy(&h.ciphers, at + 20, 1);
  return h;
}

// The key is used for one packet only, so the number may be the same always.
void seal_hello(HandshakePacket& packet, const Key& key, const Hello& hello) {
  put_hello(&packet[kHelloAt], hello);
  Aead aead;
  aead.set(Cipher::ChaCha20, key);
  const std::span all(packet);
  aead.seal(0, all.first(kHelloAt), all.subspan(kHelloAt, kSealedBytes - kTagBytes));
}

std::optional<Hello> open_hello(std::span<const std::byte> packet, const Key& key) {
  std::array<std::byte, kSealedBytes> sealed{};
  std::memcpy(sealed.data(), &packet[kHelloAt], sealed.size());
  Aead aead;
  aead.set(Cipher::ChaCha20, key);
  if (!aead.open(0, packet.first(kHelloAt), sealed)) return std::nullopt;
  return get_hello(sealed.data());
}

Key key_in(std::span<const std::byte> packet) {
  Key key{};
  std::memcpy(key.data(), &packet[kKeyAt], key.size());
  return key;
}

bool agree(const Key& secret, const Key& other, Key& shared) {
  return ::crypto_scalarmult(shared.data(), secret.data(), other.data()) == 0;
}

void split(const Key& chain, Cipher cipher, SessionSecrets& out) {
  out.cipher = cipher;
  out.root = derive(chain, "root");
  out.from_initiator = derive(chain, "from initiator");
  out.from_responder = derive(chain, "from responder");
}

std::optional<Cipher> choose(std::uint8_t common) {
  for (const Cipher c : {Cipher::Aes256, Cipher::ChaCha20, Cipher::Plain}) {
    if ((common & bit(c)) != 0) return c;
  }
  return std::nullopt;
}

Key answer_chain(const Key& init_chain, const Key& shared, const Key& responder) {
  return derive(init_chain, "answer", shared, responder);
}

}  // namespace

SessionSecrets::~SessionSecrets() {
  ::sodium_memzero(root.data(), root.size());
  ::sodium_memzero(from_initiator.data(), from_initiator.size());
  ::sodium_memzero(from_responder.data(), from_responder.size());
}

Ephemeral::Ephemeral() {
  ::randombytes_buf(secret.data(), secret.size());
  ::crypto_scalarmult_base(open.data(), secret.data());
}
Ephemeral::~Ephemeral() { ::sodium_memzero(secret.data(), secret.size()); }

ClusterSecret::ClusterSecret(const ClusterKey& cluster, Protection protection) {
  const bool plain = protection == Protection::PlainUnsafe;
  // Plain and sealed nodes have different secrets, so that neither can be talked into the other's mode.
  key = derive(cluster, plain ? "hpcvmm transport 1 plain" : "hpcvmm transport 1 sealed");
  ciphers = bit(plain ? Cipher::Plain : Cipher::ChaCha20);
  if (protection == Protection::Auto && aes_available()) ciphers |= bit(Cipher::Aes256);
}
ClusterSecret::~ClusterSecret() { ::sodium_memzero(key.data(), key.size()); }

Initiation::Initiation(const ClusterSecret& cluster, const Hello& own)
    : session_(own.session), ciphers_(cluster.ciphers) {
  put_kind(packet_.data(), Kind::Init);
  std::memcpy(&packet_[kKeyAt], ephemeral_.open.data(), ephemeral_.open.size());
  Hello hello = own;
  hello.ciphers = cluster.ciphers;
  seal_hello(packet_, derive(cluster.key, "init", ephemeral_.open), hello);
  chain_ = derive(cluster.key, "init packet", packet_);
}

std::optional<Hello> Initiation::finish(std::span<const std::byte> answer, SessionSecrets& secrets) const {
  if (answer.size() != kHandshakeBytes) return std::nullopt;
  const Key responder = key_in(answer);
  Key shared{};
  if (!agree(ephemeral_.secret, responder, shared)) return std::nullopt;
  const Key chain = answer_chain(chain_, shared, responder);
  ::sodium_memzero(shared.data(), shared.size());
  const auto hello = open_hello(answer, derive(chain, "answer hello"));
  if (!hello) return std::nullopt;
  const auto cipher = choose(hello->ciphers & ciphers_);
  if (!cipher || bit(*cipher) != hello->ciphers) return std::nullopt;
  split(chain, *cipher, secrets);
  return hello;
}

std::optional<InitSeen> read_init(const ClusterSecret& cluster, std::span<const std::byte> packet) {
  if (packet.size() != kHandshakeBytes) return std::nullopt;
  InitSeen seen;
  seen.ephemeral = key_in(packet);
  const auto hello = open_hello(packet, derive(cluster.key, "init", seen.ephemeral));
  if (!hello) return std::nullopt;
  seen.hello = *hello;
  seen.chain = derive(cluster.key, "init packet", packet);
  std::memcpy(&seen.fingerprint, seen.ephemeral.data(), sizeof seen.fingerprint);
  return seen;
}

std::uint32_t answer_session(std::span<const std::byte> packet) {
  std::uint32_t session = 0;
  std::memcpy(&session, &packet[kSessionAt], sizeof session);
  return session;
}

bool make_answer(const ClusterSecret& cluster, const InitSeen& init, Hello own, HandshakePacket& answer,
                 SessionSecrets& secrets) {
  const auto cipher = choose(init.hello.ciphers & cluster.ciphers);
  const Ephemeral ephemeral;
  Key shared{};
  if (!cipher || !agree(ephemeral.secret, init.ephemeral, shared)) return false;
  const Key chain = answer_chain(init.chain, shared, ephemeral.open);
  ::sodium_memzero(shared.data(), shared.size());
  own.ciphers = bit(*cipher);
  answer = {};
  put_kind(answer.data(), Kind::Answer);
  std::memcpy(&answer[kSessionAt], &init.hello.session, 4);
  std::memcpy(&answer[kKeyAt], ephemeral.open.data(), ephemeral.open.size());
  seal_hello(answer, derive(chain, "answer hello"), own);
  split(chain, *cipher, secrets);
  return true;
}

bool next_secrets(const SessionSecrets& old, const Ephemeral& own, const Key& other, bool initiator,
                  std::uint16_t epoch, SessionSecrets& out) {
  Key shared{};
  if (!agree(own.secret, other, shared)) return false;
  const Key& first = initiator ? own.open : other;
  const Key& second = initiator ? other : own.open;
  const std::span<const std::uint8_t> number = bytes_of(epoch);
  split(derive(old.root, "next", shared, first, second, number), old.cipher, out);
  ::sodium_memzero(shared.data(), shared.size());
  return true;
}

}  // namespace hpcvmm::net
