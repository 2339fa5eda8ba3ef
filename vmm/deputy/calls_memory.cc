// The mmap family: everything that names a range of the window.
#include <sys/mman.h>
#include <sys/syscall.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "vmm/deputy/calls.hh"
#include "vmm/deputy/gate.hh"
#include "vmm/deputy/home.hh"
#include "vmm/deputy/host.hh"
#include "vmm/mem/host_maps.hh"
#include "vmm/mem/user_copy.hh"

namespace hpcvmm::deputy {

using sys::SysRet;

namespace {

bool in_zone(std::uint64_t at, std::uint64_t bytes) {
  return touches_zone(at, bytes) || mem::touches_host_vdso(at, bytes);
}

// NOLINTNEXTLINE(readability-function-size): mmap's six words and whose they are
SysRet map(const CallContext& c, std::uint64_t addr, std::uint64_t len, int prot, int flags, int fd,
           std::uint64_t off) {
  if ((flags & MAP_ANONYMOUS) == 0 && is_hidden(fd)) return SysRet::fail(EBADF);
  if (c.task.process->read_implies_exec && (prot & PROT_READ) != 0) prot |= PROT_EXEC;
  if ((flags & MAP_TYPE) != MAP_PRIVATE) {
    // What is as good as private (a cache that every C program maps) does not bring a process home.
    if ((flags & MAP_ANONYMOUS) == 0 && mem::is_steady(fd)) {
      const SysRet at = c.mm().map(c.abi, addr, len, prot, flags, fd, off);
      if (!mem::is_steady(fd)) {
        const AtHome changed_meanwhile(c.task);
      }
      return at;
    }
    const AtHome here(c.task);
    return c.mm().map(c.abi, addr, len, prot, flags, fd, off);
  }
  return c.mm().map(c.abi, addr, len, prot, flags, fd, off);
}

}  // namespace

SysRet call_mmap(const CallContext& c) {
  return map(c, c.arg(0), c.arg(1), c.as_int(2), c.as_int(3), c.as_int(4), c.arg(5));
}

SysRet call_mmap2(const CallContext& c) {
  return map(c, c.arg(0), c.arg(1), c.as_int(2), c.as_int(3), c.as_int(4), c.arg(5) * kPageSize);
}

SysRet call_old_mmap(const CallContext& c) {
  std::array<std::uint32_t, 6> a{};
  if (!mem::get(a, c.arg(0))) return SysRet::fail(EFAULT);
  if (a[5] % kPageSize != 0) return SysRet::fail(EINVAL);
  return map(c, a[0], a[1], static_cast<int>(a[2]), static_cast<int>(a[3]), static_cast<int>(a[4]), a[5]);
}

SysRet call_munmap(const CallContext& c) { return c.mm().unmap(c.arg(0), c.arg(1)); }

SysRet call_mremap(const CallContext& c) {
  if (c.mm().shares(c.arg(0), c.arg(0) + std::max<std::uint64_t>(page_up(c.arg(1)), 1)) &&
      !home_of(c.task).all_here()) {
    const AtHome here(c.task);
    return c.mm().remap(c.abi, c.arg(0), c.arg(1), c.arg(2), c.as_int(3), c.arg(4));
  }
  return c.mm().remap(c.abi, c.arg(0), c.arg(1), c.arg(2), c.as_int(3), c.arg(4));
}

SysRet call_mprotect(const CallContext& c) {
  int prot = c.as_int(2);
  if (c.task.process->read_implies_exec && (prot & PROT_READ) != 0) prot |= PROT_EXEC;
  return c.mm().protect(c.arg(0), c.arg(1), prot);
}

SysRet call_pkey_mprotect(const CallContext& c) {
  if (c.as_int(3) != -1) return SysRet::fail(EINVAL);
  return call_mprotect(c);
}

SysRet call_brk(const CallContext& c) { return c.mm().brk(c.arg(0)); }

SysRet call_madvise(const CallContext& c) { return c.mm().advise(c.arg(0), c.arg(1), c.as_int(2)); }

SysRet call_process_madvise(const CallContext& c) {
  // The ranges are another process's addresses, which may be another guest's VMM.
  static_cast<void>(c);
  return SysRet::fail(EPERM);
}

SysRet call_range_only(const CallContext& c) {
  if (in_zone(c.arg(0), c.arg(1))) {
    // Linux looks at the alignment first, except for the mlock family, which rounds.
    const bool rounds =
        c.row.call == sys::Call::mlock || c.row.call == sys::Call::mlock2 || c.row.call == sys::Call::munlock;
    return SysRet::fail(!rounds && c.arg(0) % kPageSize != 0 ? EINVAL : ENOMEM);
  }
  return pass(c);
}

SysRet call_mlockall(const CallContext& c) {
  // The VMM's few pages are locked along; harmless, and MCL_FUTURE has to hold for the guest's later
  // mappings.
  return pass(c);
}

SysRet call_remap_file_pages(const CallContext& c) {
  if (in_zone(c.arg(0), c.arg(1))) return SysRet::fail(EINVAL);
  const mem::LockGuard guard(c.mm().lock());
  c.mm().engine().unmap(page_down(c.arg(0)), page_up(c.arg(0) + c.arg(1)));
  return pass(c);
}

SysRet call_shmat(const CallContext& c) {
  const AtHome here(c.task);
  return c.mm().attach_shm(c.abi, c.as_int(0), c.arg(1), c.as_int(2));
}

SysRet call_shmdt(const CallContext& c) {
  const AtHome here(c.task);
  return c.mm().detach_shm(c.arg(0));
}

SysRet call_process_vm(const CallContext& c) {
  // Both vectors are copied and checked: the remote side may be this very process, or another guest whose VMM
  // lies at the same addresses.
  constexpr std::size_t kMost = 64;
  struct Iovec {
    std::uint64_t base, bytes;
  };
  std::array<Iovec, kMost> local{};
  std::array<Iovec, kMost> remote{};
  const std::uint64_t locals = c.arg(2);
  const std::uint64_t remotes = c.arg(4);
  if (locals > 1024 || remotes > 1024) return SysRet::fail(EINVAL);
  if (locals > kMost || remotes > kMost) return SysRet::fail(ENOMEM);
  const auto fetch = [&](std::array<Iovec, kMost>& to, std::uint64_t from, std::uint64_t n) {
    for (std::uint64_t i = 0; i < n; ++i) {
      if (c.abi == Abi::Ia32) {
        std::array<std::uint32_t, 2> small{};
        if (!mem::get(small, from + i * sizeof small)) return false;
        to[i] = {small[0], small[1]};
      } else if (!mem::get(to[i], from + i * sizeof to[i])) {
        return false;
      }
      if (in_zone(to[i].base, to[i].bytes)) return false;
    }
    return true;
  };
  if (!fetch(local, c.arg(1), locals) || !fetch(remote, c.arg(3), remotes)) return SysRet::fail(EFAULT);
  return gate64(static_cast<std::uint64_t>(c.row.nr64),
                {c.arg(0), word(local.data()), locals, word(remote.data()), remotes, c.arg(5)});
}

}  // namespace hpcvmm::deputy
