// sendmsg and recvmsg of IA32 programs.  Control data is laid out differently there, so the kernel's own
// entry must do it: such messages stand below 4 GiB, if they are in copies.  Those without it are made by the
// 64-bit call.
#include <sys/socket.h>

#include <cstddef>
#include <cstring>

#include "vmm/sys/deep.hh"
#include "vmm/sys/low.hh"
#include "vmm/sys/marshal.hh"
#include "vmm/sys/messages.hh"

namespace hpcvmm::sys {
namespace {

constexpr std::size_t kMaxIov = 64;  // more do not travel

/// The fields the kernel writes.
bool give_back(const Passing& p, const Msghdr32& m, const Msghdr32& written) {
  const auto put = [&](std::size_t at, std::uint32_t value) {
    return p.gate.copy_out(p.arg(1) + at, &value, sizeof value);
  };
  return (m.name == 0 || put(offsetof(Msghdr32, namelen), static_cast<std::uint32_t>(written.namelen))) &&
         put(offsetof(Msghdr32, controllen), written.controllen) &&
         put(offsetof(Msghdr32, flags), written.flags);
}

SysRet pass_wide(const Passing& p, const Msghdr32& small, std::array<iovec, kMaxIov>& iov, bool sending) {
  msghdr m{};
  m.msg_name = std::bit_cast<void*>(std::uint64_t{small.name});
  m.msg_namelen = static_cast<socklen_t>(small.namelen);
  m.msg_iov = iov.data();
  m.msg_iovlen = small.iovlen;
  stage_iovec(p, iov.data(), small.iovlen);
  constexpr std::int32_t kLongest = sizeof(sockaddr_storage);
  const std::int32_t name = sending ? small.namelen : std::min(small.namelen, kLongest);
  const std::uint64_t copy =
      small.name == 0 || name <= 0 ? 0 : p.gate.staged(1, small.name, static_cast<std::uint32_t>(name));
  if (copy != 0) m.msg_name = std::bit_cast<void*>(copy);
  constexpr std::uint64_t kCompat =
      0x8000'0000;  // MSG_CMSG_COMPAT: set by the kernel's IA32 entry, an error here
  const SysRet rc = p.issue64(p.row.nr64, {p.arg(0), address_of(&m), p.arg(2) & ~kCompat, 0, 0, 0});
  if (sending || rc.is_restart() || rc.is_error()) return rc;
  Msghdr32 written{};
  written.namelen = static_cast<std::int32_t>(m.msg_namelen);
  written.controllen = static_cast<std::uint32_t>(m.msg_controllen);
  written.flags = static_cast<std::uint32_t>(m.msg_flags);
  return give_back(p, small, written) ? rc : SysRet::fail(EFAULT);
}

/// What is in copies of one message, one behind the other below 4 GiB.  All lengths are those of headers of
/// ours: what another thread makes of the guest's meanwhile does not matter.
class LowMessage {
 public:
  explicit LowMessage(const Passing& p) : p_(p) {}
  /// Takes `bytes` along that `guest` names, if there is a copy of them.
  void add(std::uint32_t guest, std::size_t bytes) {
    const std::uint64_t copy = guest == 0 || bytes == 0 ? 0 : p_.gate.staged(1, guest, bytes);
    if (copy != 0) moved_[count_++] = {guest, std::bit_cast<void*>(copy), reserve(bytes), bytes};
  }
  /// Place for a header of ours; returns its offset.
  std::size_t reserve(std::size_t bytes) {
    const std::size_t at = total_;
    total_ += aligned(bytes);
    return at;
  }
  static constexpr std::size_t aligned(std::size_t bytes) {
    return (bytes + kLowAlign - 1) & ~std::size_t{kLowAlign - 1};
  }

