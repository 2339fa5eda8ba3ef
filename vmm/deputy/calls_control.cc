// prctl and seccomp, and the answers for what a deputy cannot offer.
#include <linux/prctl.h>
#include <linux/seccomp.h>

#include <cerrno>

#include "hpcvmm/base/layout.hh"
#include "vmm/deputy/calls.hh"
#include "vmm/deputy/seccomp.hh"
#include "vmm/mem/host_maps.hh"

#ifndef PR_SET_VMA
#define PR_SET_VMA 0x53564d41
#endif
#ifndef PR_SET_MDWE
#define PR_SET_MDWE 65
#define PR_GET_MDWE 66
#endif
#ifndef PR_SET_MEMORY_MERGE
#define PR_SET_MEMORY_MERGE 67
#define PR_GET_MEMORY_MERGE 68
#endif
#ifndef PR_GET_AUXV
#define PR_GET_AUXV 0x41555856
#endif

namespace hpcvmm::deputy {

using sys::SysRet;

namespace {

SysRet set_seccomp(const CallContext& c) {
  switch (c.arg(1)) {
    case SECCOMP_MODE_STRICT: return seccomp_set(c, SECCOMP_SET_MODE_STRICT, 0, 0);
    case SECCOMP_MODE_FILTER: return seccomp_set(c, SECCOMP_SET_MODE_FILTER, 0, c.arg(2));
    default: return SysRet::fail(EINVAL);
  }
}

/// PR_SET_VMA_ANON_NAME: the range must be the guest's.
SysRet name_mapping(const CallContext& c) {
  const std::uint64_t begin = c.arg(2);
  const std::uint64_t bytes = c.arg(3);
  if (touches_zone(begin, bytes) || mem::touches_host_vdso(begin, bytes)) return SysRet::fail(ENOMEM);
  return pass(c);
}

/// Options the host kernel answers for the guest, because host thread and guest thread are one.
bool passes(int option) {
  switch (option) {
    // The thread's name; what it gets when its parent ends; who adopts its orphans.
    case PR_SET_NAME:
    case PR_GET_NAME:
    case PR_SET_PDEATHSIG:
    case PR_GET_PDEATHSIG:
    case PR_SET_CHILD_SUBREAPER:
    case PR_GET_CHILD_SUBREAPER:
    // Core files and /proc access are the deputy's, which stands for the guest.
    case PR_SET_DUMPABLE:
    case PR_GET_DUMPABLE:
    case PR_SET_PTRACER:
    // Privileges: the guest's calls are issued with the deputy's.
    case PR_SET_KEEPCAPS:
    case PR_GET_KEEPCAPS:
    case PR_SET_SECUREBITS:
    case PR_GET_SECUREBITS:
    case PR_CAPBSET_READ:
    case PR_CAPBSET_DROP:
    case PR_CAP_AMBIENT:
    case PR_SET_NO_NEW_PRIVS:
    case PR_GET_NO_NEW_PRIVS:
    // Timers and scheduling.
    case PR_SET_TIMERSLACK:
    case PR_GET_TIMERSLACK:
    case PR_SET_TIMING:
    case PR_GET_TIMING:
    case PR_SCHED_CORE:
    case PR_SET_IO_FLUSHER:
    case PR_GET_IO_FLUSHER:
    case PR_TASK_PERF_EVENTS_DISABLE:
    case PR_TASK_PERF_EVENTS_ENABLE:
    // Memory: harmless to the VMM's few pages.
    case PR_SET_THP_DISABLE:
    case PR_GET_THP_DISABLE:
    case PR_SET_MEMORY_MERGE:
    case PR_GET_MEMORY_MERGE:
    case PR_MCE_KILL:
    case PR_MCE_KILL_GET:
    case PR_GET_MDWE:
    // Written down by the kernel at set_tid_address(2) and PR_SET_MM_MAP for the guest.
    case PR_GET_TID_ADDRESS:
    case PR_GET_AUXV:
    // The processor.  The kernel has the right EINVAL for those x86 does not know.
    case PR_GET_TSC:
    case PR_SET_SPECULATION_CTRL:
    case PR_GET_SPECULATION_CTRL:
    case PR_SET_UNALIGN:
    case PR_GET_UNALIGN:
    case PR_SET_FPEMU:
    case PR_GET_FPEMU:
    case PR_SET_FPEXC:
    case PR_GET_FPEXC:
    case PR_SET_ENDIAN:
    case PR_GET_ENDIAN: return true;
    default: return false;
  }
}

}  // namespace

SysRet call_enosys(const CallContext&) { return SysRet::fail(ENOSYS); }

SysRet call_eperm(const CallContext&) { return SysRet::fail(EPERM); }

SysRet call_prctl(const CallContext& c) {
  // pass() keeps the words that are addresses out of the zone: the row calls every one of them opaque.
  const int option = c.as_int(0);
  switch (option) {
    case PR_SET_SECCOMP: return set_seccomp(c);
    case PR_GET_SECCOMP: return SysRet::ok(seccomp_mode(c.task));
    case PR_SET_VMA: return name_mapping(c);
    // The addresses it names are those of the guest already, set by the deputy; changing the executable would
    // need the VMM to be unmapped.
    case PR_SET_MM: return SysRet::fail(EPERM);
    // The host's RDTSC cannot be made to fault in a micro-VM alone; leaving it on can be had.
    case PR_SET_TSC: return c.arg(1) == PR_TSC_ENABLE ? SysRet::ok() : SysRet::fail(EINVAL);
    // The direct engine's own mechanism; as on a kernel without it.  So with MDWE, which would bind the VMM.
    case PR_SET_SYSCALL_USER_DISPATCH:
    case PR_SET_MDWE: return SysRet::fail(EINVAL);
    default: return passes(option) ? pass(c) : SysRet::fail(EINVAL);
  }
}

SysRet call_seccomp(const CallContext& c) { return seccomp_set(c, c.arg(0), c.arg(1), c.arg(2)); }

}  // namespace hpcvmm::deputy
