// RLIMIT_NOFILE for the guest; the other limits are the host's own.
#include <sys/resource.h>
#include <sys/syscall.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "vmm/deputy/calls.hh"
#include "vmm/deputy/gate.hh"
#include "vmm/deputy/host.hh"
#include "vmm/mem/user_copy.hh"

namespace hpcvmm::deputy {

using sys::SysRet;

namespace {

struct Limit {
  std::uint64_t now, most;
};
constexpr std::uint64_t kInfinity32 = 0xffff'ffff;

Limit nofile(const Process& p) {
  rlimit host{};
  ::getrlimit(RLIMIT_NOFILE, &host);
  return {host.rlim_cur, std::min<std::uint64_t>(host.rlim_max, p.nofile_hard)};
}

/// The rules of setrlimit(2), judged against the guest's hard limit.
SysRet set_nofile(Process& p, const Limit& wanted) {
  if (wanted.now > wanted.most) return SysRet::fail(EINVAL);
  rlimit host{};
  ::getrlimit(RLIMIT_NOFILE, &host);
  const Limit present = nofile(p);
  if (wanted.most > present.most) {
    // Raising takes CAP_SYS_RESOURCE, which the kernel judges; it knows the larger hard limit.
    const rlimit raised{
        host.rlim_cur, std::max<rlim_t>(host.rlim_max, wanted.most) + (wanted.most <= host.rlim_max ? 1 : 0)};
    if (::setrlimit(RLIMIT_NOFILE, &raised) != 0) return SysRet::fail(EPERM);
  }
  ::getrlimit(RLIMIT_NOFILE, &host);
  const rlimit next{wanted.now, host.rlim_max};
  if (::setrlimit(RLIMIT_NOFILE, &next) != 0) return SysRet::fail(EPERM);
  p.nofile_hard = wanted.most;
  return SysRet::ok();
}

bool write_limit(const CallContext& c, std::uint64_t at, const Limit& l) {
  if (c.abi == Abi::X64) return mem::put(at, l);
  const std::uint32_t infinity = c.row.call == sys::Call::getrlimit ? 0x7fff'ffff : 0xffff'ffff;
  const auto cut = [infinity](std::uint64_t v) {
    return v > infinity ? infinity : static_cast<std::uint32_t>(v);
  };
  return mem::put(at, std::array<std::uint32_t, 2>{cut(l.now), cut(l.most)});
}

}  // namespace

SysRet call_getrlimit(const CallContext& c) {
  if (c.as_int(0) != RLIMIT_NOFILE) return pass(c);
  return write_limit(c, c.arg(1), nofile(*c.task.process)) ? SysRet::ok() : SysRet::fail(EFAULT);
}

SysRet call_setrlimit(const CallContext& c) {
  if (c.as_int(0) != RLIMIT_NOFILE) return pass(c);
  Limit wanted{};
  if (c.abi == Abi::X64) {
    if (!mem::get(wanted, c.arg(1))) return SysRet::fail(EFAULT);
  } else {
    std::array<std::uint32_t, 2> small{};
    if (!mem::get(small, c.arg(1))) return SysRet::fail(EFAULT);
    const auto wide = [](std::uint32_t v) { return v == kInfinity32 ? RLIM_INFINITY : std::uint64_t{v}; };
    wanted = {wide(small[0]), wide(small[1])};
  }
  return set_nofile(*c.task.process, wanted);
}

SysRet call_prlimit64(const CallContext& c) {
  const int pid = c.as_int(0);
  const bool own = pid == 0 || pid == static_cast<int>(raw_call(SYS_getpid));
  if (!own || c.as_int(1) != RLIMIT_NOFILE) return pass(c);
  Limit wanted{};
  if (c.arg(2) != 0 && !mem::get(wanted, c.arg(2))) return SysRet::fail(EFAULT);
  const Limit old = nofile(*c.task.process);
  if (c.arg(2) != 0) {
    const SysRet rc = set_nofile(*c.task.process, wanted);
    if (rc.is_error()) return rc;
  }
  if (c.arg(3) != 0 && !mem::put(c.arg(3), old)) return SysRet::fail(EFAULT);
  return SysRet::ok();
}

}  // namespace hpcvmm::deputy
