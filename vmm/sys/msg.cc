// sendmsg and its family.  Message headers, their iovecs and (for sending) their control data are copied
// before they are looked at; the kernel gets the copies.
#include <sys/socket.h>

#include <cstring>

#include "vmm/sys/deep.hh"

namespace hpcvmm::sys {
namespace {

constexpr std::size_t kMaxIov = 1024;  // UIO_MAXIOV: one message may need all
constexpr std::size_t kMaxBatch = 16;  // messages handed over at a time
constexpr std::size_t kControlBytes = 16384;

/// What one batch of messages is copied into.
struct Batch {
  std::array<mmsghdr, kMaxBatch> headers;
  std::array<iovec, kMaxIov> iov;
  alignas(cmsghdr) std::array<std::byte, kControlBytes> control;
  std::size_t count = 0, iov_used = 0, control_used = 0;
};

// The room there is for the rest of a batch is used up: not an error unless the batch is empty.
constexpr int kNoRoom = -1;

// An SCM_RIGHTS message must not hand out a descriptor of the VMM.  Looks at our copy.
bool sends_hidden_fd(const Passing& p, const msghdr& m) {
  if (p.gate.hides_fd == nullptr) return false;
  const auto* base = static_cast<const std::byte*>(m.msg_control);
  std::size_t at = 0;
  while (m.msg_controllen - at >= sizeof(cmsghdr)) {
    cmsghdr c{};
    std::memcpy(&c, base + at, sizeof c);
    if (c.cmsg_len < sizeof c || c.cmsg_len > m.msg_controllen - at) return false;  // the kernel says EINVAL
    if (c.cmsg_level == SOL_SOCKET && c.cmsg_type == SCM_RIGHTS) {
      for (std::size_t f = at + sizeof c; f + sizeof(int) <= at + c.cmsg_len; f += sizeof(int)) {
        int fd = 0;
        std::memcpy(&fd, base + f, sizeof fd);
        if (p.hides(static_cast<std::uint32_t>(fd))) return true;
      }
    }
    const std::size_t step = (c.cmsg_len + alignof(cmsghdr) - 1) & ~(alignof(cmsghdr) - 1);
    if (step > m.msg_controllen - at) return false;
    at += step;
  }
  return false;
}

int take_control(const Passing& p, Batch& b, msghdr& m) {
  const std::uint64_t guest = address_of(m.msg_control);
  if (guest == 0 || m.msg_controllen == 0) return 0;
  if (forbidden(guest, m.msg_controllen)) return EFAULT;
  const std::size_t bytes = m.msg_controllen;
  if (bytes > kControlBytes - b.control_used) return b.count == 0 ? ENOBUFS : kNoRoom;
  std::byte* to = b.control.data() + b.control_used;
  if (!p.gate.copy_in(to, guest, bytes)) return EFAULT;
  m.msg_control = to;
  if (sends_hidden_fd(p, m)) return EBADF;
  b.control_used += (bytes + alignof(cmsghdr) - 1) & ~(alignof(cmsghdr) - 1);
  b.control_used = std::min(b.control_used, kControlBytes);
  return 0;
}

// Copies the header at `guest` and what hangs on it.  0, kNoRoom or an errno.
int take_message(const Passing& p, Batch& b, std::uint64_t guest, bool sending) {
  mmsghdr& h = b.headers[b.count];
  h = {};
  msghdr& m = h.msg_hdr;
  if (!p.gate.copy_in(&m, guest, sizeof m)) return EFAULT;
  if (m.msg_iovlen > kMaxIov) return EMSGSIZE;
  if (m.msg_iovlen > kMaxIov - b.iov_used) return kNoRoom;
  iovec* iov = b.iov.data() + b.iov_used;
  if (m.msg_iovlen != 0 && !p.gate.copy_in(iov, address_of(m.msg_iov), m.msg_iovlen * sizeof(iovec)))
    return EFAULT;
  for (std::size_t i = 0; i < m.msg_iovlen; ++i) {
    if (forbidden(address_of(iov[i].iov_base), iov[i].iov_len)) return EFAULT;
  }
  if (forbidden(address_of(m.msg_name), sizeof(sockaddr_storage))) return EFAULT;
  if (sending) {
    if (const int e = take_control(p, b, m); e != 0) return e;
  } else if (forbidden(address_of(m.msg_control), m.msg_controllen)) {
    return EFAULT;
  }
  m.msg_iov = iov;
  b.iov_used += m.msg_iovlen;
  ++b.count;
  return 0;
}

// The fields the kernel writes; the guest's pointers stay as they are.
bool give_back(const Passing& p, const msghdr& m, std::uint64_t guest) {
  const auto put = [&](std::size_t at, const void* from, std::size_t bytes) {
    return p.gate.copy_out(guest + at, from, bytes);
  };
  return (m.msg_name == nullptr ||
          put(offsetof(msghdr, msg_namelen), &m.msg_namelen, sizeof m.msg_namelen)) &&
         put(offsetof(msghdr, msg_controllen), &m.msg_controllen, sizeof m.msg_controllen) &&
         put(offsetof(msghdr, msg_flags), &m.msg_flags, sizeof m.msg_flags);
}

// Copies in place of what a message names in guest memory.  The header is ours, so its lengths stay.
void stage_message(const Passing& p, msghdr& m, bool sending) {
  if (p.gate.staged == nullptr) return;
  stage_iovec(p, m.msg_iov, m.msg_iovlen);
  constexpr socklen_t kLongest = sizeof(sockaddr_storage);  // the kernel writes no more of a name
  const socklen_t name = sending ? m.msg_namelen : std::min(m.msg_namelen, kLongest);
  const auto stage = [&p](void*& at, std::size_t bytes) {
    const std::uint64_t copy = at == nullptr || bytes == 0 ? 0 : p.gate.staged(1, address_of(at), bytes);
    if (copy != 0) at = std::bit_cast<void*>(copy);
  };
  stage(m.msg_name, name);
  if (!sending) stage(m.msg_control, m.msg_controllen);
}

SysRet pass_one(const Passing& p, bool sending) {
  Batch b;
  if (const int e = take_message(p, b, p.args[1], sending); e != 0) return SysRet::fail(e);
  stage_message(p, b.headers[0].msg_hdr, sending);
  Args a = p.args;
  a[1] = address_of(&b.headers[0].msg_hdr);
  const SysRet r = p.issue(a);
  if (sending || r.is_restart() || r.is_error()) return r;
  return give_back(p, b.headers[0].msg_hdr, p.args[1]) ? r : SysRet::fail(EFAULT);
}

// One batch of sendmmsg / recvmmsg, beginning with message `first`.  `asked` tells how many messages were
// tried.
SysRet pass_batch(const Passing& p, std::uint64_t first, std::uint64_t total, bool sending,
                  std::size_t& asked) {
  Batch b;
  const std::uint64_t guest = p.args[1] + first * sizeof(mmsghdr);
  int e = 0;
  while (e == 0 && b.count < kMaxBatch && first + b.count < total) {
    e = take_message(p, b, guest + b.count * sizeof(mmsghdr), sending);
  }
  asked = b.count;
  if (b.count == 0) return SysRet::fail(e);
  Args a = p.args;
  a[1] = address_of(b.headers.data());
  a[2] = b.count;
  // MSG_WAITFORONE holds for the whole call, not for each batch of it.
  if (!sending && first != 0 && (a[3] & MSG_WAITFORONE) != 0) a[3] |= MSG_DONTWAIT;
  const SysRet r = p.issue(a);
  if (r.is_restart() || r.is_error()) return r;
  for (std::size_t i = 0; i < static_cast<std::size_t>(r.value()); ++i) {
    const std::uint64_t at = guest + i * sizeof(mmsghdr);
    if (!sending && !give_back(p, b.headers[i].msg_hdr, at)) return SysRet::fail(EFAULT);
    const unsigned len = b.headers[i].msg_len;
    if (!p.gate.copy_out(at + offsetof(mmsghdr, msg_len), &len, sizeof len)) return SysRet::fail(EFAULT);
  }
  return r;
}

// recvmmsg writes the time that is left into the guest's timespec: nothing left ends the call between
// batches.
bool time_is_up(const Passing& p, bool sending) {
  if (sending || p.args[4] == 0) return false;
  std::array<std::uint64_t, 2> left{};
  return !p.gate.copy_in(left.data(), p.args[4], sizeof left) || (left[0] == 0 && left[1] == 0);
}

}  // namespace

SysRet pass_message(const Passing& p) {
  if (p.abi == Abi::Ia32) return pass_message32(p);
  const Call call = p.row.call;
  const bool sending = call == Call::sendmsg || call == Call::sendmmsg;
  if (call == Call::sendmsg || call == Call::recvmsg) return pass_one(p, sending);
  const std::uint64_t total = std::min<std::uint64_t>(p.args[2] & 0xffff'ffffU, kMaxIov);
  if (total == 0) return p.issue();
  std::uint64_t done = 0;
  while (done < total) {
    std::size_t asked = 0;
    const SysRet r = pass_batch(p, done, total, sending, asked);
    if (r.is_restart() || r.is_error()) return done != 0 ? SysRet::ok(done) : r;
    done += static_cast<std::uint64_t>(r.value());
    if (static_cast<std::size_t>(r.value()) < asked || time_is_up(p, sending)) break;
  }
  return SysRet::ok(done);
}

}  // namespace hpcvmm::sys
