// An IA32 task's inner pointers have 32 bits and cannot name the zone, so only x86-64 structures are copied
// in and checked here -- and the few structures that carry 64-bit addresses in both ABIs.  Vectors of IA32
// are translated where what they name is in copies.
#include "vmm/sys/deep.hh"

#include <csignal>
#include <cstring>

#include "vmm/sys/messages.hh"

namespace hpcvmm::sys {
namespace {

constexpr std::size_t kMaxIov = 1024;  // UIO_MAXIOV

// Copies and checks `count` iovecs.  0 or an errno.
int take_iovec(const Passing& p, std::uint64_t guest, std::uint64_t count, iovec* to) {
  if (count > kMaxIov) return EINVAL;
  if (!p.gate.copy_in(to, guest, count * sizeof(iovec))) return EFAULT;
  for (std::size_t i = 0; i < count; ++i) {
    if (forbidden(address_of(to[i].iov_base), to[i].iov_len)) return EFAULT;
  }
  return 0;
}

struct FutexWaiter {  // struct futex_waitv of <linux/futex.h>, the same in both ABIs
  std::uint64_t val, uaddr;
  std::uint32_t flags, reserved;
};
static_assert(sizeof(FutexWaiter) == 24);

SysRet pass_futex_vector(const Passing& p) {
  constexpr std::size_t kMost = 128;  // FUTEX_WAITV_MAX
  const bool is_wait = p.row.call == Call::futex_waitv;
  const std::uint64_t n = is_wait ? p.arg(1) & 0xffff'ffffU : 2;
  if (n == 0 || n > kMost || p.arg(0) == 0) return SysRet::fail(EINVAL);
  std::array<FutexWaiter, kMost> waiters;
  if (!p.gate.copy_in(waiters.data(), p.arg(0), n * sizeof(FutexWaiter))) return SysRet::fail(EFAULT);
  for (std::size_t i = 0; i < n; ++i) {
    if (forbidden(waiters[i].uaddr, 4)) return SysRet::fail(EFAULT);
  }
  Args a{};
  for (unsigned i = 0; i < shape_of(p.row).count; ++i) a[i] = p.arg(i);
  a[0] = address_of(waiters.data());
  std::array<std::uint64_t, 2> time{};
  if (is_wait && p.abi == Abi::Ia32 && a[3] != 0) {
    // For an IA32 caller the kernel ignores the upper half of tv_nsec; the 64-bit call would not.
    if (!p.gate.copy_in(time.data(), a[3], sizeof time)) return SysRet::fail(EFAULT);
    time[1] &= 0xffff'ffffU;
    a[3] = address_of(time.data());
  }
  return p.issue64(p.row.nr64, a);
}

// struct xattr_args { u64 value; u32 size, flags; }: the same in both ABIs.
SysRet pass_xattr_args(const Passing& p) {
  constexpr std::size_t kKnown = 16;
  constexpr std::size_t kMost = 64;  // longer ones would have to be zero beyond what this kernel knows
  const std::uint64_t n = p.arg(5);
  if (n < kKnown) return SysRet::fail(EINVAL);
  if (n > kMost) return SysRet::fail(E2BIG);
  std::array<std::uint64_t, kMost / 8> copy{};
  if (!p.gate.copy_in(copy.data(), p.arg(4), n)) return SysRet::fail(EFAULT);
  if (forbidden(copy[0], copy[1] & 0xffff'ffffU)) return SysRet::fail(EFAULT);
  Args a{};
  for (unsigned i = 0; i < a.size(); ++i) a[i] = p.arg(i);
  a[4] = address_of(copy.data());
  return p.issue64(p.row.nr64, a);
}

SysRet pass_mq_notify(const Passing& p) {
  if (p.abi == Abi::Ia32 || p.args[1] == 0) return p.issue();
  constexpr std::size_t kCookieBytes = 32;  // NOTIFY_COOKIE_LEN
  std::array<std::uint64_t, 8> event{};
  static_assert(sizeof event == sizeof(sigevent));
  if (!p.gate.copy_in(event.data(), p.args[1], sizeof event)) return SysRet::fail(EFAULT);
  const auto notify = static_cast<std::uint32_t>(event[1] >> 32U);  // sigev_signo stands in the lower half
  if (notify == SIGEV_THREAD && forbidden(event[0], kCookieBytes)) return SysRet::fail(EFAULT);
  Args a = p.args;
  a[1] = address_of(event.data());
  return p.issue(a);
}

SysRet pass_keyctl(const Passing& p) {
  constexpr std::uint32_t kInstantiateIov = 20;
  constexpr std::uint32_t kDhCompute = 23;
  const auto op = static_cast<std::uint32_t>(p.arg(0));
  if (op == kInstantiateIov || op == kDhCompute) return SysRet::fail(EOPNOTSUPP);
  return p.issue();
}

}  // namespace

std::size_t stage_iovec(const Passing& p, iovec* iov, std::size_t count) {
  if (p.gate.staged == nullptr) return 0;
  std::size_t staged = 0;
  for (std::size_t i = 0; i < count; ++i) {
    const std::uint64_t copy =
        iov[i].iov_len == 0 ? 0 : p.gate.staged(1, address_of(iov[i].iov_base), iov[i].iov_len);
    if (copy == 0) continue;
    iov[i].iov_base = std::bit_cast<void*>(copy);
    ++staged;
  }
  return staged;
}

namespace {

// The 64-bit call with vectors of ours, if there are copies.  Both kernel entries do the same with them.
SysRet pass_iovec32(const Passing& p) {
  switch (p.row.call) {
    case Call::readv:
    case Call::writev:
    case Call::preadv:
    case Call::pwritev:
    case Call::preadv2:
    case Call::pwritev2: break;
    default: return p.issue();
  }
  const auto count = static_cast<std::int32_t>(p.arg(2));
  if (p.gate.has_copies == nullptr || !p.gate.has_copies() || count <= 0 ||
      count > static_cast<std::int32_t>(kMaxIov))
    return p.issue();
  std::array<iovec, kMaxIov> iov;
  const auto n = static_cast<std::size_t>(count);
  if (!read_iovec(Abi::Ia32, p.gate.copy_in, p.arg(1), n, iov.data()) || stage_iovec(p, iov.data(), n) == 0)
    return p.issue();
  Args a{p.arg(0), address_of(iov.data()), n, 0, 0, 0};
  if (p.row.call == Call::preadv || p.row.call == Call::pwritev) a[3] = p.arg(3);
  if (p.row.call == Call::preadv2 || p.row.call == Call::pwritev2) {
    a[3] = (p.arg(3) & 0xffff'ffffU) | p.arg(4) << 32U;
    a[5] = p.arg(5);
  }
  return p.issue64(p.row.nr64, a);
}

}  // namespace

SysRet pass_iovec(const Passing& p) {
  if (p.abi == Abi::Ia32) return pass_iovec32(p);
  // Zero segments: let the kernel say what it says.
  if (p.args[2] == 0) return p.issue();
  std::array<iovec, kMaxIov> iov;
  if (const int e = take_iovec(p, p.args[1], p.args[2], iov.data()); e != 0) return SysRet::fail(e);
  stage_iovec(p, iov.data(), p.args[2]);
  Args a = p.args;
  a[1] = address_of(iov.data());
  return p.issue(a);
}

SysRet pass_process_vm(const Passing& p) {
  if (p.abi == Abi::Ia32) return p.issue();
  std::array<iovec, kMaxIov> local;
  std::array<iovec, kMaxIov> remote;
  if (const int e = take_iovec(p, p.args[1], p.args[2], local.data()); e != 0) return SysRet::fail(e);
  // Another guest's VMM lives at the same addresses.
  if (const int e = take_iovec(p, p.args[3], p.args[4], remote.data()); e != 0) return SysRet::fail(e);
  Args a = p.args;
  a[1] = address_of(local.data());
  a[3] = address_of(remote.data());
  return p.issue(a);
}

SysRet pass_deep(const Passing& p) {
  switch (p.row.call) {
    case Call::ioctl: return pass_ioctl(p);
    case Call::fcntl:
    case Call::fcntl64: return pass_fcntl(p);
    case Call::semctl: return pass_semctl(p);
    case Call::setsockopt:
    case Call::getsockopt: return pass_sockopt(p);
    case Call::sendmsg:
    case Call::recvmsg:
    case Call::sendmmsg:
    case Call::recvmmsg:
    case Call::recvmmsg_time64: return pass_message(p);
    case Call::process_vm_readv:
    case Call::process_vm_writev: return pass_process_vm(p);
    case Call::futex_waitv:
    case Call::futex_requeue: return pass_futex_vector(p);
    case Call::setxattrat:
    case Call::getxattrat: return pass_xattr_args(p);
    case Call::mq_notify: return pass_mq_notify(p);
    case Call::keyctl: return pass_keyctl(p);
    default: return pass_iovec(p);  // readv, writev, preadv, vmsplice, process_madvise ...
  }
}

}  // namespace hpcvmm::sys
