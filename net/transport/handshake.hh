// The handshake: from a cluster key to the keys of a session, in one round trip.
//
//   initiator                                              responder
//   Init    kind | ephemeral public key | sealed Hello  ->
//                                        <-  Answer  kind | session of the initiator | ephemeral key | sealed
//                                        Hello
//   the first data packet that opens under the new keys  -> (only now the responder believes)
//
// The cluster key (mixed into everything, BLAKE2b) authenticates: whoever holds it is a node of the cluster
// and may call itself any number.  The ephemeral keys (X25519) give forward secrecy: who learns the cluster
// key later cannot read what went by.  An Init is opened before any X25519 is computed, so noise is cheap to
// refuse; an Init seen before is not answered anew; an Answer is as long as an Init, so nobody can be drowned
// with our help; a replayed Init can never be confirmed, so it does not disturb the session there is.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "net/transport/aead.hh"
#include "net/transport/config.hh"
#include "net/transport/wire.hh"

namespace hpcvmm::net {

inline constexpr std::size_t kHandshakeBytes = 128;
using HandshakePacket = std::array<std::byte, kHandshakeBytes>;

/// What each side says about itself.
struct Hello {
  NodeId from = 0;
  NodeId to = 0;
  std::uint64_t incarnation = 0;
  std::uint32_t session = 0;  ///< what packets to the speaker are to carry
  std::uint8_t ciphers = 0;   ///< in Init: a bit per Cipher it can; in Answer: the one chosen
};

/// What a session begins with.
struct SessionSecrets {
  Cipher cipher = Cipher::Plain;
  Key root{};  ///< for the next keys
  Key from_initiator{};
  Key from_responder{};
  SessionSecrets() = default;
  SessionSecrets(const SessionSecrets&) = default;
  SessionSecrets& operator=(const SessionSecrets&) = default;
  ~SessionSecrets();
};

/// An X25519 key pair used once.
struct Ephemeral {
  Key secret{};
  Key open{};
  Ephemeral();
  Ephemeral(const Ephemeral&) = default;
  Ephemeral& operator=(const Ephemeral&) = default;
  ~Ephemeral();
};

/// What this node's side of every handshake is made with.
struct ClusterSecret {
  Key key{};
  std::uint8_t ciphers = 0;  ///< a bit per Cipher
  ClusterSecret(const ClusterKey& cluster, Protection protection);
  ClusterSecret(const ClusterSecret&) = default;
  ClusterSecret& operator=(const ClusterSecret&) = default;
  ~ClusterSecret();
};

/// One attempt to reach a node.
class Initiation {
 public:
  Initiation(const ClusterSecret& cluster, const Hello& own);
  [[nodiscard]] const HandshakePacket& packet() const { return packet_; }
  [[nodiscard]] std::uint32_t session() const { return session_; }
  /// What the Answer's Hello says; nothing: not an answer to this attempt by somebody with the cluster key.
  std::optional<Hello> finish(std::span<const std::byte> answer, SessionSecrets& secrets) const;

 private:
  Ephemeral ephemeral_;
  HandshakePacket packet_{};
  Key chain_{};
  std::uint32_t session_;
  std::uint8_t ciphers_;
};

/// An authentic Init, taken apart.
struct InitSeen {
  Hello hello;
  Key ephemeral{};
  Key chain{};
  std::uint64_t fingerprint = 0;  ///< tells one Init from every other
};
/// Nothing: made with another key or protection, or changed on the way.  `packet` has kHandshakeBytes.
std::optional<InitSeen> read_init(const ClusterSecret& cluster, std::span<const std::byte> packet);
/// The session an Answer is for.  `packet` has kHandshakeBytes.
std::uint32_t answer_session(std::span<const std::byte> packet);
/// Makes the Answer to `init`; `own.ciphers` is set to what was chosen.  False: no cipher in common, or a
/// public key that makes no secret.
bool make_answer(const ClusterSecret& cluster, const InitSeen& init, Hello own, HandshakePacket& answer,
                 SessionSecrets& secrets);

/// The secrets that follow `old` when both sides have exchanged new public keys.  False: a key that makes no
/// secret.
bool next_secrets(const SessionSecrets& old, const Ephemeral& own, const Key& other, bool initiator,
                  std::uint16_t epoch, SessionSecrets& out);

}  // namespace hpcvmm::net
