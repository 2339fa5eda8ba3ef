// The task's main loop: run guest code, serve exits, deliver signals.
#include <sys/syscall.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "vmm/deputy/debug.hh"
#include "vmm/deputy/dispatch.hh"
#include "vmm/deputy/gate.hh"
#include "vmm/deputy/home.hh"
#include "vmm/deputy/host.hh"
#include "vmm/deputy/signals.hh"
#include "vmm/deputy/trace.hh"
#include "vmm/mem/overlay.hh"
#include "vmm/mem/user_copy.hh"
#include "vmm/sys/passthrough.hh"

namespace hpcvmm::deputy {
namespace {

using engine::Exit;
using engine::ExitKind;
using mem::Touch;

// Exceptions by vector.  Source: Intel SDM vol. 3, 6.15; the signals are Linux's (arch/x86/kernel/traps.c).
enum Vector : std::uint8_t {  // NOLINTBEGIN(readability-identifier-naming): used as constants
  kDivide = 0,
  kDebug = 1,
  kBreakpoint = 3,
  kInvalidOpcode = 6,
  kSegmentNotPresent = 11,
  kStackFault = 12,
  kProtection = 13,
  kPageFault = 14,
  kX87 = 16,
  kAlignment = 17,
  kSimd = 19,
};  // NOLINTEND(readability-identifier-naming)
constexpr std::uint32_t kFaultWrite = 2;
constexpr std::uint32_t kFaultFetch = 16;

/// si_code of SIGFPE from the x87 or SSE status.  Source: Linux fpu__exception_code().
int fpe_code(Task& t, bool x87) {
  FpState fp;
  t.vcpu->get_fp(fp);
  std::uint32_t pending = 0;
  if (x87) {
    std::uint16_t control = 0;
    std::uint16_t status = 0;
    std::memcpy(&control, fp.area.data(), 2);
    std::memcpy(&status, fp.area.data() + 2, 2);
    pending = status & ~control & 0x3fU;
  } else {
    std::uint32_t mxcsr = 0;
    std::memcpy(&mxcsr, fp.area.data() + 24, 4);
    pending = mxcsr & ~(mxcsr >> 7) & 0x3fU;
  }
  if ((pending & 0x01) != 0) return FPE_FLTINV;
  if ((pending & 0x04) != 0) return FPE_FLTDIV;
  if ((pending & 0x08) != 0) return FPE_FLTOVF;
  if ((pending & 0x12) != 0) return FPE_FLTUND;
  if ((pending & 0x20) != 0) return FPE_FLTRES;
  return 0;
}

siginfo_t info_of(int signo, int code, std::uint64_t address) {
  siginfo_t info{};
  info.si_signo = signo;
  info.si_code = code;
  info.si_addr = reinterpret_cast<void*>(address);
  return info;
}

siginfo_t info_for(Task& t, const Exit& e) {
  if (e.host_info.si_signo != 0) return e.host_info;
  const std::uint64_t rip = t.vcpu->regs().rip;
  switch (e.vector) {
    case kDivide: return info_of(SIGFPE, FPE_INTDIV, rip);
    case kDebug: return info_of(SIGTRAP, TRAP_TRACE, rip);
    case kBreakpoint: return info_of(SIGTRAP, SI_KERNEL, 0);
    case kInvalidOpcode: return info_of(SIGILL, ILL_ILLOPN, rip);
    case kSegmentNotPresent:
    case kStackFault: return info_of(SIGBUS, SI_KERNEL, 0);
    case kX87: return info_of(SIGFPE, fpe_code(t, true), rip);
    case kAlignment: return info_of(SIGBUS, BUS_ADRALN, 0);
    case kSimd: return info_of(SIGFPE, fpe_code(t, false), rip);
    default: return info_of(SIGSEGV, SI_KERNEL, 0);
  }
}

bool is_trap(const Exit& e) { return e.vector == kDebug || e.vector == kBreakpoint; }

void raise_for(Task& t, const Exit& e, const siginfo_t& info) {
  // A fault comes again after the handler of the recorded signal has returned; a trap does not.
  if (t.signal_recorded != 0 && !is_trap(e)) return;
  if (t.debug != nullptr && !debug_fault(t, info, e.vector == kBreakpoint)) return;
  t.last_trap = e.vector;
  t.last_error = e.error_code;
  t.last_cr2 = e.fault_address;
  trace_signal(t, info);
  force_signal(t, info);
}

void serve_page_fault(Task& t, const Exit& e) {
  ++t.count.faults;
  const Touch touch = t.process->mm->touch(e.fault_address, (e.error_code & kFaultWrite) != 0,
                                           (e.error_code & kFaultFetch) != 0);
  Exit seen = e;
  seen.error_code = (e.error_code & (kFaultWrite | kFaultFetch)) | 4U | (touch == Touch::AccErr ? 1U : 0U);
  switch (touch) {
    case Touch::Retry:
      // What is mapped there as it was when the process left is told anew.
      if (home_of(t).grew(e.fault_address)) {
        const AtHome here(t);
      }
      return;
    case Touch::MapErr: return raise_for(t, seen, info_of(SIGSEGV, SEGV_MAPERR, e.fault_address));
    case Touch::AccErr: return raise_for(t, seen, info_of(SIGSEGV, SEGV_ACCERR, e.fault_address));
    case Touch::BusErr: return raise_for(t, seen, info_of(SIGBUS, BUS_ADRERR, e.fault_address));
    case Touch::NoMemory: {
      say("hpc-vmm: no memory for the page tables of pid %d; ending it\n",
          static_cast<int>(raw_call(SYS_getpid)));
      siginfo_t killed = info_of(SIGKILL, SI_KERNEL, 0);
      die_by_signal(t, killed);
    }
  }
}

void serve_exception(Task& t, const Exit& e) {
  // direct: the CPU faulted in the host's own page tables, so the host has judged already.
  if (e.vector == kPageFault && e.host_info.si_signo == 0) return serve_page_fault(t, e);
  raise_for(t, e, info_for(t, e));
}

void serve_host_fault(Task& t) {
  const std::uint64_t rip = t.vcpu->regs().rip;
  t.host_faults = rip == t.host_fault_rip ? t.host_faults + 1 : 1;
  t.host_fault_rip = rip;
  // Once it may be another thread between its page-table edit and its host call; then a file that got
  // shorter.
  if (t.host_faults <= 8) {
    t.process->mm->drop_file_translations();
    return;
  }
  t.host_faults = 0;
  Exit e;
  e.vector = kPageFault;
  raise_for(t, e, info_of(SIGBUS, BUS_ADRERR, 0));
}

/// Before anybody looks at the guest's memory other than the call's own thread in its call.
void settle_results(Task& t) {
  mem::Overlay* const over = mem::overlay();
  if (over == nullptr) return;
  if (!over->flush())
    sys::set_result(t.vcpu->regs(), t.vcpu->regs().is_compat() ? Abi::Ia32 : Abi::X64,
                    sys::SysRet::fail(EFAULT));
}

}  // namespace

void run_task(Task& t) {
  while (!t.ended) {
    while (t.signal_recorded != 0) {
      settle_results(t);
      if (t.debug != nullptr && !debug_signal(t)) continue;
      const std::uint64_t rip = t.vcpu->regs().rip;
      trace_signal(t, t.recorded_info);
      deliver_recorded(t);
      if (t.debug != nullptr && t.vcpu->regs().rip != rip) debug_handler_entered(t);
    }
    if (t.debug != nullptr && !debug_before_run(t)) continue;
    const Exit e = t.vcpu->run();
    ++t.count.exits;
    if (t.debug != nullptr && !debug_after_run(t, e)) continue;
    switch (e.kind) {
      case ExitKind::Syscall64: do_syscall(t, Abi::X64); break;
      case ExitKind::Syscall32: do_syscall(t, Abi::Ia32); break;
      case ExitKind::Exception: serve_exception(t, e); break;
      case ExitKind::HostFault: serve_host_fault(t); break;
      case ExitKind::Interrupted: break;
      case ExitKind::Broken: die_broken(t, e);
    }
  }
}

}  // namespace hpcvmm::deputy