  void copy_there(std::uint64_t room) {
    room_ = room;
    for (std::size_t i = 0; i < count_; ++i)
      std::memcpy(there(moved_[i].at), moved_[i].copy, moved_[i].bytes);
  }
  void bring_back() const {
    for (std::size_t i = 0; i < count_; ++i)
      std::memcpy(moved_[i].copy, there(moved_[i].at), moved_[i].bytes);
  }
  /// What names it now.
  [[nodiscard]] std::uint32_t name(std::uint32_t guest, std::size_t bytes) const {
    for (std::size_t i = 0; i < count_; ++i)
      if (moved_[i].guest == guest && moved_[i].bytes == bytes) return word(moved_[i].at);
    return guest;
  }
  [[nodiscard]] void* there(std::size_t at) const { return std::bit_cast<void*>(room_ + at); }
  [[nodiscard]] std::uint32_t word(std::size_t at) const { return static_cast<std::uint32_t>(room_ + at); }

 private:
  struct Moved {
    std::uint32_t guest;
    void* copy;
    std::size_t at, bytes;
  };
  const Passing& p_;
  std::array<Moved, kMaxIov + 2> moved_{};
  std::size_t count_ = 0, total_ = 0;
  std::uint64_t room_ = 0;
};

SysRet pass_low(const Passing& p, const Msghdr32& small, const std::array<iovec, kMaxIov>& iov,
                bool sending) {
  constexpr std::int32_t kLongest = sizeof(sockaddr_storage);
  const auto name = static_cast<std::size_t>(sending ? small.namelen : std::min(small.namelen, kLongest));
  // Before anything is asked for: whoever has asked for a copy uses it.
  std::size_t most = LowMessage::aligned(small.iovlen * sizeof(Iovec32)) + LowMessage::aligned(sizeof small);
  const auto count = [&most](std::size_t bytes) {
    most += bytes > kLowBytes ? kLowBytes + 1 : LowMessage::aligned(bytes);
  };
  count(name);
  count(small.controllen);
  for (std::size_t i = 0; i < small.iovlen; ++i) count(iov[i].iov_len);
  const LowRoom room(p.gate, most <= kLowBytes ? most : 0);
  if (room.at() == 0) return p.issue();
  LowMessage low(p);
  for (std::size_t i = 0; i < small.iovlen; ++i)
    low.add(static_cast<std::uint32_t>(address_of(iov[i].iov_base)), iov[i].iov_len);
  low.add(small.name, name);
  low.add(small.control, small.controllen);
  const std::size_t vectors_at = low.reserve(small.iovlen * sizeof(Iovec32));
  const std::size_t head_at = low.reserve(sizeof small);
  low.copy_there(room.at());
  std::array<Iovec32, kMaxIov> vectors{};
  for (std::size_t i = 0; i < small.iovlen; ++i)
    vectors[i] = {low.name(static_cast<std::uint32_t>(address_of(iov[i].iov_base)), iov[i].iov_len),
                  static_cast<std::uint32_t>(iov[i].iov_len)};
  Msghdr32 m = small;
  m.name = low.name(small.name, name);
  m.control = low.name(small.control, small.controllen);
  m.iov = low.word(vectors_at);
  std::memcpy(low.there(vectors_at), vectors.data(), small.iovlen * sizeof(Iovec32));
  std::memcpy(low.there(head_at), &m, sizeof m);
  Args a = p.args;
  a[1] = low.word(head_at);
  const SysRet rc = p.issue(a);
  if (sending) return rc;
  low.bring_back();
  if (rc.is_restart() || rc.is_error()) return rc;
  std::memcpy(&m, low.there(head_at), sizeof m);
  return give_back(p, small, m) ? rc : SysRet::fail(EFAULT);
}

}  // namespace

SysRet pass_message32(const Passing& p) {
  const bool sending = p.row.call == Call::sendmsg;
  if ((!sending && p.row.call != Call::recvmsg) || p.gate.has_copies == nullptr || !p.gate.has_copies())
    return p.issue();
  Msghdr32 m{};
  std::array<iovec, kMaxIov> iov{};
  if (!p.gate.copy_in(&m, p.arg(1), sizeof m) || m.iovlen > kMaxIov ||
      !read_iovec(Abi::Ia32, p.gate.copy_in, m.iov, m.iovlen, iov.data()))
    return p.issue();
  return m.controllen == 0 ? pass_wide(p, m, iov, sending) : pass_low(p, m, iov, sending);
}

}  // namespace hpcvmm::sys
