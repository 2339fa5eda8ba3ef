// Aead: seals and opens the packets of one direction under one key.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

namespace hpcvmm::net {

using Key = std::array<std::uint8_t, 32>;

enum class Cipher : std::uint8_t { Plain = 0, ChaCha20 = 1, Aes256 = 2 };
std::string_view cipher_name(Cipher c);

/// Starts the crypto libraries; once per process is enough, more does no harm.  False: libsodium does not
/// start.
bool crypto_start();
/// Whether this CPU has AES and carry-less multiplication; without, AES-256-GCM is neither fast nor safe.
bool aes_available();

class Aead {
 public:
  Aead();
  Aead(const Aead&) = delete;
  Aead& operator=(const Aead&) = delete;
  Aead(Aead&&) noexcept;
  Aead& operator=(Aead&&) noexcept;
  ~Aead();

  void set(Cipher cipher, const Key& key);
  /// Forgets the key.
  void clear();
  [[nodiscard]] bool set() const { return set_; }

  /// Encrypts `data` in place and writes kTagBytes behind it.  `number` is used once under a key.
  void seal(std::uint64_t number, std::span<const std::byte> header, std::span<std::byte> data);
  /// `sealed`: ciphertext and tag; the plaintext is left in place.  False: not authentic; the bytes are then
  /// anything.
  bool open(std::uint64_t number, std::span<const std::byte> header, std::span<std::byte> sealed);

 private:
  struct Aes;
  std::unique_ptr<Aes> aes_;
  Key key_{};
  Cipher cipher_ = Cipher::Plain;
  bool set_ = false;
};

}  // namespace hpcvmm::net
