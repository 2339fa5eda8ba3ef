#include "net/transport/aead.hh"

#include <sodium.h>

#include <cstring>

#include "net/transport/wire.hh"

// After the others: it defines short macros.
#include <intel-ipsec-mb.h>

namespace hpcvmm::net {
namespace {

using Nonce = std::array<std::uint8_t, 12>;
static_assert(sizeof(Nonce) == crypto_aead_chacha20poly1305_IETF_NPUBBYTES);

Nonce nonce_of(std::uint64_t number) {
  Nonce nonce{};
  std::memcpy(&nonce[4], &number, sizeof number);
  return nonce;
}

std::uint8_t* raw(std::byte* p) { return reinterpret_cast<std::uint8_t*>(p); }
const std::uint8_t* raw(const std::byte* p) { return reinterpret_cast<const std::uint8_t*>(p); }

// The library's table of functions for this CPU; made once, never changed, so any thread may use it.
IMB_MGR* manager() {
  static IMB_MGR* const instance = [] {
    IMB_MGR* const m = ::alloc_mb_mgr(0);
    if (m == nullptr) return m;
    IMB_ARCH arch{};
    ::init_mb_mgr_auto(m, &arch);
    if (::imb_get_errno(m) == 0) return m;
    ::free_mb_mgr(m);
    return static_cast<IMB_MGR*>(nullptr);
  }();
  return instance;
}

}  // namespace

std::string_view cipher_name(Cipher c) {
  switch (c) {
    case Cipher::Plain: return "plain";
    case Cipher::ChaCha20: return "chacha20-poly1305";
    case Cipher::Aes256: return "aes-256-gcm";
  }
  return "?";
}

bool crypto_start() { return ::sodium_init() >= 0; }

bool aes_available() { return crypto_aead_aes256gcm_is_available() != 0 && manager() != nullptr; }

struct Aead::Aes {
  alignas(64) gcm_key_data key{};
  alignas(64) gcm_context_data context{};
};

Aead::Aead() = default;
Aead::~Aead() { clear(); }
Aead::Aead(Aead&& o) noexcept : aes_(std::move(o.aes_)), key_(o.key_), cipher_(o.cipher_), set_(o.set_) {
  o.clear();
}
Aead& Aead::operator=(Aead&& o) noexcept {
  if (this != &o) {
    clear();
    aes_ = std::move(o.aes_);
    key_ = o.key_;
    cipher_ = o.cipher_;
    set_ = o.set_;
    o.clear();
  }
  return *this;
}

void Aead::set(Cipher cipher, const Key& key) {
  clear();
  cipher_ = cipher;
  set_ = true;
  if (cipher == Cipher::ChaCha20) key_ = key;
  if (cipher == Cipher::Aes256) {
    aes_ = std::make_unique<Aes>();
    IMB_AES256_GCM_PRE(manager(), key.data(), &aes_->key);
  }
}

void Aead::clear() {
  if (aes_) ::sodium_memzero(aes_.get(), sizeof(Aes));
  aes_.reset();
  ::sodium_memzero(key_.data(), key_.size());
  cipher_ = Cipher::Plain;
  set_ = false;
}

void Aead::seal(std::uint64_t number, std::span<const std::byte> header, std::span<std::byte> data) {
  const Nonce nonce = nonce_of(number);
  std::uint8_t* const text = raw(data.data());
  std::uint8_t* const tag = text + data.size();
  if (cipher_ == Cipher::Aes256) {
    IMB_AES256_GCM_ENC(manager(), &aes_->key, &aes_->context, text, text, data.size(), nonce.data(),
                       raw(header.data()), header.size(), tag, kTagBytes);
  } else if (cipher_ == Cipher::ChaCha20) {
    ::crypto_aead_chacha20poly1305_ietf_encrypt_detached(text, tag, nullptr, text, data.size(),
                                                         raw(header.data()), header.size(), nullptr,
                                                         nonce.data(), key_.data());
  }
}

bool Aead::open(std::uint64_t number, std::span<const std::byte> header, std::span<std::byte> sealed) {
  if (cipher_ == Cipher::Plain) return true;
  if (sealed.size() < kTagBytes) return false;
  const Nonce nonce = nonce_of(number);
  std::uint8_t* const text = raw(sealed.data());
  const std::size_t bytes = sealed.size() - kTagBytes;
  const std::uint8_t* const tag = text + bytes;
  if (cipher_ == Cipher::Aes256) {
    std::array<std::uint8_t, kTagBytes> expected{};
    IMB_AES256_GCM_DEC(manager(), &aes_->key, &aes_->context, text, text, bytes, nonce.data(),
                       raw(header.data()), header.size(), expected.data(), expected.size());
    return ::sodium_memcmp(expected.data(), tag, kTagBytes) == 0;
  }
  return ::crypto_aead_chacha20poly1305_ietf_decrypt_detached(text, nullptr, text, bytes, tag,
                                                              raw(header.data()), header.size(), nonce.data(),
                                                              key_.data()) == 0;
}

}  // namespace hpcvmm::net
